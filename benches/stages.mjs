// The stages of bench.mjs, each run in a process of its own.
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'asteroid-db'
import { clusters, loadDataset, recallOf, rowIds } from '../tests/js/datasets.mjs'

const LOOP_ROWS = 5000
const CURVE_ROWS = 20_000
const EF_SEARCH = [16, 32, 64, 100, 128, 256]
const RUNS = 3

const stages = { loop, build, queries, search }
process.once('message', async ({ name, settings }) => {
  try {
    const found = await stages[name](settings)
    process.send(found, () => process.disconnect())
  } catch (error) {
    console.error(error)
    process.exit(1)
  }
})

function load({ name, rows }, limits) {
  // Exact neighbours of a cut are found by comparing every query with every row: fewer queries keep that short.
  const count = rows === undefined ? undefined : 200
  if (name === 'clusters')
    return clusters({ rows: rows ?? 50_000, dim: 128, metric: 'l2', seed: 1, count: 200 })
  return loadDataset(name, { rows, count, ...limits })
}

/** A loop of awaited `insert` against one `insertMany` of the same rows, both into an empty database. */
async function loop(settings) {
  const set = load({ ...settings, rows: Math.min(settings.rows ?? LOOP_ROWS, LOOP_ROWS) }, { count: 1 })
  const fresh = () =>
    open(settings.path, { dim: set.dim, metric: set.metric, ...settings.options, reinit: true })
  const rates = async (write) => {
    const found = []
    for (let run = 0; run < RUNS; run++) {
      const db = await fresh()
      const began = performance.now()
      await write(db)
      found.push(set.rows / ((performance.now() - began) / 1000))
      await db.close()
    }
    return median(found)
  }
  const row = (at) => set.base.subarray(at * set.dim, (at + 1) * set.dim)
  const loopPerSecond = await rates(async (db) => {
    for (let at = 0; at < set.rows; at++) await db.insert(at, row(at))
  })
  const manyPerSecond = await rates((db) => db.insertMany({ ids: rowIds(set.rows), vectors: set.base }))
  rmSync(settings.path, { recursive: true, force: true })
  return { rows: set.rows, loopPerSecond, manyPerSecond }
}

/** All rows in, in slices, with the memory after each. */
async function build(settings) {
  const set = load(settings, { count: 1 })
  const baseline = memory()
  const curve = []
  const db = await open(settings.path, { dim: set.dim, metric: set.metric, ...settings.options })
  let ms = 0
  for (let at = 0; at < set.rows; at += CURVE_ROWS) {
    const end = Math.min(at + CURVE_ROWS, set.rows)
    const began = performance.now()
    await db.insertMany({
      ids: rowIds(end - at, at),
      vectors: set.base.subarray(at * set.dim, end * set.dim),
    })
    const took = performance.now() - began
    ms += took
    curve.push({ rows: end, rss: memory() - baseline, ms: took })
  }
  await db.close()
  const { rows, dim, metric } = set
  return { rows, dim, metric, ms, perSecond: rows / (ms / 1000), curve, disk: bytesIn(settings.path) }
}

/** Queries and truth alone, so that the process that searches never held the rows. */
function queries(settings) {
  const set = load(settings)
  set.base = undefined
  return set
}

/** Recall, rates and latencies at several `efSearch`: medians of a few runs after one that warms the caches. */
async function search({ set, path, options: openOptions }) {
  const baseline = memory()
  const began = performance.now()
  const db = await open(path, openOptions)
  const opened = performance.now() - began
  await db.searchMany(set.queries, { k: set.k })
  const runs = []
  for (const efSearch of EF_SEARCH) {
    const options = { k: set.k, efSearch }
    const recall = recallOf(set, await db.searchMany(set.queries, options))
    const single = []
    const many = []
    const latencies = []
    for (let run = 0; run < RUNS; run++) {
      const start = performance.now()
      for (let q = 0; q < set.count; q++) {
        const asked = performance.now()
        await db.search(set.queries.subarray(q * set.dim, (q + 1) * set.dim), options)
        latencies.push(performance.now() - asked)
      }
      single.push(set.count / ((performance.now() - start) / 1000))
      const startMany = performance.now()
      await db.searchMany(set.queries, options)
      many.push(set.count / ((performance.now() - startMany) / 1000))
    }
    latencies.sort((a, b) => a - b)
    runs.push({
      efSearch,
      recall,
      perSecond: median(single),
      p50: latencies[Math.floor(latencies.length * 0.5)],
      p99: latencies[Math.floor(latencies.length * 0.99)],
      manyPerSecond: median(many),
    })
  }
  const stats = await db.stats()
  const rss = memory()
  await db.close()
  return { opened, baseline, rss, stats, runs }
}

function memory() {
  globalThis.gc()
  return process.memoryUsage.rss()
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
}

function bytesIn(path) {
  const info = statSync(path)
  if (!info.isDirectory()) return info.size
  return readdirSync(path).reduce((sum, name) => sum + bytesIn(join(path, name)), 0)
}
