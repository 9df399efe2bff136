// `npm run bench:compare`: Asteroid DB beside its peers, each in a process of its own, on the same data, at equal recall.
//
//   npm run bench:compare                                   every part but growth
//   npm run bench:compare -- --rows 20000 --rounds 3        a quick look
//   npm run bench:compare -- movies --parts search --only asteroid,hnswlib,faiss
//   npm run bench:compare -- --parts growth,insert --full   a million rows, longer inserts
//
// Parts: search, insert, crossing, memory, growth. The peers are installed into a cache folder at the versions of
// compare/package.json and compare/requirements.txt, and what was built of them is kept there for the next run. A peer that
// cannot be had or does not reach a recall is in the tables with the reason. Machines drift, so the systems take turns with
// blocks of queries, and what counts are the medians of the ratios within a round. Tables of Markdown go to standard
// output, what is going on to standard error, plots into target/. Data: see tests/js/datasets.mjs.
import { mkdirSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from '../scripts/lib/setup.mjs'
import { megabytes, number } from '../scripts/lib/style.mjs'
import { METRICS, missing } from '../tests/js/datasets.mjs'
import { ownVersion } from './compare/data.mjs'
import { installPeers } from './compare/install.mjs'
import { crossingPart } from './compare/parts/crossing.mjs'
import { growthPart } from './compare/parts/growth.mjs'
import { insertPart } from './compare/parts/insert.mjs'
import { memoryPart } from './compare/parts/memory.mjs'
import { searchPart } from './compare/parts/search.mjs'
import { chosenSystems } from './compare/systems.mjs'

const PARTS = {
  search: searchPart,
  insert: insertPart,
  crossing: crossingPart,
  memory: memoryPart,
  growth: growthPart,
}
const USUAL = 'search,insert,crossing,memory'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    parts: { type: 'string', default: USUAL },
    only: { type: 'string' },
    rounds: { type: 'string', default: '10' },
    rows: { type: 'string' },
    threads: { type: 'string', default: String(availableParallelism()) },
    full: { type: 'boolean', default: false },
    'no-curves': { type: 'boolean', default: false },
  },
})
const parts = values.parts.split(',')
const unknown = parts.find((part) => !(part in PARTS)) ?? positionals.find((name) => !(name in METRICS))
if (unknown) {
  console.error(
    `${unknown}: parts are ${Object.keys(PARTS).join(', ')}, data sets ${Object.keys(METRICS).join(', ')}`,
  )
  process.exit(2)
}

const say = (text) => console.error(text)
const print = (text) => console.log(text)
const peers = await installPeers()
const context = {
  peers,
  say,
  print,
  systems: chosenSystems(peers, values.only?.split(','), ownVersion()),
  threads: Number(values.threads),
  rounds: Number(values.rounds),
  rows: values.rows === undefined ? undefined : Number(values.rows),
  full: values.full,
  curves: !values['no-curves'],
  mega: megabytes,
  count: number,
  target(name) {
    mkdirSync(join(root, 'target'), { recursive: true })
    return join(root, 'target', name)
  },
}
const names = (positionals.length > 0 ? positionals : Object.keys(METRICS)).filter((name) => {
  const reason = missing(name)
  if (reason) say(`${name} is left out: ${reason}`)
  return !reason
})

const load = loadavg().map((value) => value.toFixed(1))
print('# Asteroid DB beside its peers\n')
print(`${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}, load ${load.join(' ')}`)
print(`\nPeers: ${peers.versions}. M 16, efConstruction 128 wherever it can be said.`)
for (const part of parts) {
  say(`\n${part}`)
  await PARTS[part](context, names)
}
