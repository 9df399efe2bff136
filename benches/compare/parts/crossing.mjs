// What it costs to cross into JavaScript, on ten rows of eight numbers; and searchMany on one thread and on two.
import { Child } from '../child.mjs'
import { built, dataset, taskOf } from '../data.mjs'
import { median, medianRatio, quantile, recallAt } from '../rounds.mjs'
import { REFERENCE, smallestEf } from '../systems.mjs'
import { micros, table, times } from '../table.mjs'

const CALLS = 2000
const MOST = { one: 25e-6, many: 3e-6 }
const SCALING = 1.8
const TARGET = 0.95

/** Runs the part; `names` are the data sets for `searchMany`. */
export async function crossingPart(context, names) {
  await crossing(context)
  for (const name of names) await threads(context, dataset(name, { rows: context.rows }))
}

async function crossing({ systems, peers, rounds, print, say, threads: all }) {
  const set = dataset('ten-rows', { make: tenRows })
  const rows = []
  for (const system of systems.filter(({ name }) => ['asteroid-db', REFERENCE].includes(name))) {
    if (system.why) {
      rows.push([system.name, system.why, '-', '-'])
      continue
    }
    const child = await opened(system, set, peers, all, say)
    const setting = { ef: 10 }
    const one = []
    const slow = []
    const many = []
    for (let round = 0; round < rounds; round++) {
      const { seconds, latencies } = await child.ask('search', {
        setting,
        from: 0,
        count: CALLS,
        warm: CALLS,
      })
      one.push(seconds / CALLS)
      slow.push(quantile(latencies, 0.99))
      if (system.adapter !== 'asteroid') continue
      await child.ask('many', { setting, from: 0, count: CALLS })
      many.push((await child.ask('many', { setting, from: 0, count: CALLS })).seconds / CALLS)
    }
    await child.close()
    const judged = (value, most) =>
      `${(value * 1e6).toFixed(2)} us${most ? `, wanted ${most * 1e6}: ${value <= most ? 'ok' : 'LOSES'}` : ''}`
    const ours = system.adapter === 'asteroid'
    const row = [system.name, judged(median(one), ours && MOST.one), micros(median(slow))]
    rows.push([...row, ours ? judged(median(many), MOST.many) : 'has no such call'])
  }
  print(
    `\n### A call into JavaScript and back: 10 rows of 8 numbers, medians of ${rounds} rounds of ${CALLS} queries\n`,
  )
  print(table(['system', 'searchKnn, a call', 'p99', 'searchMany, a query'], rows))
}

async function threads({ systems, peers, rounds, print, say, count }, set) {
  const system = systems.find(({ name }) => name === 'asteroid-db')
  if (!system) return
  const width = await opened(system, set, peers, 1, say)
  const known = new Map()
  const ef = await smallestEf((ef) => recallAt(width, set, { ef }, known), TARGET)
  await width.close()
  if (!ef) return print(`\nsearchMany on ${set.name}: recall ${TARGET} is not reached`)
  const rates = { 1: [], 2: [] }
  const children = {}
  for (const by of [1, 2]) children[by] = await opened(withThreads(system, by), set, peers, by, say)
  const given = { setting: { ef }, from: 0, count: set.count }
  for (let round = 0; round < rounds; round++) {
    for (const by of round % 2 ? [2, 1] : [1, 2]) {
      const { seconds } = await children[by].ask('many', given)
      rates[by].push(set.count / seconds)
    }
  }
  await Promise.all(Object.values(children).map((child) => child.close()))
  const scaling = medianRatio(rates[2], rates[1])
  print(
    `\n### ${set.name}, ${count(set.rows)} rows: searchMany of ${set.count} queries at recall ${TARGET} (ef ${ef})\n`,
  )
  print(
    table(
      ['threads:', 'searches/s:'],
      [1, 2].map((by) => [by, count(median(rates[by]))]),
    ),
  )
  print(`\n- two threads ${times(scaling)} one, wanted ${SCALING}: ${scaling >= SCALING ? 'ok' : 'LOSES'}`)
}

/** The threads of a process are those of its first database; two processes can only read the same one. */
function withThreads(system, threads) {
  return { ...system, run: { ...system.options, open: { ...system.options.open, threads, readOnly: true } } }
}

async function opened(system, set, peers, threads, say) {
  const { place } = await built(system, set, peers, { threads, say })
  const child = new Child(
    system,
    { ...taskOf(system, set, place, threads), ...(system.run && { options: system.run }) },
    peers,
  )
  await child.ask('open')
  return child
}

function tenRows() {
  const [rows, dim, count] = [10, 8, CALLS]
  const wave = (length, by) => Float32Array.from({ length }, (_, i) => Math.sin(by * (i + 1)))
  const truth = Int32Array.from({ length: count * 10 }, (_, i) => i % 10)
  return {
    base: wave(rows * dim, 1.7),
    queries: wave(count * dim, 0.3),
    truth,
    rows,
    dim,
    metric: 'l2',
    count,
  }
}
