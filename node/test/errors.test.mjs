// Every refusal: the right code, by rejection, with a message that names the culprit, and nothing changed.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import test from 'node:test'
import { AsteroidDB, open } from 'asteroid-db'
import { database, place, rejects, runs, testOnStores } from './lib/helpers.mjs'

const good = [1, 2, 3, 4]
const cyclic = { a: { b: [0] } }
cyclic.a.b.push(cyclic.a)
const deep = (levels) => (levels === 0 ? {} : { x: deep(levels - 1) })
class Film {
  title = 'Alien'
}

const badIds = [
  [2 ** 53, /9007199254740992/],
  [-1, /-1/],
  [1.5, /1\.5/],
  [Number.NaN, /NaN/],
  [Number.POSITIVE_INFINITY, /Infinity/],
  [2n ** 64n, /18446744073709551616n/],
  [-1n, /-1n/],
  [10n ** 400n, /bigint of 401 digits/],
  ['', /''/],
  ['x'.repeat(513), /513 bytes/],
  ['\u00e9'.repeat(257), /514 bytes/],
  ['a\ud800', /surrogate/],
  [null, /null/],
  [undefined, /undefined/],
  [true, /true/],
  [{}, /an object/],
  [Symbol('s'), /Symbol\(s\)/],
]

const badVectors = [
  ['DIMENSION_MISMATCH', [1, 2, 3], /3 numbers.*4/],
  ['DIMENSION_MISMATCH', new Float32Array(5), /5 numbers/],
  ['DIMENSION_MISMATCH', [], /0 numbers/],
  ['DIMENSION_MISMATCH', { data: new Float32Array(8), dims: [2, 4] }, /dims \[2,4\]/],
  ['INVALID_ARGUMENT', [1, Number.NaN, 3, 4], /\[1\] is NaN/],
  ['INVALID_ARGUMENT', Float32Array.of(1, 2, Number.POSITIVE_INFINITY, 4), /\[2\] is Infinity/],
  ['INVALID_ARGUMENT', [1, 2, 3, Number.NEGATIVE_INFINITY], /\[3\] is -Infinity/],
  ['INVALID_ARGUMENT', [1e39, 2, 3, 4], /\[0\] is 1e\+39, too large/],
  ['INVALID_ARGUMENT', Float64Array.of(1, 2, 3, -1e300), /\[3\]/],
  ['INVALID_ARGUMENT', ['1', 2, 3, 4], /\[0\] is '1'/],
  ['INVALID_ARGUMENT', [1, undefined, 3, 4], /\[1\] is undefined/],
  ['INVALID_ARGUMENT', '1234', /'1234'/],
  ['INVALID_ARGUMENT', null, /null/],
  ['INVALID_ARGUMENT', undefined, /undefined/],
  ['INVALID_ARGUMENT', 4, /not 4/],
  ['INVALID_ARGUMENT', {}, /an object/],
  ['INVALID_ARGUMENT', new BigInt64Array(4), /BigInt64Array/],
  ['INVALID_ARGUMENT', new DataView(new ArrayBuffer(16)), /DataView/],
  ['INVALID_ARGUMENT', { data: 'abcd', dims: [4] }, /data/],
  ['INVALID_ARGUMENT', { data: new Float32Array(4), dims: [5] }, /dims \[5\]/],
  ['INVALID_ARGUMENT', { data: new Uint16Array(4), dims: [4], type: 'float16' }, /float16/],
]

