// The demo page: the documentation that `npm start` stores, exported by Node, opened and searched in the browser.
//
//   npm run demo                     on http://localhost:4270
//   npm run demo -- --port 8080      on another port
//   npm run demo -- --rebuild        gathers and stores the documentation anew
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bold, cyan, dim, megabytes, number, red } from '../../scripts/lib/style.mjs'
import { openLibrary } from '../lib/library.mjs'
import { gather } from '../lib/passages.mjs'
import { exportLibrary } from './export.mjs'
import { serveDemo } from './server.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '')
const path = process.env.ASTEROID_DOCS || join(root, 'data/docs')

try {
  const { values } = parseArgs({
    options: { port: { type: 'string', default: '4270' }, rebuild: { type: 'boolean' } },
  })
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port ${values.port} is no port`)
  const { notes } = await openLibrary(path, gather(root), values.rebuild)
  const info = await exportLibrary(path, notes)
  const { url } = await serveDemo(path, port)
  console.log(dim(`${number(info.rows)} passages in one file of ${megabytes(info.bytes)}`))
  console.log(`${bold('The demo is at')}  ${cyan(url)}`)
} catch (error) {
  const busy = error.code === 'EADDRINUSE' ? ': give another with --port' : ''
  console.error(`${red(error.code ?? 'Error')} ${error.message}${busy}`)
  process.exitCode = 1
}
