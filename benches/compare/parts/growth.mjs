// What ten times the rows cost: a search at equal recall, and memory per row.
import { exactTruth } from '../../../tests/js/datasets.mjs'
import { Child } from '../child.mjs'
import { clustered, KIND } from '../clusters.mjs'
import { built, dataset, taskOf } from '../data.mjs'
import { alternate, median, medianRatio, quantile, recallAt } from '../rounds.mjs'
import { smallestEf } from '../systems.mjs'
import { micros, orDash, table, times } from '../table.mjs'

const SIZES = [20_000, 200_000]
const FULL_SIZE = 1_000_000
const [DIM, COUNT, SEED, TARGET] = [128, 500, 20_261_123, 0.95]
const MOST = 1.5
/** Enough to hold a million rows: what memory is needed is to show, not what it is cut to. */
const CACHE = 2 ** 31

/** Runs the part, on made data: the same kind at every size. */
export async function growthPart(context) {
  const { peers, threads, rounds, say, print, count, mega } = context
  const sizes = context.rows
    ? [context.rows, context.rows * 10]
    : [...SIZES, ...(context.full ? [FULL_SIZE] : [])]
  for (const { ...system } of context.systems) {
    if (system.adapter !== 'asteroid' || system.options.build) continue
    system.options = { ...system.options, open: { ...system.options.open, cacheBytes: CACHE } }
    const entries = []
    try {
      for (const rows of sizes) {
        say(`${system.name}: ${count(rows)} rows`)
        const set = dataset(`clustered-${KIND}`, { rows, make: () => made(rows) })
        const kept = await built(system, set, peers, { threads, say })
        const task = taskOf(system, set, kept.place, threads)
        const tuning = new Child(system, task, peers)
        let ef
        try {
          await tuning.ask('open')
          const known = new Map()
          ef = await smallestEf((ef) => recallAt(tuning, set, { ef }, known), TARGET)
        } finally {
          await tuning.close()
        }
        if (!ef) throw new Error(`recall ${TARGET} is not reached at ${count(rows)} rows`)
        const child = new Child(system, task, peers)
        entries.push({ set, kept, child, setting: { ef } })
        await child.ask('open')
      }
      const runs = await alternate(entries, entries[0].set, rounds)
      const rows = []
      for (const [i, entry] of entries.entries()) {
        const { set, kept, setting } = entry
        const run = runs.get(entry)
        if (run.failed) throw new Error(run.failed)
        const { rss, anon } = await entry.child.ask('memory')
        const cost = i > 0 ? medianRatio(runs.get(entries[i - 1]).rates, run.rates) : undefined
        const tenfold = cost && cost ** (1 / Math.log10(set.rows / entries[i - 1].set.rows))
        rows.push([
          count(set.rows),
          setting.ef,
          run.recall.toFixed(4),
          count(median(run.rates)),
          micros(quantile(run.latencies, 0.5)),
          orDash(tenfold, (value) => `${times(value)} ${value <= MOST ? 'ok' : 'LOSES'}`),
          `${mega(rss)} (${mega(anon)})`,
          (rss / set.rows).toFixed(0),
          mega(kept.disk),
          `${kept.seconds.toFixed(1)} s`,
        ])
      }
      print(
        `\n### Growth of ${system.name}: ${DIM} numbers, clusters, bulkBuild, recall@10 at least ${TARGET}\n`,
      )
      const head = ['rows:', 'ef:', 'recall:', 'searches/s:', 'p50:', `a tenfold, wanted ${MOST}:`]
      print(table([...head, 'memory:', 'bytes/row:', 'disk:', 'built in:'], rows))
    } catch (error) {
      print(`\n${system.name} is left out of growth: ${error.message}`)
    } finally {
      await Promise.all(entries.map(({ child }) => child.close()))
    }
  }
}

function made(rows) {
  const set = {
    ...clustered({ rows, dim: DIM, count: COUNT, seed: SEED }),
    rows,
    dim: DIM,
    metric: 'l2',
    count: COUNT,
  }
  return { ...set, truth: exactTruth({ ...set, k: 10 }) }
}
