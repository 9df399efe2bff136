// What goes in comes out: ids, vectors, payloads, and the reads over them.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { runInNewContext } from 'node:vm'
import { open } from 'asteroid-db'
import { database, place, random, rejects, testOnStores, vectors } from './lib/helpers.mjs'

const byDistance = (query, rows) =>
  rows
    .map(({ id, vector }) => ({ id, distance: Math.hypot(...vector.map((x, i) => x - query[i])) }))
    .sort((a, b) => a.distance - b.distance)

test('ids come back as they are, number where exact', async (t) => {
  const db = await database(t)
  const pairs = [
    [0, 0],
    [-0, 0],
    [7n, 7],
    [2 ** 53 - 1, 2 ** 53 - 1],
    [2n ** 53n - 1n, 2 ** 53 - 1],
    [2n ** 53n, 2n ** 53n],
    [2n ** 63n, 2n ** 63n],
    [2n ** 64n - 1n, 2n ** 64n - 1n],
    ['0', '0'],
    [' ', ' '],
    ['a\nb\0c', 'a\nb\0c'],
    ['\ud83d\ude80', '\ud83d\ude80'],
    ['x'.repeat(512), 'x'.repeat(512)],
    ['6e1b9a54-4b0c-4f0e-9d0c-2f6b6a0f4d11', '6e1b9a54-4b0c-4f0e-9d0c-2f6b6a0f4d11'],
    ['__proto__', '__proto__'],
  ]
  const seen = new Set()
  for (const [given, back] of pairs) {
    await db.upsert(given, [1, 2, 3, 4])
    assert.strictEqual((await db.get(given)).id, back)
    assert.equal(await db.has(given), true)
    seen.add(back)
  }
  const scanned = []
  for await (const { id } of db.scan({ batchSize: 4 })) scanned.push(id)
  assert.equal(scanned.length, seen.size)
  assert.deepEqual(new Set(scanned), seen)
  const found = await db.search([1, 2, 3, 4], { k: 100 })
  assert.deepEqual(new Set(found.map(({ id }) => id)), seen)
  assert.equal(await db.deleteMany([...seen]), seen.size)
  assert.equal(await db.count(), 0)
})

test('every kind of vector', async (t) => {
  const db = await database(t)
  const backing = new Float32Array([9, 1, 2, 3, 4, 9])
  const shared = new Float32Array(new SharedArrayBuffer(16))
  shared.set([1, 2, 3, 4])
  const kinds = {
    Float32Array: Float32Array.of(1, 2, 3, 4),
    'a view into a larger one': backing.subarray(1, 5),
    'shared memory': shared,
    'number[]': [1, 2, 3, 4],
    Float64Array: Float64Array.of(1, 2, 3, 4),
    Uint8Array: Uint8Array.of(1, 2, 3, 4),
    Int16Array: Int16Array.of(1, 2, 3, 4),
    Buffer: Buffer.from([1, 2, 3, 4]),
    'tensor [n]': { data: Float32Array.of(1, 2, 3, 4), dims: [4], type: 'float32' },
    'tensor [1, n]': { data: Float32Array.of(1, 2, 3, 4), dims: [1, 4] },
    'another realm': runInNewContext('Float32Array.of(1, 2, 3, 4)'),
    'another realm, array': runInNewContext('[1, 2, 3, 4]'),
  }
  for (const [name, vector] of Object.entries(kinds)) {
    await db.insert(name, vector)
    const row = await db.get(name)
    assert.ok(row.vector instanceof Float32Array)
    assert.deepEqual([...row.vector], [1, 2, 3, 4], name)
    const [hit] = await db.search(vector, { k: 1 })
    assert.equal(hit.distance, 0, name)
  }
  const all = Object.values(kinds)
  assert.equal((await db.insertMany({ vectors: all })).count, all.length)
  assert.equal((await db.searchMany(all, { k: 1 })).length, all.length)
})

test('f32 values survive exactly, and results are fresh', async (t) => {
  const db = await database(t)
  const extremes = Float32Array.of(9.9e17, -1e-45, 0.1, -0)
  await db.insert(1, extremes)
  const first = (await db.get(1)).vector
  assert.deepEqual(
    [...first].map((x) => Object.is(x, -0)),
    [false, false, false, true],
  )
  assert.deepEqual(first, extremes)
  first.fill(7)
  assert.deepEqual((await db.get(1)).vector, extremes)
})

