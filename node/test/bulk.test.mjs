// bulkBuild: every kind of input, all rows or none, and a database like any other after it.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { open } from 'asteroid-db'
import { database, place, random, rejects, testOnStores, vectors } from './lib/helpers.mjs'

const PHASES = ['validate', 'prepare', 'descend', 'connect', 'upper', 'order', 'vectors', 'store']

async function sound(db, rows) {
  const report = await db.check()
  assert.deepEqual(report.problems, [])
  assert.equal(report.rows, rows)
  assert.equal(await db.count(), rows)
}

/** A .npy file as NumPy writes it. */
function npy(type, shape, data, { order = 'False', version = 1 } = {}) {
  const text = `{'descr': '${type}', 'fortran_order': ${order}, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`
  const start = version === 1 ? 10 : 12
  const header = `${text.padEnd(Math.ceil((start + text.length + 1) / 64) * 64 - start - 1)}\n`
  const head = Buffer.alloc(start)
  head.write('\x93NUMPY', 'latin1')
  head[6] = version
  if (version === 1) head.writeUInt16LE(header.length, 8)
  else head.writeUInt32LE(header.length, 8)
  return Buffer.concat([head, Buffer.from(header, 'latin1'), Buffer.from(data.buffer)])
}

/** An .fvecs file (a .bvecs one from bytes). */
function vecs(data, dim) {
  const parts = []
  for (let at = 0; at < data.length; at += dim) {
    const length = Buffer.alloc(4)
    length.writeInt32LE(dim)
    parts.push(length, Buffer.from(data.slice(at, at + dim).buffer))
  }
  return Buffer.concat(parts)
}

