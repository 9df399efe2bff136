// `npm start`: sets everything up, then runs the documentation search example with the arguments given.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { buildAddon, installPackages, requireTools, root, SetupError } from './lib/setup.mjs'
import { red } from './lib/style.mjs'

try {
  requireTools()
  await installPackages()
  // Nobody should wait half an hour for a store that the example does not use.
  await buildAddon({ rocksdb: 'kept', quietMs: 2000 })
} catch (error) {
  console.error(`${red('npm start could not set things up.')}\n${error.message}`)
  if (!(error instanceof SetupError) && error.output) console.error(error.output)
  process.exit(1)
}

const example = join(root, 'examples/search-docs.mjs')
spawn(process.execPath, [example, ...process.argv.slice(2)], { stdio: ['ignore', 'inherit', 'inherit'] }).on(
  'close',
  (status) => process.exit(status ?? 1),
)