test('arguments may change or go away as soon as the call has returned', async (t) => {
  const db = await database(t)
  const vector = Float32Array.of(1, 2, 3, 4)
  const payload = { tags: ['a'] }
  const inserted = db.insert(1, vector, payload)
  payload.tags.push('b')
  structuredClone(vector, { transfer: [vector.buffer] })
  assert.equal(vector.length, 0)
  await inserted
  assert.deepEqual(await db.get(1), { id: 1, vector: Float32Array.of(1, 2, 3, 4), payload: { tags: ['a'] } })
  const query = Float32Array.of(1, 2, 3, 4)
  const found = db.search(query)
  query.fill(100)
  assert.equal((await found)[0].distance, 0)
  await rejects('DIMENSION_MISMATCH', () => db.insert(2, vector))
})

test('a large array that goes away while it is copied is refused whole', async (t) => {
  const db = await database(t)
  const large = new Float32Array(4 << 20).fill(1)
  const inserted = db.insertMany({ vectors: large })
  structuredClone(large, { transfer: [large.buffer] })
  await rejects('INVALID_ARGUMENT', () => inserted, /changed its length/)
  assert.equal(await db.count(), 0)
})

test('payloads round-trip', async (t) => {
  const db = await database(t)
  const big = { text: 'x'.repeat((1 << 20) - '{"text":""}'.length) }
  const payloads = [
    {},
    { a: 1, b: -0.5, c: 1e300, d: true, e: null, f: '', g: [], h: {} },
    { nested: { list: [1, [2, [3, { deep: 'yes' }]]] } },
    { 'key with "quotes"\n': '\u0000\u001f\u2028\ud83d\ude80' },
    { 1: 'one', 0: 'zero', '': 'empty' },
    JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"toString":"x"}'),
    Object.assign(Object.create(null), { bare: 1 }),
    runInNewContext('({ realm: [{}] })'),
    big,
  ]
  for (const payload of payloads) {
    const expected = JSON.parse(JSON.stringify(payload))
    await db.upsert(1, [1, 2, 3, 4], payload)
    assert.deepEqual(await db.getPayload(1), expected)
    assert.deepEqual((await db.get(1)).payload, expected)
    assert.deepEqual((await db.search([1, 2, 3, 4], { include: ['payload'] }))[0].payload, expected)
    await db.setPayload(1, payload)
    assert.deepEqual(Object.keys(await db.getPayload(1)), Object.keys(expected))
  }
  await rejects('PAYLOAD_TOO_LARGE', () => db.setPayload(1, { text: `${big.text}x` }), /1048577/)
  assert.equal({}.polluted, undefined)
  const back = JSON.parse('{"__proto__":{"polluted":true}}')
  await db.setPayload(1, back)
  assert.ok(Object.hasOwn(await db.getPayload(1), '__proto__'))
})

test('payloads are what JSON makes of them', async (t) => {
  const db = await database(t)
  const when = new Date(0)
  const link = new URL('https://example.com/a')
  await db.insert(1, [1, 2, 3, 4], { a: undefined, b: [undefined, 1], when, link, n: -0 })
  assert.deepEqual(await db.getPayload(1), { b: [null, 1], when: when.toJSON(), link: link.href, n: 0 })
  await db.setPayload(1, { toJSON: () => ({ made: 'by toJSON' }) })
  assert.deepEqual(await db.getPayload(1), { made: 'by toJSON' })
  const twice = { s: 1 }
  await db.setPayload(1, { a: twice, b: twice })
  assert.deepEqual(await db.getPayload(1), { a: { s: 1 }, b: { s: 1 } })
})