/** Halves of small integers: 5 bits of exponent, 10 of fraction. */
function half(x) {
  if (x === 0) return 0
  const exponent = Math.floor(Math.log2(Math.abs(x)))
  return (x < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | ((Math.abs(x) / 2 ** exponent - 1) * 1024)
}

test('every kind of input gives the same database', async (t) => {
  const next = random(t)
  const rows = 300
  // Small integers are exact in every type of number.
  const data = Float32Array.from({ length: rows * 4 }, () => Math.floor(next() * 100) + 1)
  const path = place(t)
  const file = (name, bytes) => {
    const at = join(path, '..', name)
    writeFileSync(at, bytes)
    return at
  }
  const list = Array.from({ length: rows }, (_, i) => data.subarray(i * 4, i * 4 + 4))
  async function* slowly() {
    for (let i = 0; i < rows; i += 70) {
      await new Promise(setImmediate)
      yield data.subarray(i * 4, (i + 70) * 4)
    }
  }
  const inputs = {
    Float32Array: data,
    Float64Array: Float64Array.from(data),
    'shared memory': (() => {
      const shared = new Float32Array(new SharedArrayBuffer(data.byteLength))
      shared.set(data)
      return shared
    })(),
    'an array of vectors': list,
    'an array of arrays': list.map((vector) => [...vector]),
    'a tensor': { data, dims: [rows, 4] },
    'an async iterable': slowly(),
    'a sync iterable': new Set([data.subarray(0, 400), data.subarray(400, 400), data.subarray(400)]),
    'an iterable of promises': new Set([
      Promise.resolve(data.subarray(0, 8)),
      Promise.resolve(data.subarray(8)),
    ]),
    'an iterable of lists': new Set([list.slice(0, 100), list.slice(100)]),
    'npy f4': file('f4.npy', npy('<f4', [rows, 4], data)),
    'npy f4, version 2': file('f4v2.npy', npy('<f4', [rows, 4], data, { version: 2 })),
    'npy f8': file('f8.NPY', npy('<f8', [rows, 4], Float64Array.from(data))),
    'npy f2': file('f2.npy', npy('<f2', [rows, 4], Uint16Array.from(data, half))),
    'npy u1': file('u1.npy', npy('|u1', [rows, 4], Uint8Array.from(data))),
    'npy i1': file('i1.npy', npy('|i1', [rows, 4], Int8Array.from(data))),
    fvecs: file('x.fvecs', vecs(data, 4)),
    bvecs: file('x.bvecs', vecs(Uint8Array.from(data), 4)),
    'a file: URL': pathToFileURL(file('url.npy', npy('<f4', [rows, 4], data))),
  }
  let wanted
  for (const [name, input] of Object.entries(inputs)) {
    const db = await database(t)
    const report = await db.bulkBuild(input)
    assert.equal(report.n, rows, name)
    const found = await db.searchMany(data.subarray(0, 80), { k: rows, include: ['vector'] })
    assert.deepEqual([...(await db.get(299)).vector], [...data.subarray(299 * 4)], name)
    wanted ??= found
    assert.deepEqual(found, wanted, name)
    await sound(db, rows)
    await db.close()
  }
})

testOnStores('the report, and progress', async (t, storage) => {
  const next = random(t)
  const db = await database(t, { dim: 16, storage }, place(t))
  const told = []
  const report = await db.bulkBuild(vectors(next, 20_000, 16), {
    threads: 2,
    onProgress: (progress) => told.push(progress),
  })
  assert.deepEqual(Object.keys(report), ['n', 'elapsedMs', 'vectorsPerSec', 'threads', 'phases'])
  assert.deepEqual(Object.keys(report.phases), PHASES)
  assert.equal(report.n, 20_000)
  assert.equal(report.threads, 2)
  const inPhases = Object.values(report.phases).reduce((a, b) => a + b)
  assert.ok(inPhases > 0 && inPhases <= report.elapsedMs, `${inPhases} of ${report.elapsedMs}`)
  assert.ok(Math.abs(report.vectorsPerSec - 20_000 / (report.elapsedMs / 1000)) < 1)
  assert.ok(told.length <= report.elapsedMs / 50 + 12, `${told.length} reports in ${report.elapsedMs} ms`)
  const order = ['read', ...PHASES]
  for (const [i, { phase, fraction, done, total }] of told.entries()) {
    assert.ok(order.includes(phase), phase)
    assert.ok(fraction >= 0 && fraction <= 1 && done <= total, JSON.stringify(told[i]))
    if (i === 0) continue
    assert.ok(fraction >= told[i - 1].fraction, 'the fraction rises')
    assert.ok(order.indexOf(phase) >= order.indexOf(told[i - 1].phase), 'phases come in order')
  }
  for (const phase of PHASES)
    assert.ok(
      told.some((each) => each.phase === phase),
      phase,
    )
  assert.deepEqual(told.at(-1), { phase: 'store', fraction: 1, done: 20_000, total: 20_000 })
  for (const threads of [0, 1, 3, undefined]) {
    const small = await database(t)
    const { threads: used } = await small.bulkBuild(new Float32Array(4).fill(1), { threads })
    assert.equal(used, threads || used)
    assert.ok(used >= 1)
  }
})

test('ids and payloads', async (t) => {
  const next = random(t)
  const rows = 1000
  const data = vectors(next, rows, 4)
  const cases = {
    'numbers, bigints, strings': Array.from(
      { length: rows },
      (_, i) => [i * 3, `r${i}`, 2n ** 60n + BigInt(i)][i % 3],
    ),
    BigUint64Array: BigUint64Array.from({ length: rows }, (_, i) => 2n ** 63n + BigInt(i)),
    Uint32Array: Uint32Array.from({ length: rows }, (_, i) => rows - i),
  }
  for (const [name, ids] of Object.entries(cases)) {
    const db = await database(t)
    const payloads = Array.from(ids, (id, i) => (i % 2 ? { i, id: String(id), text: 'line\nbreak' } : null))
    async function* one() {
      for (const payload of payloads) yield payload
    }
    await db.bulkBuild(data, { ids, payloads: name === 'Uint32Array' ? one() : payloads })
    for (const i of [0, 1, 2, 500, 999]) {
      const row = await db.get(ids[i])
      assert.deepEqual([...row.vector], [...data.subarray(i * 4, i * 4 + 4)], name)
      assert.deepEqual(row.payload, payloads[i], name)
      const [hit] = await db.search(data.subarray(i * 4, i * 4 + 4), { k: 1 })
      assert.equal(hit.distance, 0)
    }
    await sound(db, rows)
  }
  const db = await database(t)
  await db.bulkBuild(data)
  assert.equal((await db.insertMany({ vectors: data.subarray(0, 8) })).firstId, rows)
})

test('wrong input is named, and changes nothing', async (t) => {
  const path = place(t)
  const file = (name, bytes) => {
    const at = join(path, '..', name)
    writeFileSync(at, bytes)
    return at
  }
  const ok = new Float32Array(400).fill(1)
  const bad = ok.slice()
  bad[4 * 57 + 1] = Number.NaN
  const npyOk = npy('<f4', [100, 4], ok)
  const broken = vecs(ok, 4)
  broken.writeInt32LE(5, 20 * 7)
  const db = await database(t, {}, path)
  const cases = [
    ['INVALID_ARGUMENT', [bad], /57/],
    ['INVALID_ARGUMENT', [file('nan.npy', npy('<f4', [100, 4], bad))], /57/],
    [
      'INVALID_ARGUMENT',
      [
        [
          [1, 2, 3, 4],
          [1, 2, Number.NaN, 4],
        ],
      ],
      /vectors\[1\]\[2\]/,
    ],
    ['DIMENSION_MISMATCH', [ok.subarray(1)], /399.*4/],
    ['DIMENSION_MISMATCH', [new Set([ok, ok.subarray(2)])], /chunk 1.*398/],
    ['INVALID_ARGUMENT', [undefined], /vectors must be/],
    ['INVALID_ARGUMENT', [{}], /vectors must be/],
    ['INVALID_ARGUMENT', [7], /vectors must be/],
    ['INVALID_ARGUMENT', ['vectors.txt'], /\.npy, \.fvecs, \.bvecs/],
    ['INVALID_ARGUMENT', [new URL('https://example.org/a.npy')], /file: URL/],
    ['IO', [join(path, 'absent.npy')], /absent\.npy/],
    ['INVALID_ARGUMENT', [file('no.npy', 'not one')], /not a \.npy file/],
    ['INVALID_ARGUMENT', [file('empty.npy', '')], /not a \.npy file/],
    ['INVALID_ARGUMENT', [file('short.npy', npyOk.subarray(0, -1))], /bytes long/],
    ['INVALID_ARGUMENT', [file('head.npy', npyOk.subarray(0, 30))], /header/],
    ['INVALID_ARGUMENT', [file('i8.npy', npy('<i8', [100, 4], new BigInt64Array(400)))], /<i8.*float32/],
    ['INVALID_ARGUMENT', [file('big.npy', npy('>f4', [100, 4], ok))], />f4/],
    ['INVALID_ARGUMENT', [file('1d.npy', npy('<f4', [400], ok))], /two dimensions/],
    ['INVALID_ARGUMENT', [file('f.npy', npy('<f4', [100, 4], ok, { order: 'True' }))], /Fortran/],
    ['DIMENSION_MISMATCH', [file('50.npy', npy('<f4', [50, 8], ok))], /8 numbers.*4/],
    ['DIMENSION_MISMATCH', [file('8.fvecs', vecs(ok, 8))], /8 numbers.*4/],
    ['INVALID_ARGUMENT', [file('cut.fvecs', vecs(ok, 4).subarray(0, -3))], /damaged/],
    ['INVALID_ARGUMENT', [file('mixed.fvecs', broken)], /vector 7.*5 numbers/],
    ['INVALID_ARGUMENT', [ok, { ids: [1, 2] }], /ids has 2 entries for 100/],
    ['INVALID_ARGUMENT', [file('ok.npy', npyOk), { ids: [1, 2] }], /ids has 2 entries for 100/],
    ['INVALID_ARGUMENT', [new Set([ok]), { payloads: [{}] }], /payloads has 1 entries for 100/],
    ['INVALID_ARGUMENT', [ok, { payloads: new Set([{}]) }], /payloads has 1 entries for 100/],
    ['INVALID_ARGUMENT', [ok, { payloads: 'x' }], /payloads must be/],
    ['INVALID_ARGUMENT', [ok, { ids: 'x' }], /ids must be/],
    ['ID_EXISTS', [ok, { ids: new Uint32Array(100) }], /1/],
    ['INVALID_ARGUMENT', [ok, { payloads: new Array(100).fill([]) }], /payloads\[0\]/],
    ['INVALID_ARGUMENT', [ok, { threads: -1 }], /threads/],
    ['INVALID_ARGUMENT', [ok, { threads: 1.5 }], /threads/],
    ['INVALID_ARGUMENT', [ok, { thread: 1 }], /threads/],
    ['INVALID_ARGUMENT', [ok, { maxMemoryBytes: '1 GB' }], /maxMemoryBytes/],
    ['INVALID_ARGUMENT', [ok, { onProgress: 1 }], /onProgress/],
    ['INVALID_ARGUMENT', [ok, { signal: 1 }], /signal/],
  ]
  for (const [code, args, message] of cases) await rejects(code, () => db.bulkBuild(...args), message)
  await sound(db, 0)
  const thrown = new Error('disk gone')
  const error = await rejects(
    'ABORTED',
    () =>
      db.bulkBuild(
        (async function* () {
          yield ok
          throw thrown
        })(),
      ),
    /disk gone/,
  )
  assert.equal(error.cause, thrown)
  assert.equal((await db.bulkBuild(ok)).n, 100)
  await sound(db, 100)
})

testOnStores('a database with rows is left alone', async (t, storage) => {
  const path = place(t)
  const db = await database(t, { storage }, path)
  await db.insert('there', [1, 2, 3, 4], { kept: true })
  const endless = (function* () {
    for (;;) yield new Float32Array(4)
  })()
  for (const input of [new Float32Array(8).fill(1), [[1, 2, 3, 4]], [], endless]) {
    await rejects('NOT_EMPTY', () => db.bulkBuild(input), /insertMany/)
  }
  assert.deepEqual(await db.getPayload('there'), { kept: true })
  await sound(db, 1)
  await db.close()
  const reader = await open(path, { readOnly: true })
  await rejects('READ_ONLY', () => reader.bulkBuild(endless))
  await reader.close()
})

test('it takes its place among the writes', async (t) => {
  const db = await database(t)
  const data = vectors(random(t), 5000, 4)
  const built = db.bulkBuild(data)
  const inserted = db.insert('after', [1, 1, 1, 1])
  assert.equal((await built).n, 5000)
  await inserted
  await sound(db, 5001)
  const other = await database(t)
  const before = other.insert('before', [1, 1, 1, 1])
  await rejects('NOT_EMPTY', () => other.bulkBuild(data))
  await before
  // A generator may use the database it feeds.
  const fed = await database(t)
  await fed.bulkBuild(
    (async function* () {
      assert.equal(await fed.count(), 0)
      await fed.flush()
      yield data
    })(),
  )
  await sound(fed, 5000)
  // A close waits for it.
  const closing = await open(place(t), { dim: 4 })
  const last = closing.bulkBuild(data)
  await closing.close()
  assert.equal((await last).n, 5000)
})

testOnStores('aborted at any moment, the database is empty and usable', async (t, storage) => {
  const next = random(t)
  const path = place(t)
  const rows = 20_000
  const data = vectors(next, rows, 32)
  const reason = new Error('enough')
  const already = await database(t, { dim: 32 })
  const fired = { signal: AbortSignal.abort(reason) }
  assert.equal((await rejects('ABORTED', () => already.bulkBuild(data, fired))).cause, reason)
  for (const phase of ['prepare', 'descend', 'connect', 'upper', 'order']) {
    let db
    let error
    let asked
    const began = performance.now()
    // On a busy machine the build may be over before its report is heard: then it is tried again.
    for (let tries = 0; !error && tries < 10; tries++) {
      await db?.close()
      db = await open(path, { dim: 32, reinit: true, storage })
      const controller = new AbortController()
      asked = undefined
      const onProgress = (progress) => {
        if (progress.phase !== phase || asked) return
        asked = performance.now()
        controller.abort(reason)
      }
      error = await db.bulkBuild(data, { signal: controller.signal, onProgress }).then(
        () => undefined,
        (thrown) => thrown,
      )
    }
    assert.equal(error?.code, 'ABORTED')
    assert.equal(error.cause, reason)
    t.diagnostic(`${phase}: asked after ${asked - began} ms, ended ${performance.now() - asked} ms later`)
    await sound(db, 0)
    assert.deepEqual(await db.search(data.subarray(0, 32)), [])
    await db.close()
    const again = await open(path)
    await sound(again, 0)
    await again.insert('one', data.subarray(0, 32))
    await sound(again, 1)
    await again.close()
    const fresh = await open(path, { dim: 32, reinit: true, storage })
    assert.equal((await fresh.bulkBuild(data.subarray(0, 3200))).n, 100)
    await sound(fresh, 100)
    await fresh.close()
  }
  const db = await database(t, { dim: 32 })
  // Also while the rows are read, and where the next chunk never comes.
  let returned = false
  const stuck = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: async () => (returned = true),
    }),
  }
  // A timer of AbortSignal.timeout would not keep the process alive.
  const late = new AbortController()
  setTimeout(() => late.abort(reason), 20)
  await rejects('ABORTED', () => db.bulkBuild(stuck, { signal: late.signal }))
  assert.ok(returned)
  await rejects('ABORTED', () => db.bulkBuild(data, { signal: AbortSignal.timeout(0) }))
  const cause = new Error('mine')
  const thrown = await rejects('ABORTED', () =>
    db.bulkBuild(data, {
      onProgress: ({ phase }) => {
        if (phase === 'descend') throw cause
      },
    }),
  )
  assert.equal(thrown.cause, cause)
  await sound(db, 0)
})

