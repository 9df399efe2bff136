// How late a timer fires while the database works: the price an application pays in its event loop.
//
//   node benches/eventloop.mjs              20,000 x 128
//   node benches/eventloop.mjs --rows 50000 --dim 384
//
// The figure to watch is p99; under 10 ms is the aim. The lateness of an idle process is printed beside it:
// no program does better than that on the same machine.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { open } from 'asteroid-db'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000' },
    dim: { type: 'string', default: '128' },
    searches: { type: 'string', default: '20000' },
  },
})
const rows = Number(values.rows)
const dim = Number(values.dim)
const folder = mkdtempSync(join(tmpdir(), 'asteroid-bench-'))

/** Runs `work` and measures how late a timer of 1 ms fires meanwhile. */
async function lateness(name, work) {
  const late = []
  let due = performance.now() + 1
  let timer = setTimeout(function tick() {
    const now = performance.now()
    late.push(Math.max(0, now - due))
    due = now + 1
    timer = setTimeout(tick, 1)
  }, 1)
  const began = performance.now()
  const detail = await work()
  const took = performance.now() - began
  clearTimeout(timer)
  late.sort((a, b) => a - b)
  const at = (share) =>
    (late[Math.min(late.length - 1, Math.floor(late.length * share))] ?? 0).toFixed(2).padStart(7)
  console.log(
    `${name.padEnd(26)} p50 ${at(0.5)}  p99 ${at(0.99)}  max ${at(1)} ms late, ` +
      `${String(late.length).padStart(6)} timers in ${(took / 1000).toFixed(2)} s${detail ? `, ${detail}` : ''}`,
  )
}

const random = (n) => Float32Array.from({ length: n * dim }, () => Math.random() * 2 - 1)

try {
  const data = random(rows)
  const queries = random(1000)
  const payloads = Array.from({ length: rows }, (_, i) => ({
    title: `row ${i}`,
    tags: ['a', 'b'],
    price: i / 7,
  }))
  const db = await open(join(folder, 'db'), { dim })
  console.log(`${rows} x ${dim}, Node ${process.versions.node}`)
  await lateness('idle', () => new Promise((resolve) => setTimeout(resolve, 2000)))
  await lateness('insertMany', async () => {
    const began = performance.now()
    await db.insertMany({ vectors: data })
    return `${Math.round(rows / ((performance.now() - began) / 1000))} rows/s`
  })
  await lateness('upsertMany, ids, payloads', async () => {
    await db.upsertMany({ ids: Array.from({ length: rows }, (_, i) => `id-${i}`), vectors: data, payloads })
  })
  for (const beside of [1, 16]) {
    await lateness(`searches, ${beside} at a time`, async () => {
      let left = Number(values.searches)
      const began = performance.now()
      const searcher = async () => {
        while (left-- > 0) {
          const i = (left % 1000) * dim
          await db.search(queries.subarray(i, i + dim), { k: 10 })
        }
      }
      await Promise.all(Array.from({ length: beside }, searcher))
      return `${Math.round(Number(values.searches) / ((performance.now() - began) / 1000))} searches/s`
    })
  }
  await lateness('searchMany', async () => {
    const began = performance.now()
    await db.searchMany(queries, { k: 10 })
    return `${Math.round(1000 / ((performance.now() - began) / 1000))} searches/s`
  })
  const few = Math.min(rows, 2000)
  await lateness(`${few} inserts in a loop`, async () => {
    const began = performance.now()
    for (let i = 0; i < few; i++) await db.insert(`one-${i}`, data.subarray(i * dim, (i + 1) * dim))
    return `${Math.round(few / ((performance.now() - began) / 1000))} rows/s`
  })
  await db.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