test('no payload, kept payload, replaced payload, merged payload', async (t) => {
  const db = await database(t)
  await db.insert(1, [1, 2, 3, 4])
  assert.equal(await db.getPayload(1), null)
  assert.equal((await db.get(1)).payload, null)
  await db.upsert(1, [1, 2, 3, 5], { a: 1 })
  await db.upsert(1, [1, 2, 3, 6])
  await db.update(1, [1, 2, 3, 7])
  assert.deepEqual(await db.get(1), { id: 1, vector: Float32Array.of(1, 2, 3, 7), payload: { a: 1 } })
  await db.mergePayload(1, { a: null, b: { c: 1, d: 2 } })
  await db.mergePayload(1, { b: { d: null, e: 3 }, f: [1] })
  assert.deepEqual(await db.getPayload(1), { b: { c: 1, e: 3 }, f: [1] })
  await db.setPayload(1, null)
  assert.equal(await db.getPayload(1), null)
  await db.mergePayload(1, { fresh: 1 })
  assert.deepEqual(await db.getPayload(1), { fresh: 1 })
})

test('insertMany and upsertMany in every shape', async (t) => {
  const db = await database(t)
  const rows = vectors(random(t), 3, 4)
  assert.deepEqual(await db.insertMany({ vectors: new Float32Array(0) }), { count: 0, ...(await noIds(db)) })
  const first = await db.insertMany({ vectors: rows })
  assert.equal(first.count, 3)
  assert.equal(typeof first.firstId, 'number')
  for (let i = 0; i < 3; i++) {
    assert.deepEqual((await db.get(first.firstId + i)).vector, rows.slice(i * 4, i * 4 + 4))
  }
  const second = await db.insertMany({ vectors: { data: rows, dims: [3, 4] } })
  assert.equal(second.firstId, first.firstId + 3)
  const many = [
    [['a', 100n, 101], rows],
    [new Uint32Array([1000, 1001, 1002]), Float64Array.from(rows)],
    [
      new BigUint64Array([2n ** 64n - 1n, 2n ** 63n, 5000n]),
      Array.from({ length: 3 }, (_, i) => [...rows.subarray(i * 4, i * 4 + 4)]),
    ],
  ]
  for (const [ids, columns] of many) {
    const payloads = [{ n: 0 }, null, undefined]
    assert.deepEqual(await db.insertMany({ ids, vectors: columns, payloads }), { count: 3 })
    const back = await db.getMany(ids)
    assert.deepEqual(
      back.map(({ id }) => BigInt(Number.isInteger(id) || typeof id === 'bigint' ? id : 0)),
      Array.from(ids, (id) => (typeof id === 'string' ? 0n : BigInt(id))),
    )
    assert.deepEqual(
      back.map(({ payload }) => payload),
      [{ n: 0 }, null, null],
    )
    for (const [i, { vector }] of back.entries()) assert.deepEqual(vector, rows.slice(i * 4, i * 4 + 4))
  }
  await db.upsertMany({
    ids: ['a', 'b'],
    vectors: [
      [9, 9, 9, 9],
      [8, 8, 8, 8],
    ],
    payloads: [null, { b: 1 }],
  })
  assert.deepEqual(await db.get('a'), { id: 'a', vector: Float32Array.of(9, 9, 9, 9), payload: { n: 0 } })
  assert.deepEqual(await db.get('b'), { id: 'b', vector: Float32Array.of(8, 8, 8, 8), payload: { b: 1 } })
})

async function noIds(db) {
  const { firstId } = await db.insertMany({ vectors: [] })
  return firstId === undefined ? {} : { firstId }
}

test('getMany keeps order, holes and repeats', async (t) => {
  const db = await database(t)
  await db.insertMany({
    ids: [1, 'two'],
    vectors: [
      [1, 0, 0, 0],
      [2, 0, 0, 0],
    ],
    payloads: [{ n: 1 }, { n: 2 }],
  })
  const rows = await db.getMany(['two', 3, 1, 'two'])
  assert.deepEqual(
    rows.map((row) => row?.payload.n),
    [2, undefined, 1, 2],
  )
  assert.equal(rows[1], undefined)
  assert.deepEqual(await db.getMany([]), [])
  assert.deepEqual(await db.getMany([9]), [undefined])
})