testOnStores('inserts, updates, deletes and searches go on after it, also reopened', async (t, storage) => {
  const next = random(t)
  const path = place(t)
  const [rows, dim] = [4000, 16]
  const data = vectors(next, rows, dim)
  const row = (i) => data.subarray(i * dim, (i + 1) * dim)
  let db = await open(path, { dim, metric: 'cosine', storage })
  await db.bulkBuild(data, { payloads: Array.from({ length: rows }, (_, i) => ({ i })) })
  const live = new Map(Array.from({ length: rows }, (_, i) => [i, row(i)]))
  const change = async () => {
    for (let i = 0; i < rows / 10; i++) {
      const id = Math.floor(next() * rows)
      assert.equal(await db.delete(id), live.delete(id))
      const vector = vectors(next, 1, dim)
      await db.upsert(`new ${i}`, vector)
      live.set(`new ${i}`, vector)
      const moved = [...live.keys()][Math.floor(next() * live.size)]
      await db.update(moved, vector)
      live.set(moved, vector)
    }
  }
  await change()
  await sound(db, live.size)
  await db.close()
  db = await open(path)
  await sound(db, live.size)
  await change()
  await sound(db, live.size)
  const all = await db.search(row(0), { k: live.size, efSearch: live.size })
  assert.deepEqual(new Set(all.map(({ id }) => id)), new Set(live.keys()))
  for (const id of [...live.keys()].slice(0, 50)) {
    assert.deepEqual([...(await db.get(id)).vector], [...live.get(id)])
  }
  await db.close()
})

