// Filters through the facade: what they find, what explain tells, what is refused.
import assert from 'node:assert/strict'
import test from 'node:test'
import { database, place, rejects, testOnStores } from './lib/helpers.mjs'

async function films(t, options, path) {
  const db = await database(t, options, path)
  const rows = 400
  const vectors = new Float32Array(rows * 4).map((_, i) => ((i * 7919) % 1000) / 1000)
  const payloads = Array.from({ length: rows }, (_, i) => ({
    year: 1900 + (i % 100),
    title: `Film ${i}`,
    genres: i % 2 ? ['Drama'] : ['Horror', 'Comedy'],
  }))
  await db.insertMany({ ids: payloads.map((_, i) => i), vectors, payloads })
  return db
}

test('search, searchKnn, searchMany, count and scan take a filter', async (t) => {
  const db = await films(t)
  const filter = { year: { $gte: 1950, $lt: 1960 }, genres: 'Horror' }
  const wanted = (id) => id % 100 >= 50 && id % 100 < 60 && id % 2 === 0
  assert.equal(await db.count(filter), 20)
  assert.equal(await db.count(), 400)
  const hits = await db.search([0, 0, 0, 0], { k: 30, filter, include: ['payload'] })
  assert.equal(hits.length, 20)
  assert.ok(hits.every(({ id, payload }) => wanted(id) && payload.genres[0] === 'Horror'))
  assert.equal((await db.searchKnn([0, 0, 0, 0], { k: 5, filter })).length, 5)
  const lists = await db.searchMany(
    [hits[0], hits[0]].map(() => [0, 0, 0, 0]),
    { k: 3, filter },
  )
  assert.deepEqual(
    lists,
    [hits, hits].map((list) => list.slice(0, 3).map(({ id, distance }) => ({ id, distance }))),
  )
  const ids = []
  for await (const { id } of db.scan({ filter, batchSize: 3 })) ids.push(id)
  assert.deepEqual(
    ids.sort((a, b) => a - b),
    Array.from({ length: 400 }, (_, i) => i).filter(wanted),
  )
  assert.equal(await db.count({ title: /^film 1\d$/i }), 10)
  assert.equal(await db.count({ title: { $not: /^Film/ } }), 0)
  assert.equal(await db.count({ $or: [{ title: 'Film 3' }, { year: 1903, genres: { $size: 1 } }] }), 4)
})

test('explain tells the plan, the counts and the times', async (t) => {
  const db = await films(t)
  const { explain } = await db.search([0, 0, 0, 0], { filter: { year: 1950 }, explain: true })
  assert.equal(explain.plan, 'scan')
  assert.deepEqual([explain.rows, explain.matches, explain.exact, explain.measured], [400, 4, true, 4])
  assert.ok(explain.selectMs >= 0 && explain.searchMs > 0 && explain.costs.scan > 0)
  assert.equal((await db.search([0, 0, 0, 0])).explain, undefined)
})

test('deleteWhere removes what matches, and only that', async (t) => {
  const db = await films(t)
  assert.equal(await db.deleteWhere({ genres: 'Drama' }), 200)
  assert.equal(await db.deleteWhere({ genres: 'Drama' }), 0)
  assert.equal(await db.count({ genres: { $ne: 'Horror' } }), 0)
  await rejects('ABORTED', () => db.deleteWhere({}, { signal: AbortSignal.abort() }))
  await rejects('INVALID_ARGUMENT', () => db.deleteWhere(), /\{\}/)
  assert.equal(await db.count(), 200)
  assert.deepEqual((await db.check()).problems, [])
})

testOnStores('indexed paths are chosen at open and kept', async (t, storage) => {
  const path = place(t)
  let db = await films(t, { storage, indexes: { include: ['year'] } }, path)
  const undecided = async (filter) =>
    (await db.search([0, 0, 0, 0], { filter, explain: true })).explain.undecided
  assert.equal(await undecided({ year: 1950 }), 0)
  assert.equal(await undecided({ genres: 'Drama' }), 400)
  assert.equal(await db.count({ genres: 'Drama' }), 200)
  await db.close()
  db = await database(t, {}, path)
  assert.equal(await undecided({ genres: 'Drama' }), 400)
  await db.close()
  db = await database(t, { indexes: {} }, path)
  assert.equal(await undecided({ genres: 'Drama' }), 0)
  assert.deepEqual((await db.check()).problems, [])
})