test('searches: order, distance, k, offset, maxDistance, include', async (t) => {
  const next = random(t)
  const db = await database(t)
  const data = vectors(next, 300, 4)
  const payloads = Array.from({ length: 300 }, (_, i) => (i % 3 ? { i } : null))
  await db.insertMany({ ids: Uint32Array.from({ length: 300 }, (_, i) => i), vectors: data, payloads })
  const rows = Array.from({ length: 300 }, (_, i) => ({ id: i, vector: data.slice(i * 4, i * 4 + 4) }))
  const queries = vectors(next, 20, 4)
  const lists = await db.searchMany(queries, { k: 5, efSearch: 300, include: ['vector', 'payload'] })
  for (let q = 0; q < 20; q++) {
    const query = queries.subarray(q * 4, q * 4 + 4)
    const truth = byDistance(query, rows)
    const all = await db.search(query, { k: 1000, efSearch: 300 })
    assert.equal(new Set(all.map(({ id }) => id)).size, 300)
    // Ids of rows that are almost equally far may change places: the engine computes in 32 bits.
    const exact = new Map(truth.map(({ id, distance }) => [id, distance]))
    for (const [i, hit] of all.entries()) {
      assert.ok(Math.abs(hit.distance - truth[i].distance) < 1e-5)
      assert.ok(Math.abs(hit.distance - exact.get(hit.id)) < 1e-5)
      assert.ok(i === 0 || hit.distance >= all[i - 1].distance)
    }
    assert.deepEqual(Object.keys(all[0]), ['id', 'distance'])
    assert.deepEqual(await db.searchKnn(query, { k: 7, efSearch: 300 }), all.slice(0, 7))
    assert.deepEqual(await db.search(query, { k: 7, offset: 5, efSearch: 300 }), all.slice(5, 12))
    const near = await db.search(query, {
      k: 300,
      efSearch: 300,
      maxDistance: (all[10].distance + all[11].distance) / 2,
    })
    assert.deepEqual(near, all.slice(0, 11))
    lists[q].forEach((hit, i) => {
      assert.equal(hit.id, all[i].id)
      assert.deepEqual(hit.vector, rows[hit.id].vector)
      assert.deepEqual(hit.payload, payloads[hit.id])
    })
  }
  assert.equal((await db.search(queries.subarray(0, 4))).length, 10)
  assert.deepEqual(await db.searchMany(new Float32Array(0)), [])
})

test('searches of an empty database', async (t) => {
  const db = await database(t)
  assert.deepEqual(await db.search([1, 2, 3, 4], { include: ['payload', 'vector'] }), [])
  assert.deepEqual(await db.searchMany([[1, 2, 3, 4]]), [[]])
  assert.equal(await db.count(), 0)
})

test('metrics', async (t) => {
  for (const [metric, expected] of [
    ['l2', Math.sqrt(2)],
    ['cosine', 1],
    ['dot', 0],
  ]) {
    const db = await database(t, { dim: 2, metric })
    assert.equal(db.metric, metric)
    await db.insert(1, [1, 0])
    const [{ distance }] = await db.search([0, 1])
    assert.ok(Math.abs(distance - expected) < 1e-6, `${metric} ${distance}`)
  }
})

test('scan: all rows, frozen, released early', async (t) => {
  const db = await database(t)
  const ids = Array.from({ length: 2500 }, (_, i) => i)
  const data = vectors(random(t), 2500, 4)
  await db.insertMany({ ids, vectors: data, payloads: ids.map((i) => ({ i })) })
  for (const batchSize of [7, 500, 1000, 100_000]) {
    const seen = new Set()
    for await (const row of db.scan({
      include: ['payload', 'vector'],
      batchSize,
    })) {
      assert.equal(row.payload.i, row.id)
      assert.deepEqual(row.vector, data.slice(row.id * 4, row.id * 4 + 4))
      seen.add(row.id)
    }
    assert.equal(seen.size, 2500)
  }
  const frozen = []
  for await (const { id } of db.scan({ batchSize: 100 })) {
    if (frozen.length === 0) {
      await db.deleteMany(ids.slice(1000))
      await db.insert('new', [1, 2, 3, 4])
    }
    frozen.push(id)
  }
  assert.deepEqual(
    frozen.sort((a, b) => a - b),
    ids,
  )
  assert.equal(await db.count(), 1001)
  let taken = 0
  for await (const _ of db.scan({ batchSize: 10 })) if (++taken === 15) break
  assert.equal(taken, 15)
  const scan = db.scan()
  await scan.return()
  assert.deepEqual(await scan.next(), { value: undefined, done: true })
})