const badPayloads = [
  ['INVALID_ARGUMENT', [], /an array/],
  ['INVALID_ARGUMENT', 'text', /'text'/],
  ['INVALID_ARGUMENT', 7, /7/],
  ['INVALID_ARGUMENT', () => 1, /function/],
  ['INVALID_ARGUMENT', cyclic, /payload\.a\.b\[1\].*cycle/],
  ['INVALID_ARGUMENT', { a: [{ b: 1 }, { b: 2n }] }, /payload\.a\[1\]\.b.*bigint 2n/],
  ['INVALID_ARGUMENT', { 'a b': () => 1 }, /payload\["a b"\].*function/],
  ['INVALID_ARGUMENT', { a: Symbol('s') }, /payload\.a.*symbol/],
  ['INVALID_ARGUMENT', { a: Number.NaN }, /payload\.a is NaN/],
  ['INVALID_ARGUMENT', { a: [Number.POSITIVE_INFINITY] }, /payload\.a\[0\] is Infinity/],
  ['INVALID_ARGUMENT', new Map(), /Map/],
  ['INVALID_ARGUMENT', { a: new Set() }, /payload\.a.*Set/],
  ['INVALID_ARGUMENT', { a: new Uint8Array(3) }, /payload\.a.*Uint8Array/],
  ['INVALID_ARGUMENT', new Film(), /Film/],
  ['INVALID_ARGUMENT', deep(101), /deeper than 100/],
  ['PAYLOAD_TOO_LARGE', { a: 'x'.repeat(1 << 20) }, /1048576/],
  ['PAYLOAD_TOO_LARGE', { a: '\u00e9'.repeat(600_000) }, /1200008 bytes/],
  ['PAYLOAD_TOO_LARGE', { a: new Array(600_000).fill(1) }, /1048576/],
]

const badSearches = [
  [{ k: 0 }, /k must be.*not 0/],
  [{ k: -1 }, /-1/],
  [{ k: 1e9 }, /1000000000/],
  [{ k: 1.5 }, /1\.5/],
  [{ k: '10' }, /'10'/],
  [{ k: Number.NaN }, /NaN/],
  [{ efSearch: 0 }, /efSearch must be.*not 0/],
  [{ efSearch: -5 }, /-5/],
  [{ efSearch: 1_000_001 }, /1000001/],
  [{ offset: -1 }, /offset/],
  [{ k: 1_000_000, offset: 1 }, /k \+ offset/],
  [{ maxDistance: 'far' }, /maxDistance/],
  [{ maxDistance: Number.NaN }, /NaN/],
  [{ include: 'payload' }, /include must be an array/],
  [{ include: ['payloads'] }, /'payloads'/],
  [{ signal: {} }, /signal/],
  [{ effSearch: 10 }, /did you mean 'efSearch'/],
  ['fast', /options of search/],
  [null, /null/],
]

const show = (value) => {
  try {
    return (
      typeof value === 'string' ? JSON.stringify(value) : String(JSON.stringify(value) ?? String(value))
    ).slice(0, 60)
  } catch {
    return typeof value === 'bigint' ? `${String(value).slice(0, 30)}n` : 'a cyclic object'
  }
}

async function unchanged(t, options) {
  let db
  // Before the hook that closes it: hooks run in the order they were given.
  t.after(async () => {
    assert.equal(await db.count(), 1)
    assert.deepEqual(await db.get(1), { id: 1, vector: Float32Array.from(good), payload: { kept: true } })
  })
  db = await database(t, options)
  await db.insert(1, good, { kept: true })
  return db
}

test('ids', async (t) => {
  const db = await unchanged(t)
  for (const [id, message] of badIds) {
    await t.test(show(id), async () => {
      const calls = [
        () => db.insert(id, good),
        () => db.upsert(id, good),
        () => db.update(id, good),
        () => db.delete(id),
        () => db.get(id),
        () => db.has(id),
        () => db.getPayload(id),
        () => db.setPayload(id, {}),
        () => db.mergePayload(id, {}),
        () => db.getMany([1, id]),
        () => db.deleteMany([1, id]),
        () => db.insertMany({ ids: [2, id], vectors: [good, good] }),
        () => db.upsertMany({ ids: [id], vectors: [good] }),
      ]
      for (const call of calls) await rejects('INVALID_ARGUMENT', call, message)
    })
  }
  await rejects('INVALID_ARGUMENT', () => db.getMany('12'), /'12'/)
  await rejects('INVALID_ARGUMENT', () => db.deleteMany(new Float32Array(2)), /Float32Array/)
  await rejects('INVALID_ARGUMENT', () => db.deleteMany(), /undefined/)
})

