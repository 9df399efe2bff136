// One database from Node to the browser and back, as one file. Needs the addon and `npm run build:wasm`.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { open } from 'asteroid-db'
import { browser } from './browser/chromium.mjs'
import { assertSameHits } from './browser/hits.mjs'
import { seeded, vectors } from './random.mjs'

const ROWS = 4_000
const DIM = 16
const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
const folder = mkdtempSync(join(tmpdir(), 'asteroid-move-'))
const world = await browser()
test.after(async () => {
  await world.close()
  rmSync(folder, { recursive: true, force: true })
})

for (const storage of ['opfs', 'indexeddb', 'memory']) {
  test(`Node to ${storage} and back`, async (t) => {
    t.diagnostic(`ASTEROID_SEED=${seed}`)
    const next = seeded(seed)
    const made = await open(join(folder, storage), { dim: DIM, metric: 'cosine' })
    t.after(() => made.close())
    await made.bulkBuild(vectors(next, ROWS, DIM), {
      ids: Array.from({ length: ROWS }, (_, i) => (i % 3 ? i : `row ${i}`)),
      payloads: Array.from({ length: ROWS }, (_, i) => ({ i, even: i % 2 === 0 })),
    })
    const file = join(folder, `${storage}.asteroid`)
    const { rows } = await made.export(file)
    assert.equal(rows, ROWS)
    const queries = vectors(next, 50, DIM)
    const expected = await made.searchMany(queries, { k: 10 })

    const page = await world.page()
    t.after(() => page.close())
    await page.route('**/moved.asteroid', (route) => route.fulfill({ body: readFileSync(file) }))
    const answer = await page.evaluate(
      async ([storage, queries]) => {
        const place = storage === 'memory' ? ':memory:' : `moved ${storage}`
        const options = storage === 'memory' ? {} : { storage }
        const seen = []
        const from = new URL('/moved.asteroid', location.href)
        const db = await globalThis.asteroid.open(place, {
          ...options,
          from,
          onProgress: ({ done, total }) => seen.push(done / total),
        })
        const lists = await db.searchMany(new Float32Array(queries), { k: 10 })
        const used = (await db.stats()).storage
        const even = await db.count({ even: true })
        const { problems } = await db.check()
        await db.deleteWhere({ i: { $lt: 100 } })
        await db.insert('from the browser', new Float32Array(queries.slice(0, 16)), { here: true })
        const bytes = new Uint8Array(await new Response(db.export()).arrayBuffer())
        await db.close()
        let text = ''
        for (let at = 0; at < bytes.length; at += 8192)
          text += String.fromCharCode(...bytes.subarray(at, at + 8192))
        return { lists, used, even, problems, last: seen.at(-1), file: btoa(text) }
      },
      [storage, [...queries]],
    )
    assert.equal(answer.used, storage)
    assertSameHits(answer.lists, expected)
    assert.deepEqual([answer.even, answer.problems, answer.last], [ROWS / 2, [], 1])

    const back = await open(join(folder, `${storage} back`), { from: Buffer.from(answer.file, 'base64') })
    t.after(() => back.close())
    assert.equal(await back.count(), ROWS - 99)
    const [nearest] = await back.search(queries.slice(0, DIM), { k: 1, include: ['payload'] })
    assert.deepEqual([nearest.id, nearest.payload], ['from the browser', { here: true }])
    assert.deepEqual((await back.check()).problems, [])
  })
}
