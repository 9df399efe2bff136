// One run of ours for bulk.mjs: `bulk-stage.mjs bulk|insert <task>`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'asteroid-db'
import { recallOf } from '../tests/js/datasets.mjs'

const BATCH = 20_000

const [kind, text] = process.argv.slice(2)
const task = JSON.parse(text)
const column = (name) => new Uint8Array(readFileSync(join(task.folder, name))).buffer
const base = new Float32Array(column('base'))
const set = { ...task, queries: new Float32Array(column('queries')), truth: new Int32Array(column('truth')) }

const { dim, metric, threads, place } = task
const db = await open(join(place, 'asteroid'), { dim, metric, threads })
globalThis.gc?.()
const before = memory().now
restartPeak()
const began = performance.now()
let report
if (kind === 'bulk') report = await db.bulkBuild(base, { threads })
else {
  for (let at = 0; at < task.rows; at += BATCH)
    await db.insertMany({ vectors: base.subarray(at * dim, (at + BATCH) * dim) })
}
const ms = performance.now() - began
const { peak, now } = memory()
const recall = {}
for (const efSearch of task.efs)
  recall[efSearch] = recallOf(set, await db.searchMany(set.queries, { k: task.k, efSearch }))
const links = await sound()
const churned = task.churn && (await churn())
await db.close()
const measured = peak && { peak: peak - before, after: now - before }
console.log(JSON.stringify({ ms, recall, links, churned, phases: report?.phases, ...measured }))

/** The links that a check walked; throws where it found a row astray or damage. */
async function sound() {
  const { ok, rows, links, problems } = await db.check()
  if (!ok || rows !== task.rows) throw new Error(`check found ${rows} rows and ${JSON.stringify(problems)}`)
  return links
}

/** Every fifth row deleted and inserted again under another id: the recall at each efSearch, all rows being reachable. */
async function churn() {
  const gone = Array.from({ length: Math.floor(task.rows / 5) }, (_, i) => i * 5)
  await db.deleteMany(gone)
  const vectors = new Float32Array(gone.length * dim)
  gone.forEach((row, i) => {
    vectors.set(base.subarray(row * dim, (row + 1) * dim), i * dim)
  })
  await db.insertMany({ ids: gone.map((row) => row + task.rows), vectors })
  await sound()
  const found = {}
  for (const efSearch of task.efs) {
    const hits = await db.searchMany(set.queries, { k: task.k, efSearch })
    found[efSearch] = recallOf(
      set,
      hits.map((list) => list.map(({ id }) => ({ id: id % task.rows }))),
    )
  }
  return found
}

/** Resident bytes now and at the most since the last restart; the latter on Linux only. */
function memory() {
  const now = process.memoryUsage.rss()
  if (process.platform !== 'linux') return { now }
  const status = readFileSync('/proc/self/status', 'utf8')
  return { now, peak: Number(/^VmHWM:\s*(\d+) kB/m.exec(status)[1]) * 1024 }
}

function restartPeak() {
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5')
}
