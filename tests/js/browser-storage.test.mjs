// What browsers do to a database: kill it, fill its quota, end and begin again. Needs `npm run build:wasm`.
//
// ASTEROID_KILLS   how often writing is cut off per storage (default 30)
import assert from 'node:assert/strict'
import test from 'node:test'
import { browser } from './browser/chromium.mjs'
import { seeded } from './random.mjs'

const kills = Number(process.env.ASTEROID_KILLS ?? 30)
const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
const world = await browser()
test.after(() => world.close())

/** Numbered writes without an end, each told as soon as it is acknowledged. Every sixth writes many rows; some flush. */
async function writeOn([name, storage, first]) {
  const db = await globalThis.asteroid.open(name, { dim: 8, storage })
  const vector = (row) => Float32Array.from({ length: 8 }, (_, i) => Math.sin(row * 8 + i))
  ;(async () => {
    for (let write = first; ; write++) {
      const ids = Array.from({ length: write % 6 === 5 ? 150 : 1 }, (_, i) => write * 1000 + i)
      if (ids.length === 1) await db.insert(ids[0], vector(ids[0]), { write })
      else await db.insertMany({ ids, vectors: ids.map(vector), payloads: ids.map(() => ({ write })) })
      if (write % 40 === 39) await db.flush()
      globalThis.acknowledged(write)
    }
  })()
}

/** What is there, in rows per write, and whether all of it is sound. */
async function inspect([name, storage]) {
  const db = await globalThis.asteroid.open(name, { storage })
  const rows = []
  let wrong = 0
  for await (const { id, payload, vector } of db.scan({ include: ['payload', 'vector'] })) {
    rows[payload.write] = (rows[payload.write] ?? 0) + 1
    if (vector.some((x, i) => x !== Math.fround(Math.sin(id * 8 + i)))) wrong++
  }
  const { problems } = await db.check()
  const { storage: used } = await db.stats()
  const last = (rows.length - 1) * 1000
  const query = Float32Array.from({ length: 8 }, (_, i) => Math.sin(last + i / 8))
  const found = (await db.search(query, { k: 5 })).length
  await db.close()
  return { rows: Array.from(rows, (count) => count ?? 0), wrong, problems, used, found }
}

/** How a page that writes may end: every second is killed with its process, now and then all of the browser is. */
async function cutOff(page, round) {
  if (round % 10 === 9) return world.killAndRestart()
  if (round % 2 === 1) return page.close()
  const crashed = new Promise((resolve) => page.on('crash', resolve))
  world.killRenderers()
  await crashed
  await page.close()
}

for (const storage of ['opfs', 'indexeddb']) {
  test(`${storage}: no killed process or closed page loses or harms what was acknowledged`, async (t) => {
    t.diagnostic(`ASTEROID_SEED=${seed}`)
    const next = seeded(seed)
    const name = `killed ${storage}`
    let first = 0
    let midway = 0
    for (let round = 0; round < kills; round++) {
      const page = await world.page()
      let acknowledged = -1
      await page.exposeFunction('acknowledged', (write) => {
        acknowledged = write
      })
      await page.evaluate(writeOn, [name, storage, first])
      await new Promise((resolve) => setTimeout(resolve, 50 + next() * 600))
      const before = acknowledged
      await cutOff(page, round)
      const after = await world.page()
      const { rows, wrong, problems, used, found } = await after.evaluate(inspect, [name, storage])
      await after.close()
      assert.deepEqual([problems, wrong, used], [[], 0, storage], `round ${round}`)
      assert.ok(rows.length > before, `write ${before} was acknowledged, ${rows.length} are there`)
      for (const [write, count] of rows.entries()) {
        assert.equal(count, write % 6 === 5 ? 150 : 1, `rows of write ${write} of ${rows.length}`)
      }
      if (rows.length > 0) assert.ok(found >= Math.min(5, rows.length))
      if (rows.length > first) midway++
      first = rows.length
    }
    assert.ok(midway > kills / 2, `only ${midway} of ${kills} kills came between writes`)
  })

  test(`${storage}: it is there after the browser was ended and begun again`, async () => {
    const page = await world.page()
    const name = `restarted ${storage}`
    await page.evaluate(
      async ([name, storage]) => {
        const db = await globalThis.asteroid.open(name, { dim: 4, storage })
        await db.insertMany({ vectors: Float32Array.from({ length: 4000 }, (_, i) => i) })
        await db.flush()
      },
      [name, storage],
    )
    await world.restart()
    const again = await world.page()
    const result = await again.evaluate(
      async ([name, storage]) => {
        const db = await globalThis.asteroid.open(name, { storage })
        const { ok } = await db.check()
        const count = await db.count()
        const [{ id, distance }] = await db.search([40, 41, 42, 43], { k: 1 })
        await db.close()
        return { ok, count, id, distance }
      },
      [name, storage],
    )
    assert.deepEqual(result, { ok: true, count: 1000, id: 10, distance: 0 })
    await again.close()
  })

  test(`${storage}: a full quota refuses a write whole, and room makes writes work again`, async () => {
    const page = await world.page()
    const tools = await world.context.newCDPSession(page)
    const origin = world.url.slice(0, -1)
    const used = async () => (await tools.send('Storage.getUsageAndQuota', { origin })).usage
    const name = `full ${storage}`
    await page.evaluate(
      async ([name, storage]) => {
        globalThis.db = await globalThis.asteroid.open(name, { dim: 256, storage })
        globalThis.block = (seed) =>
          Float32Array.from({ length: 256 * 400 }, (_, i) => Math.sin(seed * 1e6 + i))
        await globalThis.db.insertMany({ vectors: globalThis.block(0) })
        await globalThis.db.flush()
      },
      [name, storage],
    )
    await tools.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: (await used()) + 3e6 })
    const refused = await page.evaluate(async () => {
      let kept = 1
      try {
        while (kept < 400) {
          await globalThis.db.insertMany({ vectors: globalThis.block(kept) })
          kept++
          await globalThis.db.flush()
        }
        return { kept }
      } catch (error) {
        return { kept, code: error.code, message: error.message, count: await globalThis.db.count() }
      }
    })
    assert.equal(refused.code, 'STORAGE_FULL', JSON.stringify(refused))
    assert.equal(refused.count, refused.kept * 400)
    await tools.send('Storage.overrideQuotaForOrigin', { origin })
    const after = await page.evaluate(
      async ([name, storage]) => {
        let code
        try {
          await globalThis.db.insertMany({ vectors: globalThis.block(1000) })
        } catch (error) {
          // A write that failed where it could not be taken back asks for the database to be opened again.
          code = error.code
          await globalThis.db.close().catch(() => {})
          globalThis.db = await globalThis.asteroid.open(name, { storage })
          await globalThis.db.insertMany({ vectors: globalThis.block(1000) })
        }
        const { problems } = await globalThis.db.check()
        const count = await globalThis.db.count()
        await globalThis.db.close()
        return { code, problems, count }
      },
      [name, storage],
    )
    assert.ok([undefined, 'POISONED'].includes(after.code), after.code)
    assert.deepEqual([after.problems, after.count], [[], (refused.kept + 1) * 400])
    await page.close()
  })
}