test('vectors', async (t) => {
  const db = await unchanged(t)
  for (const [code, vector, message] of badVectors) {
    await t.test(show(vector), async () => {
      const calls = [
        () => db.insert(2, vector),
        () => db.upsert(1, vector),
        () => db.update(1, vector),
        () => db.search(vector),
        () => db.searchKnn(vector),
        () => db.insertMany({ vectors: [good, vector] }),
        () => db.searchMany([good, vector]),
      ]
      for (const call of calls) await rejects(code, call, message)
    })
  }
})

test('the zero vector under cosine', async (t) => {
  const db = await unchanged(t, { metric: 'cosine' })
  const zero = new Float32Array(4)
  const calls = [
    () => db.insert(2, zero),
    () => db.update(1, zero),
    () => db.search(zero),
    () => db.insertMany({ vectors: [good, zero] }),
    () => db.searchMany([good, zero]),
  ]
  for (const call of calls) await rejects('INVALID_ARGUMENT', call, /zero/)
})

test('payloads', async (t) => {
  const db = await unchanged(t)
  for (const [code, payload, message] of badPayloads) {
    await t.test(show(payload), async () => {
      await rejects(code, () => db.insert(2, good, payload), message)
      await rejects(code, () => db.upsert(1, good, payload), message)
      await rejects(code, () => db.setPayload(1, payload), message)
      await rejects(code, () => db.mergePayload(1, payload))
      const rows = { vectors: [good, good], payloads: [{ fine: 1 }, payload] }
      await rejects(code, () => db.insertMany(rows), /payloads\[1\]/)
    })
  }
  await rejects('INVALID_ARGUMENT', () => db.insert(2, good, { toJSON: () => 5 }), /5/)
  const moody = {
    get a() {
      throw new Error('no')
    },
  }
  await assert.rejects(db.insert(2, good, moody), /no/)
  await rejects('PAYLOAD_TOO_LARGE', async () => {
    await db.setPayload(1, { a: 'x'.repeat(700_000) })
    try {
      await db.mergePayload(1, { b: 'y'.repeat(700_000) })
    } finally {
      assert.deepEqual(Object.keys(await db.getPayload(1)), ['a'])
      await db.setPayload(1, { kept: true })
    }
  })
})

test('searches', async (t) => {
  const db = await unchanged(t)
  for (const [options, message] of badSearches) {
    await t.test(show(options), async () => {
      await rejects('INVALID_ARGUMENT', () => db.search(good, options), message)
      const forMany = options === 'fast' ? /options of searchMany/ : message
      await rejects('INVALID_ARGUMENT', () => db.searchMany([good], options), forMany)
    })
  }
  await rejects('INVALID_ARGUMENT', () => db.searchKnn(good, { k: 0 }), /k must be/)
  await rejects('INVALID_ARGUMENT', () => db.searchKnn(good, { include: [] }), /did you mean/)
  await rejects('INVALID_ARGUMENT', () => db.check({ signal: 1 }), /signal/)
  await rejects('INVALID_ARGUMENT', () => db.scan({ batchSize: 0 }).next(), /batchSize/)
  await rejects('INVALID_ARGUMENT', () => db.scan({ inclde: [] }).next(), /did you mean 'include'/)
})

