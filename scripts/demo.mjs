// `npm run demo`: sets everything up, then serves the demo page with the arguments given.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { buildAddon, buildWasm, installPackages, requireTools, root, SetupError } from './lib/setup.mjs'
import { red } from './lib/style.mjs'

try {
  requireTools()
  await installPackages()
  await buildAddon({ quietMs: 2000 })
  await buildWasm()
} catch (error) {
  console.error(`${red('npm run demo could not set things up.')}\n${error.message}`)
  if (!(error instanceof SetupError) && error.output) console.error(error.output)
  process.exit(1)
}

const program = join(root, 'examples/demo/serve.mjs')
const server = spawn(process.execPath, [program, ...process.argv.slice(2)], {
  stdio: ['ignore', 'inherit', 'inherit'],
})
server.on('close', (status) => process.exit(status ?? 1))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.kill(signal))
