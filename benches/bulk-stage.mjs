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
const { ok, links } = await db.check()
if (!ok) throw new Error('check found damage')
await db.close()
const measured = peak && { peak: peak - before, after: now - before }
console.log(JSON.stringify({ ms, recall, links, phases: report?.phases, ...measured }))

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
