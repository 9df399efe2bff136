// Opening, closing, reopening, and processes that end without closing.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { AsteroidDB, AsteroidError, open } from 'asteroid-db'
import { database, place, program, rejects, runs, STORES, testOnStores } from './lib/helpers.mjs'

const good = [1, 2, 3, 4]

testOnStores('properties and reopening', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, metric: 'cosine', storage })
  assert.ok(db instanceof AsteroidDB)
  assert.deepEqual([db.dim, db.metric, db.path, db.closed], [4, 'cosine', resolve(path), false])
  await db.insert(1, good, { a: 1 })
  await db.close()
  assert.equal(db.closed, true)
  const again = await database(t, { dim: undefined }, pathToFileURL(path))
  assert.deepEqual([again.dim, again.metric, (await again.stats()).storage], [4, 'cosine', storage])
  assert.deepEqual(await again.get(1), { id: 1, vector: Float32Array.from(good), payload: { a: 1 } })
})

test('after close every call rejects with CLOSED, and closing again is fine', async (t) => {
  const db = await database(t)
  await db.insert(1, good)
  const closing = db.close()
  assert.equal(db.closed, true)
  assert.equal(db.close(), closing)
  const copy = place(t)
  const calls = [
    () => db.insert(2, good),
    () => db.upsert(2, good),
    () => db.insertMany({ vectors: good }),
    () => db.upsertMany({ vectors: good }),
    () => db.update(1, good),
    () => db.delete(1),
    () => db.deleteMany([1]),
    () => db.deleteWhere({}),
    () => db.has(1),
    () => db.get(1),
    () => db.getMany([1]),
    () => db.getPayload(1),
    () => db.setPayload(1, {}),
    () => db.mergePayload(1, {}),
    () => db.search(good),
    () => db.searchKnn(good),
    () => db.searchMany([good]),
    () => db.bulkBuild(good),
    () => db.count(),
    () => db.scan().next(),
    () => db.stats(),
    () => db.export().getReader().read(),
    () => db.backup(copy),
    () => db.flush(),
    () => db.compact(),
    () => db.check(),
  ]
  for (const call of calls) await rejects('CLOSED', call, /:memory:/)
  await closing
  for (const call of calls) await rejects('CLOSED', call)
  await db.close()
  await db[Symbol.asyncDispose]()
  const tested = calls.map((call) => /db\.(\w+)/.exec(String(call))[1])
  const methods = Object.getOwnPropertyNames(AsteroidDB.prototype).filter(
    (name) => typeof Object.getOwnPropertyDescriptor(AsteroidDB.prototype, name).value === 'function',
  )
  assert.deepEqual(
    methods.filter((name) => !tested.includes(name)),
    ['constructor', 'close'],
  )
})

testOnStores('calls made before close complete', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, storage })
  const large = new Float32Array(4 * 5000).fill(1).map((x, i) => x + i / 1000)
  const calls = [
    db.insertMany({ vectors: large, payloads: Array.from({ length: 5000 }, (_, i) => ({ i })) }),
    ...Array.from({ length: 100 }, (_, i) => db.insert(`s${i}`, good)),
    db.searchMany(large),
    db.check(),
  ]
  await db.close()
  assert.equal((await Promise.all(calls))[0].count, 5000)
  const again = await database(t, {}, path)
  assert.equal(await again.count(), 5100)
})

test('writes take effect in the order of their calls', async (t) => {
  const db = await database(t)
  const rows = 2000
  const ids = Array.from({ length: rows }, (_, i) => i)
  const payloads = ids.map((i) => ({ i, text: 'x'.repeat(300) }))
  const many = db.insertMany({ ids, vectors: new Float32Array(rows * 4).fill(1), payloads })
  const one = db.update(7, good)
  const gone = db.delete(8)
  const late = db.deleteMany(ids.slice(100))
  assert.deepEqual(
    [(await many).count, await one, await gone, await late],
    [rows, undefined, true, rows - 100],
  )
  assert.deepEqual((await db.get(7)).vector, Float32Array.from(good))
  assert.equal(await db.count(), 99)
})

testOnStores(
  "durability 'sync': many writes at once share their syncs, and each still answers for itself",
  async (t, storage) => {
    const path = place(t)
    const db = await open(path, { dim: 4, durability: 'sync', storage })
    const writes = Array.from({ length: 500 }, (_, i) => db.insert(i % 400, [i + 1, 2, 3, 4]))
    const outcomes = await Promise.allSettled(writes)
    const refused = outcomes.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))
    assert.deepEqual(
      refused,
      Array.from({ length: 100 }, (_, i) => 400 + i),
    )
    assert.equal(outcomes[400].reason.code, 'ID_EXISTS')
    const mixed = [db.delete(0), db.flush(), db.insertMany({ vectors: [good] }), db.delete(0), db.close()]
    assert.deepEqual(await Promise.all(mixed.slice(0, 2)), [true, undefined])
    assert.equal(await mixed[3], false)
    await mixed[4]
    const again = await database(t, { dim: undefined, durability: 'sync' }, path)
    assert.equal(await again.count(), 400)
  },
)