test('the same graph for one thread and for two', async (t) => {
  const next = random(t)
  const data = vectors(next, 15_000, 24)
  const queries = vectors(next, 300, 24)
  const results = []
  for (const threads of [1, 2, 4]) {
    const db = await database(t, { dim: 24 })
    const report = await db.bulkBuild(data, { threads })
    assert.equal(report.threads, threads)
    const { links, ok } = await db.check()
    assert.ok(ok)
    // Narrow searches show the graph: what they miss depends on every link.
    const hits = await db.searchMany(queries, { k: 10, efSearch: 10 })
    results.push({ links, hits })
  }
  assert.deepEqual(results[1], results[0])
  assert.deepEqual(results[2], results[0])
})

test('identical vectors, single numbers, few rows', async (t) => {
  const same = await database(t, { dim: 8 })
  const began = performance.now()
  await same.bulkBuild(new Float32Array(100_000 * 8).fill(0.5))
  assert.ok(performance.now() - began < 20_000)
  assert.equal(new Set((await same.search(new Float32Array(8), { k: 1000 })).map(({ id }) => id)).size, 1000)
  await sound(same, 100_000)

  const line = await database(t, { dim: 1 })
  await line.bulkBuild(Float32Array.from({ length: 30_000 }, (_, i) => i))
  for (const x of [0, 777, 29_999]) {
    const [hit] = await line.search([x + 0.25], { k: 1 })
    assert.deepEqual([hit.id, hit.distance], [x, 0.25])
  }
  await sound(line, 30_000)

  for (const rows of [0, 1, 2, 5, 33]) {
    const db = await database(t)
    const report = await db.bulkBuild(Float32Array.from({ length: rows * 4 }, (_, i) => i + 1))
    assert.equal(report.n, rows)
    assert.ok(Number.isFinite(report.vectorsPerSec))
    assert.equal((await db.search([1, 2, 3, 4], { k: 100 })).length, rows)
    await sound(db, rows)
  }
})