test('a scan of a closed database ends with CLOSED', async (t) => {
  const db = await database(t)
  await db.insertMany({ vectors: new Float32Array(400).fill(1) })
  const scan = db.scan({ batchSize: 10 })
  await scan.next()
  await db.close()
  await rejects('CLOSED', async () => {
    for await (const _ of scan);
  })
})

testOnStores('stats and check', async (t, storage) => {
  const db = await database(t, { storage }, place(t))
  await db.insertMany({ vectors: vectors(random(t), 100, 4) })
  await db.delete(5)
  await db.flush()
  const stats = await db.stats()
  assert.equal(stats.rows, 99)
  assert.equal(stats.storage, storage)
  assert.equal(stats.cacheBytes, 256 << 20)
  for (const [name, figure] of Object.entries(stats)) {
    if (name !== 'storage') assert.ok(Number.isSafeInteger(figure) && figure >= 0, name)
  }
  const report = await db.check()
  assert.deepEqual({ ...report, links: 0 }, { ok: true, rows: 99, links: 0, problems: [] })
  assert.ok(report.links > 0)
})

test('deleted rows leave the graph, and their places go to new ones', async (t) => {
  const db = await database(t)
  const column = (count) =>
    Float32Array.from({ length: 4 * count }, (_, i) => Math.sin(i * 0.7) * (1 + (i % 13)))
  await db.insertMany({ vectors: column(1000) })
  await db.deleteMany(Array.from({ length: 600 }, (_, id) => id))
  const told = []
  await db.compact({ onProgress: (progress) => told.push(progress) })
  const { rows, tombstones, freeSlots } = await db.stats()
  assert.deepEqual({ rows, tombstones, freeSlots }, { rows: 400, tombstones: 0, freeSlots: 600 })
  assert.ok(told.every(({ done, total }, i) => done <= total && (i === 0 || done > told[i - 1].done)))
  assert.equal(told.at(-1).done, told.at(-1).total)
  await db.insertMany({ vectors: column(500) })
  assert.equal((await db.stats()).freeSlots, 100)
  assert.equal((await db.search([1, 2, 3, 4], { k: 1000 })).length, 900)
  assert.deepEqual((await db.check()).problems, [])
  await rejects('ABORTED', () => db.compact({ signal: AbortSignal.abort() }))
  await rejects('INVALID_ARGUMENT', () => db.compact({ onProgress: 1 }), /onProgress/)
  const stop = () => {
    throw new Error('enough')
  }
  await rejects('ABORTED', () => db.compact({ onProgress: stop }), /onProgress threw/)
})

test('a repair keeps what it can and names what it cannot', async (t) => {
  const path = place(t)
  const first = await open(path, { dim: 4 })
  const payloads = Array.from({ length: 500 }, (_, i) => ({ i }))
  await first.insertMany({ vectors: vectors(random(t), 500, 4), payloads })
  await first.close()
  // A number of the row in the tenth place; a row is four numbers and a checksum.
  const file = join(path, 'vectors')
  const bytes = readFileSync(file)
  bytes[4096 + 10 * 20] ^= 1
  writeFileSync(file, bytes)
  const db = await database(t, { dim: 4 }, path)
  const problems = (found) => found.map(({ kind, id }) => [kind, id])
  assert.deepEqual(problems((await db.check()).problems), [['damaged_vector', 10]])
  const { ok, rows, repaired, lost } = await db.check({ repair: true })
  assert.deepEqual([ok, rows], [true, 499])
  assert.deepEqual(problems(repaired), [['damaged_vector', 10]])
  assert.deepEqual(problems(lost), [['lost_row', 10]])
  assert.equal(await db.get(10), undefined)
  assert.equal((await db.search([1, 2, 3, 4], { k: 1000 })).length, 499)
  assert.equal(await db.count({ i: { $lt: 20 } }), 19)
  assert.deepEqual(problems((await db.check({ repair: true })).lost), [])
  await rejects('INVALID_ARGUMENT', () => db.check({ repair: 1 }), /repair/)
})