testOnStores('LOCKED in the same process and in another, free after close', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, storage })
  await rejects('LOCKED', () => open(path))
  await rejects('LOCKED', () => open(path, { readOnly: true }))
  await rejects('LOCKED', () => open(path, { dim: 4, reinit: true }))
  const code = 'console.log(await open(path).then(() => "opened", (error) => error.code))'
  assert.equal(await runs(path, code), 'LOCKED')
  await db.insert(1, good)
  await db.close()
  assert.equal(await runs(path, `${code}; process.exit(0)`), 'opened')
  await (await open(path)).close()
})

test('CONFIG_MISMATCH names both values', async (t) => {
  const path = place(t)
  await (await open(path, { dim: 4, metric: 'cosine', m: 8, vectorStorageType: 0, seed: 9 })).close()
  await rejects('CONFIG_MISMATCH', () => open(path, { dim: 5 }), /dim.*4.*5/)
  await rejects('CONFIG_MISMATCH', () => open(path, { metric: 'l2' }), /cosine.*l2/)
  await rejects('CONFIG_MISMATCH', () => open(path, { m: 9 }), /m 8.*9/)
  await rejects('CONFIG_MISMATCH', () => open(path, { vectorStorageType: 1 }), /vectorStorageType/)
  await rejects('CONFIG_MISMATCH', () => open(path, { seed: 10n }), /seed/)
  await (await open(path, { dim: 4, metric: 'cosine', m: 8, seed: 9n, efConstruction: 50 })).close()
})

testOnStores('opened as another store, a database says so and names the converter', async (t, storage) => {
  const path = place(t)
  await (await open(path, { dim: 4, storage })).close()
  for (const other of STORES.filter((each) => each !== storage)) {
    const message = new RegExp(`storage '${storage}'.*'${other}'.*asteroid-db convert`)
    await rejects('CONFIG_MISMATCH', () => open(path, { storage: other }), message)
    await rejects('CONFIG_MISMATCH', () => open(path, { storage: other, readOnly: true }), message)
  }
  const db = await database(t, { storage }, path)
  assert.equal((await db.stats()).storage, storage)
})

testOnStores('reinit starts fresh, with another dimension if asked', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, storage })
  await db.insert(1, good)
  await db.close()
  const again = await database(t, { dim: 2, reinit: true, storage }, path)
  assert.equal(again.dim, 2)
  assert.equal((await again.stats()).storage, storage)
  assert.equal(await again.count(), 0)
})

testOnStores('readOnly reads and refuses writes', async (t, storage) => {
  const path = place(t)
  await rejects('NOT_FOUND', () => open(path, { readOnly: true }))
  const db = await open(path, { dim: 4, storage })
  await db.insert(1, good, { a: 1 })
  await db.close()
  const reader = await open(path, { readOnly: true })
  t.after(() => reader.close())
  assert.deepEqual((await reader.search(good, { k: 1, include: ['payload'] }))[0].payload, { a: 1 })
  const writes = [
    () => reader.insert(2, good),
    () => reader.upsert(1, good),
    () => reader.insertMany({ vectors: [good] }),
    () => reader.update(1, good),
    () => reader.delete(1),
    () => reader.deleteMany([1]),
    () => reader.setPayload(1, {}),
    () => reader.mergePayload(1, {}),
  ]
  for (const call of writes) await rejects('READ_ONLY', call)
  assert.equal(await reader.count(), 1)
})

testOnStores('exit without close: clean, at once, nothing lost', async (t, storage) => {
  const path = place(t)
  const out = await runs(
    path,
    `const db = await open(path, { dim: 4, storage })
     await db.insertMany({ vectors: new Float32Array(4000).fill(1), payloads: Array(1000).fill({ a: 1 }) })
     await db.insert('last', [1, 2, 3, 4])
     console.log('done')`,
    { storage, timeoutMs: 20_000 },
  )
  assert.equal(out, 'done')
  const db = await database(t, {}, path)
  assert.equal(await db.count(), 1001)
  assert.deepEqual((await db.get('last')).vector, Float32Array.from(good))
})