test('rows of insertMany', async (t) => {
  const db = await unchanged(t)
  const two = Float32Array.from([...good, ...good])
  const nan = Float32Array.from([...good, 1, 2, Number.NaN, 4])
  const cases = [
    ['INVALID_ARGUMENT', undefined, /vectors/],
    ['INVALID_ARGUMENT', null, /null/],
    ['INVALID_ARGUMENT', [good], /an array/],
    ['INVALID_ARGUMENT', {}, /vectors/],
    ['INVALID_ARGUMENT', { vectors: two, payload: [] }, /did you mean 'payloads'/],
    ['INVALID_ARGUMENT', { vectors: good }, /vectors\[0\]/],
    ['DIMENSION_MISMATCH', { vectors: new Float32Array(7) }, /7 numbers.*multiple.*4/],
    ['DIMENSION_MISMATCH', { vectors: { data: new Float32Array(6), dims: [2, 3] } }, /dims \[2,3\]/],
    ['DIMENSION_MISMATCH', { vectors: [good, [1, 2]] }, /vectors\[1\]/],
    ['INVALID_ARGUMENT', { ids: [2], vectors: two }, /1 entries for 2/],
    ['INVALID_ARGUMENT', { ids: [2, 3, 4], vectors: two }, /3 entries for 2/],
    ['INVALID_ARGUMENT', { ids: new Float64Array(2), vectors: two }, /Float64Array/],
    ['INVALID_ARGUMENT', { vectors: two, payloads: [{}] }, /1 entries for 2/],
    ['INVALID_ARGUMENT', { vectors: two, payloads: {} }, /payloads must be an array/],
    ['INVALID_ARGUMENT', { vectors: nan }, /NaN/],
    ['INVALID_ARGUMENT', { ids: [2, -3], vectors: two }, /ids\[1\].*-3/],
    ['ID_EXISTS', { ids: [2, 1], vectors: two }, /1/],
    ['ID_EXISTS', { ids: [2, 2], vectors: two }, /twice/],
    ['ID_EXISTS', { ids: new Uint32Array([3, 1]), vectors: two }, /1/],
    ['ID_EXISTS', { ids: new BigUint64Array([3n, 1n]), vectors: two }, /1/],
  ]
  for (const [code, rows, message] of cases) await rejects(code, () => db.insertMany(rows), message)
  const fine = { vectors: two }
  await rejects(
    'INVALID_ARGUMENT',
    () => db.insertMany(fine, { onProgres: () => {} }),
    /did you mean 'onProgress'/,
  )
  await rejects('INVALID_ARGUMENT', () => db.insertMany(fine, { onProgress: 1 }), /function/)
  await rejects('INVALID_ARGUMENT', () => db.insertMany(fine, { signal: 'x' }), /AbortSignal/)
})

test('rows that are there, and rows that are not', async (t) => {
  const db = await unchanged(t)
  await rejects('ID_EXISTS', () => db.insert(1, good), /1/)
  await rejects('ID_EXISTS', () => db.insert(1n, good), /1/)
  await rejects('NOT_FOUND', () => db.update(2, good), /2/)
  await rejects('NOT_FOUND', () => db.setPayload('1', {}), /1/)
  await rejects('NOT_FOUND', () => db.mergePayload(2, {}), /2/)
  assert.equal(await db.delete(2), false)
  assert.equal(await db.deleteMany([2, '1', 3n]), 0)
  assert.equal(await db.get(2), undefined)
  assert.equal(await db.getPayload(2), undefined)
})

test('options of open', async () => {
  const cases = [
    [{}, /dim is required/],
    [{ dim: 0 }, /dim.*65535.*0/],
    [{ dim: 70_000 }, /dim.*65535.*70000/],
    [{ dim: -1 }, /-1/],
    [{ dim: 1.5 }, /1\.5/],
    [{ dim: '4' }, /'4'/],
    [{ dim: null }, /null/],
    [{ dim: 4, metric: 'L2' }, /'l2', 'cosine', 'dot'.*'L2'/],
    [{ dim: 4, m: 1 }, /m must/],
    [{ dim: 4, m: 129 }, /m must.*128.*129/],
    [{ dim: 4, mMax: 1 }, /mMax/],
    [{ dim: 4, mMax: 257 }, /mMax.*256/],
    [{ dim: 4, mMax0: 513 }, /mMax0.*512/],
    [{ dim: 4, efConstruction: 1 }, /efConstruction/],
    [{ dim: 4, efConstruction: 4097 }, /efConstruction.*4096/],
    [{ dim: 4, vectorStorageType: 2 }, /vectorStorageType.*2/],
    [{ dim: 4, vectorStorageType: '1' }, /'1'/],
    [{ dim: 4, pagedMaxCachedPages: 0 }, /pagedMaxCachedPages/],
    [{ dim: 4, cacheBytes: 1000 }, /cacheBytes.*4194304/],
    [{ dim: 4, cacheBytes: '1MB' }, /cacheBytes/],
    [{ dim: 4, durability: 'none' }, /'buffered', 'sync'/],
    [{ dim: 4, storage: 'lmdb' }, /'lmdb'/],
    [{ dim: 4, storage: 'redb' }, /':memory:'/],
    [{ dim: 4, reinit: 'yes' }, /reinit/],
    [{ dim: 4, reinit: true, readOnly: true }, /readOnly/],
    [{ dim: 4, readOnly: 1 }, /readOnly/],
    [{ dim: 4, seed: -1 }, /seed/],
    [{ dim: 4, seed: 2n ** 64n }, /seed/],
    [{ dim: 4, seed: 1.5 }, /seed/],
    [{ dim: 4, threads: 0 }, /threads/],
    [{ dim: 4, threads: 1e6 }, /threads/],
    [{ dim: 4, quantization: 8 }, /quantization/],
    [{ dim: 4, quantization: 'pq' }, /'sq8', 'rabitq', 'none'/],
    [{ dim: 4, vectorFilePath: 5 }, /vectorFilePath/],
    [{ dim: 4, efConstuction: 50 }, /did you mean 'efConstruction'/],
    [{ dim: 4, ef_construction: 50 }, /did you mean 'efConstruction'/],
    [{ dimension: 4 }, /did you mean 'dim'/],
    ['fast', /'fast'/],
  ]
  for (const [options, message] of cases)
    await rejects('INVALID_ARGUMENT', () => open(':memory:', options), message)
  for (const path of [undefined, null, '', 5, 'a\0b', new URL('https://example.com/')]) {
    await rejects('INVALID_ARGUMENT', () => open(path, { dim: 4 }), /path/)
  }
  await rejects('INVALID_ARGUMENT', () => open('./never-made', { dim: 4, storage: 'memory' }), /':memory:'/)
  assert.throws(() => new AsteroidDB(), /open\(\)/)
})

