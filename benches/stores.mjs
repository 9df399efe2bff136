// `npm run bench:stores`: redb beside RocksDB with each link policy, on sift-photos.
//
//   npm run bench:stores                                 200,000 rows, 3 rounds of searches: about 15 minutes
//   npm run bench:stores -- --rows 20000 --rounds 1      a quick look
//   npm run bench:stores -- --only redb,adaptive --parts stores
//   npm run bench:stores -- --through "nice -n -5"       every run begins with this command
//
// Parts: `stores` (64 MiB, vectors mapped so that it is the stores that differ: inserts, churn, searches, few writes among
// many reads), `large` (inserts with the default budget), `memory` (64 MiB, vectors cached within it: memory and rates by
// tenths), `bulk` (bulkBuild). Every run is a release program (tests/src/bin/stores) in a process of its own, so that
// memory and I/O counters are its own. RocksDB's C++ is compiled once by scripts/rocksdb.sh.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bold, dim as grey, number, red, time } from '../scripts/lib/style.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const MIB = 1 << 20
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '200000' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    parts: { type: 'string', default: 'stores,large,memory,bulk' },
    through: { type: 'string', default: '' },
    folder: { type: 'string', default: tmpdir() },
  },
})
const rows = Number(values.rows)
const rounds = Number(values.rounds)
const through = values.through.split(' ').filter(Boolean)
const wanted = values.only?.split(',')
const systems = [
  { name: 'redb', store: 'redb', policy: 'eager' },
  { name: 'RocksDB eager', store: 'rocksdb', policy: 'eager' },
  { name: 'RocksDB lazy', store: 'rocksdb', policy: 'lazy' },
  { name: 'RocksDB adaptive', store: 'rocksdb', policy: 'adaptive' },
].filter(({ name }) => !wanted || wanted.some((part) => name.endsWith(part)))

// A tenth of vectors, lists and keys; searches within it go to the stores for most of what they touch.
const constrained = Math.max(4 * MIB, Math.round((rows * (128 * 4 + 4 + 80)) / 10))
// What the memory curve is run with, cut as the rows are.
const limited = Math.max(8 * MIB, Math.round((64 * MIB * rows) / 200_000))
const ample = 256 * MIB
const queries = 1000