testOnStores('pending work keeps the process alive', async (t, storage) => {
  const path = place(t)
  const out = await runs(
    path,
    `open(path, { dim: 4, storage }).then((db) => {
       for (let i = 0; i < 200; i++) db.insert(i, [i, 2, 3, 4])
       db.insertMany({ vectors: new Float32Array(4000).fill(1) }).then(({ count }) => console.log('stored', count))
     })`,
    { storage },
  )
  assert.equal(out, 'stored 1000')
  assert.equal(await (await database(t, {}, path)).count(), 1200)
})

for (const how of [
  'process.exit(0)',
  'process.reallyExit(0)',
  'process.kill(process.pid, "SIGTERM")',
  'process.kill(process.pid, "SIGKILL")',
]) {
  testOnStores(`${how} in the middle of everything`, async (t, storage) => {
    const path = place(t)
    const { code, signal, out, err } = await program(
      path,
      `const db = await open(path, { dim: 64, storage })
       await db.insertMany({ vectors: Float32Array.from({ length: 64 * 500 }, Math.random) })
       const noop = () => {}
       for (let i = 0; i < 50; i++) db.insert('s' + i, new Float32Array(64).fill(i + 1)).catch(noop)
       db.insertMany({ vectors: Float32Array.from({ length: 64 * 20000 }, Math.random) }, { onProgress: noop }).catch(noop)
       db.searchMany(Float32Array.from({ length: 64 * 2000 }, Math.random), { k: 50 }).catch(noop)
       db.check().catch(noop)
       for (let i = 0; i < 50; i++) db.search(new Float32Array(64).fill(1)).catch(noop)
       open(path + '-2', { dim: 8 }).catch(noop)
       setTimeout(() => { ${how} }, 100)`,
      { storage },
    )
    const ended = /SIG[A-Z]+/.exec(how)?.[0] ?? 0
    assert.equal(signal ?? code, ended, `${code} ${signal}\n${out}${err}`)
    assert.equal(err, '')
    const db = await database(t, { dim: undefined }, path)
    assert.ok((await db.count()) >= 500)
  })
}

testOnStores('a handle that is dropped without close lets go of its lock', async (t, storage) => {
  const path = place(t)
  const out = await runs(
    path,
    `await (async () => {
       const db = await open(path, { dim: 4, storage })
       db.insert(1, [1, 2, 3, 4])
     })()
     for (let i = 0; i < 200; i++) {
       gc()
       await new Promise((resolve) => setTimeout(resolve, 10))
       const db = await open(path).catch((error) => { if (error.code !== 'LOCKED') throw error })
       if (db) { console.log('rows', await db.count()); process.exit(0) }
     }`,
    { args: ['--expose-gc'], storage },
  )
  assert.equal(out, 'rows 1')
})

test('many handles opened and dropped or closed do not pile up', async (t) => {
  const out = await runs(
    place(t),
    `for (let i = 0; i < 200; i++) { const db = await open(':memory:', { dim: 4 }); await db.insert(1, [1,2,3,4]); if (i % 2) await db.close() }
     for (let i = 0; i < 20; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 20)) }
     const { readdirSync } = await import('node:fs')
     let threads = 0
     try { threads = readdirSync('/proc/self/task').length } catch {}
     console.log(threads < 60 ? 'ok' : threads)`,
    { args: ['--expose-gc'] },
  )
  assert.equal(out, 'ok')
})

test('importing has no side effect: no addon is loaded before open', async (t) => {
  const code = `const loaded = () => process.report.getReport().sharedObjects.some((name) => name.includes('asteroid.'))
     const before = loaded()
     await (await open(':memory:', { dim: 2 })).close()
     console.log(before, loaded())`
  assert.equal(await runs(place(t), code), 'false true')
})

test('CommonJS and ESM share one set of classes', async () => {
  const require = createRequire(import.meta.url)
  const cjs = require('asteroid-db')
  assert.equal(cjs.AsteroidError, AsteroidError)
  assert.equal(cjs.AsteroidDB, AsteroidDB)
  assert.deepEqual(Object.keys(cjs).sort(), ['AsteroidDB', 'AsteroidError', 'convert', 'open'])
  const db = await cjs.open(':memory:', { dim: 4 })
  assert.ok(db instanceof AsteroidDB)
  await db.close()
})

testOnStores('a scan that is left open does not hold the database after close', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, storage })
  await db.insertMany({ vectors: new Float32Array(400).fill(1) })
  const scan = db.scan({ batchSize: 10 })
  assert.equal((await scan.next()).value.id, 0)
  await db.close()
  await (await open(path)).close()
  await scan.return()
})

test('errors look like errors', async (t) => {
  const db = await database(t)
  const error = await rejects('NOT_FOUND', () => db.update(5, good))
  assert.equal(error.name, 'AsteroidError')
  assert.match(String(error), /^AsteroidError: /)
  assert.match(error.stack, /lifecycle\.test\.mjs/)
  assert.ok(error instanceof Error)
})
