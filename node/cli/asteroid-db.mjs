#!/usr/bin/env node
// The command line of Asteroid DB: loads files of vectors, shows figures, checks, converts.
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { check } from './check.mjs'
import { convertDatabase } from './convert.mjs'
import { exportTo } from './export.mjs'
import { importFile } from './import.mjs'
import { stats } from './stats.mjs'
import { Usage } from './terminal.mjs'

const HELP = `Asteroid DB, a vector database inside your process

  asteroid-db import <folder> <file>    make a database of a file of vectors, all at once
  asteroid-db export <folder> <file>    write the whole database to one file, to move it
  asteroid-db stats <folder>            rows, memory by use, bytes on disk
  asteroid-db check <folder>            read everything, report what is damaged
  asteroid-db convert <from> <to>       make the same database in another store, in a new folder

import takes .npy (rows x dim; float32, float16, float64, uint8, int8), .fvecs, .bvecs, and .jsonl with one
{ "vector": [...], "id"?: 7, "payload"?: {...} } per line. Ids are 0, 1, 2, ... where the file has none. It also takes
what export wrote, by the ending .asteroid and without options.

  --metric <l2|cosine|dot>    how distance is measured (l2)
  --payloads <file.jsonl>     one JSON object or null per line, one line per vector
  --threads <n>               threads to build with (all cores)
  --m <n>                     links per row (16)
  --max-memory <MB>           most memory the build may take (what is free)
  --storage <redb|rocksdb>    import: the store of a new database (redb); convert: of the copy (the other one)

  --json                      print the result as JSON
  --help, --version

Environment: NO_COLOR turns colours off. Exit status: 0 done, 1 failed or damage found, 2 wrong usage.`

const OPTIONS = {
  metric: { type: 'string' },
  payloads: { type: 'string' },
  threads: { type: 'string' },
  m: { type: 'string' },
  'max-memory': { type: 'string' },
  storage: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
}
const COMMANDS = {
  import: {
    run: importFile,
    names: ['folder', 'file'],
    options: ['metric', 'payloads', 'threads', 'm', 'max-memory', 'storage'],
  },
  export: { run: exportTo, names: ['folder', 'file'], options: [] },
  stats: { run: stats, names: ['folder'], options: [] },
  check: { run: check, names: ['folder'], options: [] },
  convert: { run: convertDatabase, names: ['from', 'to'], options: ['storage'] },
}

async function main() {
  const { values, positionals } = parse()
  if (values.help || (positionals.length === 0 && !values.version)) {
    console.log(HELP)
    return values.help ? 0 : 2
  }
  if (values.version) {
    console.log(createRequire(import.meta.url)('../../package.json').version)
    return 0
  }
  const [name, ...args] = positionals
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command)
    throw new Usage(`there is no command '${name}': it is one of ${Object.keys(COMMANDS).join(', ')}`)
  if (args.length !== command.names.length) {
    throw new Usage(
      `${name} takes ${command.names.map((each) => `<${each}>`).join(' ')}, not ${args.length} arguments`,
    )
  }
  for (const option of Object.keys(values)) {
    if (option !== 'json' && !command.options.includes(option)) throw new Usage(`${name} has no --${option}`)
  }
  return command.run(...args, values)
}

function parse() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new Usage(error.message)
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  const usage = error instanceof Usage
  console.error(`asteroid-db: ${error.code ? `${error.message} (${error.code})` : error.message}`)
  if (usage) console.error('asteroid-db --help shows how it is used')
  else if (!error.code) console.error(error.stack)
  process.exitCode = usage ? 2 : 1
}