test('memory that is not there is refused by its figure, before anything begins', async (t) => {
  const db = await database(t)
  const data = vectors(random(t), 1000, 4)
  const few = { maxMemoryBytes: 1 << 20 }
  let pulled = 0
  const endless = (function* () {
    for (;;) {
      pulled++
      yield data
    }
  })()
  for (const input of [data, endless]) {
    await rejects(
      'INVALID_ARGUMENT',
      () => db.bulkBuild(input, few),
      /takes up to \d+ MB .*allows 2 MB.*insertMany/,
    )
  }
  assert.equal(pulled, 1)
  const path = join(place(t), '../rows.npy')
  writeFileSync(path, npy('<f4', [1000, 4], data))
  await rejects('INVALID_ARGUMENT', () => db.bulkBuild(path, few), /maxMemoryBytes/)
  await sound(db, 0)
  assert.equal((await db.bulkBuild(data, { maxMemoryBytes: 1 << 30 })).n, 1000)
})

test('the event loop and other databases go on meanwhile', async (t) => {
  const next = random(t)
  const other = await database(t, { dim: 16 })
  await other.insertMany({ vectors: vectors(next, 2000, 16) })
  const db = await database(t, { dim: 64 })
  let building = true
  const built = db.bulkBuild(vectors(next, 20_000, 64)).finally(() => {
    building = false
  })
  let searches = 0
  let longest = 0
  while (building) {
    const began = performance.now()
    await other.search(new Float32Array(16).fill(0.1))
    longest = Math.max(longest, performance.now() - began)
    searches++
    await new Promise((done) => setTimeout(done, 1))
  }
  const { elapsedMs } = await built
  t.diagnostic(`${searches} searches beside ${elapsedMs.toFixed(0)} ms, the longest ${longest.toFixed(1)} ms`)
  assert.ok(searches > elapsedMs / 200, `${searches} searches in ${elapsedMs} ms`)
})