const program = build()
const folder = mkdtempSync(join(values.folder, 'asteroid-stores-'))
const has = (part) => values.parts.split(',').includes(part)
const started = performance.now()
try {
  console.log(bold('Asteroid DB stores'))
  console.log(
    `${cpus()[0].model}, ${availableParallelism()} cores, ${number(rows)} rows of sift-photos, ` +
      `load ${loadavg().map((load) => load.toFixed(1))}`,
  )
  if (has('stores')) await stores()
  if (has('large')) await large()
  if (has('memory')) await memory()
  if (has('bulk')) await bulk()
  console.log(grey(`\ntook ${time(performance.now() - started)}`))
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** The limited budget: inserts, searches, churn, searches again, and few writes among many reads. */
async function stores() {
  const truth = await run({ stage: 'truth', rows, queries })
  const found = new Map()
  for (const system of systems) {
    const fill = await run({ ...at(system), stage: 'fill', cache: limited })
    found.set(system, { fill })
    say(`${system.name}: inserted in ${time(fill.seconds * 1000)}`)
  }
  for (const system of systems) curve(system, found.get(system).fill, limited)
  console.log(
    `\n${bold(`Inserts within ${mib(limited)}`)}: ${number(rows)} rows; bytes are per insert, ` +
      'compaction and the last checkpoint included',
  )
  writes(systems.map((system) => [system.name, found.get(system).fill]))
  await searches(found, truth.before, 'before churn')
  for (const system of systems) {
    found.get(system).churn = await run({ ...at(system), stage: 'churn', cache: limited })
    say(`${system.name}: churned in ${time(found.get(system).churn.seconds * 1000)}`)
  }
  console.log(`\n${bold('Churn')}: 20 % of the rows deleted and as many inserted, within ${mib(limited)}`)
  writes(systems.map((system) => [system.name, found.get(system).churn]))
  await searches(found, truth.after, 'after churn')
  console.log(
    `\n${bold('Few writes among many reads')}: ${mib(constrained)}, after churn; per round ` +
      `${Math.max(10, Math.floor(rows / 1000))} inserts, then ${queries / 4} searches; 20 rounds`,
  )
  const mixed = []
  for (const system of systems) {
    const run_ = await run({ ...at(system), stage: 'mixed', cache: constrained })
    mixed.push([
      system.name,
      number(run_.searchesPerSecond),
      number(run_.lastPerSecond),
      number(run_.insertsPerSecond),
      number(run_.done.kv / run_.inserts),
      (run_.lists / (20 * (queries / 4))).toFixed(0),
      run_.done.listMicros.toFixed(2),
      run_.checkpoints,
    ])
  }
  table(
    [
      '',
      'searches/s',
      'in the last round',
      'inserts/s',
      'KV bytes per insert',
      'lists read per search',
      'us per list',
      'checkpoints',
    ],
    mixed,
  )
  for (const system of systems) rmSync(at(system).dir, { recursive: true, force: true })
}

/** Resident memory and rates by tenths of inserts within the limited budget, vectors within it too. */
async function memory() {
  for (const system of wanted ? systems : one()) {
    const fills = []
    for (let round = 0; round < rounds; round++) {
      fills.push(await run({ ...at(system), mapped: false, stage: 'fill', cache: limited }))
      rmSync(at(system).dir, { recursive: true, force: true })
    }
    const fill = {
      ...fills[0],
      tenths: fills[0].tenths.map((_, i) => medians(fills.map(({ tenths }) => tenths[i]))),
    }
    curve(system, fill, limited, rounds)
    const parts = Object.entries(fill.stats).map(([name, bytes]) => `${name} ${mib(bytes)}`)
    console.log(grey(`by its own account: ${parts.join(', ')}`))
  }
}

/** Memory, rate and the steps of an insert by tenths, and how they grew. */
function curve(system, fill, cache, runs = 1) {
  let lists = 0
  const lines = fill.tenths.map((tenth, i) => {
    const each = (seconds) => ((seconds * 1e6) / tenth.rows).toFixed(0)
    const read = (tenth.lists - lists) / tenth.rows
    lists = tenth.lists
    const { seconds, search, together, storing } = tenth
    return [
      `${i + 1}`,
      mib(tenth.anon, ''),
      mib(tenth.rss, ''),
      number(tenth.rows / seconds),
      each(search),
      each(together),
      each(storing),
      each(seconds - together - storing),
      each(tenth.cpu),
      read.toFixed(0),
    ]
  })
  const [first, last] = [fill.tenths[0], fill.tenths.at(-1)]
  const rest = (tenth) => (tenth.seconds - tenth.search) / tenth.rows
  const peak = Math.max(...fill.tenths.map((tenth) => tenth.anon))
  console.log(
    `\n${bold(`${system.name} by tenths of inserts, ${mib(cache)}`)}: peak RssAnon (${mib(fill.base[0])} before the ` +
      `first row, most ${mib(peak)}) and RSS in MiB; us of a search alone, and per row of what threads do together ` +
      '(searching, choosing, pruning), of checkpoints, of all else, and of processors; lists read past the cache per row' +
      (runs > 1 ? `; medians of ${runs} runs` : ''),
  )
  const head = 'tenth,RssAnon,RSS,rows/s,search,together,storing,all else,CPU,lists read'
  table(head.split(','), lines)
  const each = (tenth) => tenth.seconds / tenth.rows
  const explained = each(first) + (last.search - first.search) / first.rows
  console.log(
    `last tenth against the first: ${(each(last) / each(first)).toFixed(2)} times the time, search ` +
      `${(last.search / first.search).toFixed(2)} times, all but the search ${(rest(last) / rest(first)).toFixed(2)} ` +
      `times: ${Math.round((each(last) / explained - 1) * 100)} % beyond what the search grew by, which is ` +
      `${Math.round(((rest(last) - rest(first)) / each(first)) * 100)} % of an insert in the first`,
  )
}

/** Searches per second, recall and point reads with warm and with constrained caches: medians of rounds that take turns. */
async function searches(found, truth, when) {
  const budgets = [ample, constrained]
  const runs = new Map(systems.map((system) => [system, budgets.map(() => [])]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < systems.length; i++) {
      const system = systems[(i + round) % systems.length]
      for (const [b, cache] of budgets.entries())
        runs.get(system)[b].push(await run({ ...at(system), stage: 'search', cache, truth }))
    }
    say(`searches ${when}: round ${round + 1} of ${rounds}`)
  }
  console.log(
    `\n${bold(`Searches ${when}`)}: ${queries} queries on one thread, efSearch 64, medians of ${rounds}; warm is ` +
      `${mib(ample)}, tight ${mib(constrained)}`,
  )
  const lines = systems.map((system) => {
    const [warm, tight] = runs.get(system)
    const of = (runs, name) => median(runs.map((run) => run[name]))
    found.get(system)[when] = { warm: of(warm, 'perSecond'), tight: of(tight, 'perSecond') }
    return [
      system.name,
      number(of(warm, 'perSecond')),
      of(warm, 'recall').toFixed(4),
      of(warm, 'pointRead').toFixed(2),
      number(of(tight, 'perSecond')),
      of(tight, 'recall').toFixed(4),
      of(tight, 'pointRead').toFixed(2),
      of(tight, 'lists').toFixed(0),
      of(tight, 'listMicros').toFixed(2),
      number(of(tight, 'cpu')),
      of(warm, 'listBytes').toFixed(0),
      mib(tight.at(-1).done.kvDisk),
    ]
  })
  table(
    [
      '',
      'warm/s',
      'recall',
      'point read us',
      'tight/s',
      'recall',
      'point read us',
      'lists read',
      'us per list',
      'CPU us',
      'bytes per list',
      'KV on disk',
    ],
    lines,
  )
}

/** Inserts with everything in memory: what the stores cost when checkpoints are few. */
async function large() {
  const lines = []
  for (const system of systems) {
    const fill = await run({ ...at(system), stage: 'fill', cache: ample })
    lines.push([system.name, fill])
    say(`${system.name}: inserted in ${time(fill.seconds * 1000)}`)
    rmSync(at(system).dir, { recursive: true, force: true })
  }
  console.log(`\n${bold(`Inserts within ${mib(ample)}`)}, the default budget: the whole index fits`)
  writes(lines)
}

async function bulk() {
  const lines = []
  const runs = one()
  const times = new Map(runs.map((system) => [system, []]))
  for (let round = 0; round < rounds; round++) {
    for (const system of runs) {
      times.get(system).push(await run({ ...at(system), stage: 'bulk', cache: ample }))
      rmSync(at(system).dir, { recursive: true, force: true })
    }
  }
  for (const [system, found] of times) {
    const of = (name) => median(found.map((run) => run[name]))
    lines.push([
      system.name.split(' ')[0],
      time(of('seconds') * 1000),
      time(of('storing') * 1000),
      number(found[0].done.kv / rows),
      number(found[0].process / rows),
      mib(found[0].done.kvDisk),
    ])
  }
  console.log(`\n${bold('bulkBuild')}: ${number(rows)} rows, medians of ${rounds}`)
  table(['', 'in all', 'writing keys', 'KV bytes per row', 'process bytes per row', 'KV on disk'], lines)
}

/** Each store once, with its default policy. */
function one() {
  return systems.filter(({ policy, store }) => store === 'redb' || policy === 'adaptive')
}

function writes(lines) {
  table(
    [
      '',
      'rows/s',
      'CPU us',
      'KV bytes',
      'flushed',
      'compacted',
      'journal',
      'vectors',
      'whole process',
      'checkpoints',
      'KV on disk',
    ],
    lines.map(([name, { rows, seconds, cpu, done, process }]) => [
      name,
      number(rows / seconds),
      number((cpu * 1e6) / rows),
      number(done.kv / rows),
      done.flushed ? number(done.flushed / rows) : '',
      done.flushed ? number(done.compacted / rows) : '',
      number(done.journal / rows),
      number(done.vectors / rows),
      number(process / rows),
      done.checkpoints,
      mib(done.kvDisk),
    ]),
  )
}

function table(head, lines) {
  console.log(`| ${head.join(' | ')} |`)
  console.log(`|${head.map((_, i) => (i === 0 ? '---|' : '--:|')).join('')}`)
  for (const line of lines) console.log(`| ${line.join(' | ')} |`)
}

function at({ store, policy }) {
  return { store, policy, dir: join(folder, `${store}-${policy}`), rows, queries, mapped: true }
}

function say(text) {
  console.log(grey(text))
}

function mib(bytes, unit = ' MiB') {
  return `${(bytes / MIB).toFixed(bytes < 100 * MIB ? 1 : 0)}${unit}`
}

/** Of each field the median over `records`. */
function medians(records) {
  return Object.fromEntries(
    Object.keys(records[0]).map((name) => [name, median(records.map((record) => record[name]))]),
  )
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

function build() {
  const cargo = 'cargo build --release --locked -p asteroid-tests --features rocksdb --bin stores'.split(' ')
  const messages = ['--message-format', 'json-render-diagnostics']
  const made = spawnSync(join(root, 'scripts', 'rocksdb.sh'), [...cargo, ...messages], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 << 20,
  })
  if (made.status !== 0) process.exit(made.status ?? 1)
  const said = made.stdout.split('\n').filter(Boolean).map(JSON.parse)
  return said.find(({ executable, target }) => executable && target?.name === 'stores').executable
}

/** Runs one stage in a process of its own. */
function run(task) {
  const [command, ...args] = [...through, program, JSON.stringify(task)]
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    let out = ''
    child.stdout.on('data', (data) => {
      out += data
    })
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status === 0) return resolve(JSON.parse(out.trim().split('\n').at(-1)))
      reject(new Error(red(`${task.stage} on ${task.store} ended with ${signal ?? status}`)))
    })
  })
}
