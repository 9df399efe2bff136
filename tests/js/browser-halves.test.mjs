// The two halves of the engine: what is done all the time never loads the second, what needs it does, and where it is
// missing the call says so and the database goes on. Needs `npm run build:wasm`.
import assert from 'node:assert/strict'
import test from 'node:test'
import { browser } from './browser/chromium.mjs'

const seen = []
const world = await browser({ seen: (path) => seen.push(path) })
test.after(() => world.close())
const rests = () => seen.filter((path) => path.endsWith('asteroid-rest.wasm')).length

/** What most programs do, over and over, and none of what few do. */
async function usual([name, storage]) {
  const { open } = globalThis.asteroid
  const options = { dim: 8, metric: 'cosine', ...(storage === 'memory' ? {} : { storage }) }
  let db = await open(storage === 'memory' ? ':memory:' : name, options)
  const vector = (row) => Float32Array.from({ length: 8 }, (_, i) => Math.sin(row * 8 + i))
  const rows = Array.from({ length: 3000 }, (_, i) => i)
  const payloads = rows.map((row) => ({ row, kind: row % 3 ? 'odd' : 'third', words: ['a', `b${row % 7}`] }))
  await db.insertMany({ ids: rows, vectors: rows.map(vector), payloads })
  await db.insert('text', vector(-1), { price: 1.5 })
  await db.upsert(5, vector(7), { row: 5 })
  await db.update(6, vector(8))
  await db.setPayload(6, { row: -6.25 })
  for (let row = 0; row < 300; row += 3) await db.delete(row)
  await db.deleteMany([1, 2, 4])
  await db.deleteWhere({ row: { $gte: 2900 } })
  const filter = { $or: [{ kind: 'third', row: { $lt: 2000 } }, { words: { $in: ['b3'] } }] }
  for (let round = 0; round < 2; round++) {
    await db.search(vector(50), { k: 5 })
    await db.search(vector(50), { k: 5, deadline: 1000 })
    await db.search(vector(50), { k: 5, filter, explain: true, maxDistance: 0.75 })
    await db.searchMany([vector(1), vector(2)], { k: 3, filter })
    await db.count(filter)
    await db.get(700, { include: ['payload', 'vector'] })
    await db.getMany([700, 'text', 1])
    for await (const row of db.scan({ include: ['payload'], filter })) if (!row.id) throw new Error('no id')
    await db.stats()
    await db.flush()
    if (storage === 'memory') break
    await db.close()
    db = await open(name, options)
  }
  return db.close()
}

for (const storage of ['opfs', 'indexeddb', 'memory']) {
  test(`${storage}: what is usual loads half of the engine`, async () => {
    const page = await world.page()
    await page.evaluate(usual, [`usual ${storage}`, storage])
    assert.equal(rests(), 0)
    await page.close()
  })
}

/** Makes a database, does `work` to it twice, and answers what that came to. */
async function doing([name, options, work]) {
  const db = await globalThis.asteroid.open(name, { dim: 2, metric: 'l2', ...options })
  for (let i = 0; i < 20; i++) await db.upsert(i, [i, 1], { name: i % 2 ? 'Stra\u00dfe' : 'WEG' })
  try {
    const run = new Function('db', `return (async () => { ${work} })()`)
    await run(db)
    return await run(db)
  } catch (error) {
    return `${error.code} ${error.message}`
  } finally {
    globalThis.left = (await db.search([3, 1], { k: 1 }))[0].id
    await db.close()
  }
}

for (const [what, work, wanted] of [
  ['check', 'return (await db.check()).problems.length', 0],
  ['repair', 'return (await db.check({ repair: true })).problems.length', 0],
  ['a patch of a payload', 'await db.mergePayload(6, { more: 1e-7 }); return 1', 1],
  [
    'a sweep',
    `const ids = Array.from({ length: 600 }, (_, i) => 1000 + i)
     await db.upsertMany({ ids, vectors: ids.map((id) => [id, 1]) })
     await db.deleteMany(ids)
     while ((await db.stats()).tombstones > 300) await new Promise((look) => setTimeout(look, 20))
     return 1`,
    1,
  ],
  ['compact', 'await db.compact(); return 1', 1],
  ['patterns', "return db.count({ name: { $regex: '^stra\u1e9ee$', $options: 'i' } })", 10],
  ['a pattern in a search', 'return (await db.search([3, 1], { k: 3, filter: { name: /^W/ } })).length', 3],
  ['a recall', 'return (await db.search([3, 1], { k: 3, recall: 0.9 })).length', 3],
  ['export', 'let n = 0; for await (const part of db.export()) n += part.length; return n > 100', true],
]) {
  test(`${what} loads the other half, once`, async () => {
    const page = await world.page()
    const before = rests()
    assert.equal(await page.evaluate(doing, [`seldom ${what}`, { storage: 'opfs' }, work]), wanted)
    assert.equal(rests(), before + 1)
    await page.close()
  })
}

test('where the other half is missing, the call says so and the database goes on', async () => {
  const page = await world.page()
  const missing = { storage: 'opfs', restUrl: '/nowhere.wasm' }
  const said = await page.evaluate(doing, ['missing', missing, 'return db.check()'])
  assert.match(said, /^IO .*could not be loaded from http.*nowhere\.wasm.*restUrl/)
  assert.equal(await page.evaluate(() => globalThis.left), 3)
  const work = "const found = await db.count({ name: { $regex: 'e' } })"
  assert.match(await page.evaluate(doing, ['missing', missing, work]), /^IO .*restUrl/)
  await page.close()
})