test('what is no filter is refused by name', async (t) => {
  const db = await films(t)
  const cases = [
    ['INVALID_ARGUMENT', null],
    ['INVALID_ARGUMENT', 'year'],
    ['INVALID_ARGUMENT', []],
    ['INVALID_ARGUMENT', /x/],
    ['FILTER_SYNTAX', { year: { $gtt: 1 } }, /\$gtt/],
    ['FILTER_SYNTAX', { year: undefined }, /year/],
    ['FILTER_SYNTAX', { year: { $gt: Number.NaN } }, /NaN/],
    ['FILTER_SYNTAX', { year: 3n }, /bigint/],
    ['FILTER_SYNTAX', { year: () => 1 }, /function/],
    ['FILTER_SYNTAX', { year: new Set([1]) }, /plain/],
    ['FILTER_SYNTAX', { title: /x/y }, /'y'/],
    ['FILTER_SYNTAX', { title: /(?=x)/ }, /title/],
  ]
  for (const [code, filter, message] of cases) {
    await rejects(code, () => db.count(filter), message)
    await rejects(code, () => db.search([0, 0, 0, 0], { filter }), message)
    await rejects(code, () => db.deleteWhere(filter), message)
  }
  const ring = {}
  ring.$and = [ring]
  await rejects('FILTER_SYNTAX', () => db.count(ring), /JSON/)
  let deep = { a: 1 }
  for (let i = 0; i < 10_000; i++) deep = { $and: [deep] }
  await rejects('FILTER_SYNTAX', () => db.count(deep))
  await rejects('INVALID_ARGUMENT', () => db.searchMany([[0, 0, 0, 0]], { explain: true }), /explain/)
  assert.equal(await db.count(JSON.parse('{"__proto__": 1}')), 0)
  assert.equal(await db.count({ title: '\ud800' }).catch((error) => error.code), 'FILTER_SYNTAX')
  assert.equal(await db.count(), 400)
})

test('hostile filters get an error or an answer', async (t) => {
  const db = await database(t)
  await db.insertMany({
    ids: [1, 2, 3],
    vectors: new Float32Array(12),
    payloads: [
      { text: `${'a'.repeat(200_000)}!`, code: '10', 10: 'ten' },
      { code: 10, list: ['x', 'y'] },
      JSON.parse('{ "__proto__": { "polluted": true }, "constructor": 1 }'),
    ],
  })
  const refused = async (filter, message) => {
    await rejects('FILTER_SYNTAX', () => db.count(filter), message)
    await rejects('FILTER_SYNTAX', () => db.search([0, 0, 0, 0], { filter }), message)
    await rejects('FILTER_SYNTAX', () => db.deleteWhere(filter), message)
  }

  const members = Array.from({ length: 800_000 }, (_, i) => `member ${i}`)
  assert.ok(JSON.stringify(members).length > 10_000_000)
  await refused({ code: { $in: members } }, /bytes/)
  assert.equal(await db.count({ code: { $in: Array.from({ length: 50_000 }, (_, i) => i) } }), 1)
  for (const wrap of [(deep) => ({ $nor: [deep] }), (deep) => ({ a: { $elemMatch: deep } })]) {
    let deep = { a: 1 }
    for (let i = 0; i < 10_000; i++) deep = wrap(deep)
    await refused(deep)
  }

  for (const pattern of ['^(a+)+$', '(a|aa)+$', '(a*)*b']) {
    assert.equal(await db.count({ text: { $regex: pattern } }), 0, pattern)
  }
  await refused({ text: { $regex: '((a{1000}){1000}){1000}' } })
  await refused({ text: { $regex: '(a)\\1' } })

  assert.equal(await db.count({ code: '10' }), 1)
  assert.equal(await db.count({ code: 10 }), 1)
  assert.equal(await db.count({ code: { $gt: 9 } }), 1)
  assert.equal(await db.count({ code: { $gt: '1' } }), 1)
  assert.equal(await db.count({ 10: 'ten' }), 1)
  assert.equal(await db.count({ 'list.1': 'y' }), 1)
  // A place in an array may have zeros before it, as with mingo.
  assert.equal(await db.count({ 'list.01': 'y' }), 1)

  assert.equal(await db.count(JSON.parse('{ "__proto__": { "polluted": true } }')), 1)
  assert.equal(await db.count({ '__proto__.polluted': true }), 1)
  assert.equal(await db.count({ constructor: 1 }), 1)
  assert.equal(await db.count({ toString: { $exists: true } }), 0)
  assert.equal({}.polluted, undefined)

  await refused({ 'a\ud800': 1 })
  await refused({ code: { $in: ['\udfff'] } })
  await refused({ text: { $regex: 'a\ud800' } })
  assert.equal(await db.count(), 3)
})