test('a path that is a file', async (t) => {
  const path = place(t)
  writeFileSync(path, 'hello')
  await rejects('INVALID_ARGUMENT', () => open(path, { dim: 4 }), /is a file/)
  assert.equal(readFileSync(path, 'utf8'), 'hello')
})

test('a directory without permission', async (t) => {
  const path = place(t)
  mkdirSync(path)
  chmodSync(path, 0o500)
  // Root may write anywhere, so a root test run asks as somebody else.
  const setUp = 'if (process.getuid?.() === 0) { process.setgid(65534); process.setuid(65534) }'
  const code =
    'console.log(await open(path, { dim: 4 }).then(() => "opened", (error) => error.code + error.message))'
  chmodSync(dirname(path), 0o755)
  const out = await runs(path, `await open(':memory:', { dim: 1 }); ${setUp}; ${code}`)
  assert.match(out, /^IO.*permission denied/is)
  assert.ok(out.includes(path), out)
})

testOnStores('a full disk refuses the write whole, and the database goes on', async (t, storage) => {
  let disk
  // Before the hook that removes the directory: hooks run in the order they were given.
  t.after(() => spawnSync('umount', ['-l', disk]))
  const path = place(t)
  disk = dirname(path)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', disk])
  if (mounted.status !== 0) return t.skip('needs the right to mount a small tmpfs')
  const dim = 256
  const block = new Float32Array(1000 * dim).map((_, i) => Math.sin(i))
  const db = await open(path, { dim, cacheBytes: 8 << 20, storage })
  const kept = []
  let refused
  for (let round = 0; round < 100 && !refused; round++) {
    const rows = {
      ids: Array.from({ length: 1000 }, (_, i) => round * 1000 + i),
      vectors: block.map((x) => x + round),
    }
    try {
      await db.insertMany(rows)
      kept.push(...rows.ids)
    } catch (error) {
      refused = error
    }
  }
  assert.equal(refused?.code, 'STORAGE_FULL', refused?.stack)
  assert.equal(await db.count(), kept.length)
  assert.equal((await db.search(block.subarray(0, dim), { k: 1 }))[0].distance, 0)
  await db.close().catch((error) => assert.match(error.code, /STORAGE_FULL|POISONED/))
  assert.equal(spawnSync('mount', ['-o', 'remount,size=256m', disk]).status, 0)
  const again = await open(path)
  assert.equal(await again.count(), kept.length)
  assert.deepEqual((await again.check()).problems, [])
  await again.insert('more', block.subarray(0, dim))
  await again.close()
})
