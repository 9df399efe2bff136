// Aborting, progress, the event loop, worker threads.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { open } from 'asteroid-db'
import { database, place, random, rejects, testOnStores, vectors } from './lib/helpers.mjs'

const good = [1, 2, 3, 4]

test('a signal that has already fired', async (t) => {
  const db = await database(t)
  const reason = new Error('changed my mind')
  const signal = AbortSignal.abort(reason)
  const calls = [
    () => db.insertMany({ vectors: [good] }, { signal }),
    () => db.upsertMany({ vectors: [good] }, { signal }),
    () => db.search(good, { signal }),
    () => db.searchKnn(good, { signal }),
    () => db.searchMany([good], { signal }),
    () => db.check({ signal }),
    () => db.scan({ signal }).next(),
  ]
  for (const call of calls) assert.equal((await rejects('ABORTED', call)).cause, reason)
  assert.equal(await db.count(), 0)
})

testOnStores('aborting an insertMany: at once, nothing kept, the database goes on', async (t, storage) => {
  const db = await database(t, { dim: 128, storage }, place(t))
  const data = vectors(random(t), 20_000, 128)
  await db.insert('before', data.subarray(0, 128))
  for (const delay of [0, 5, 150]) {
    const controller = new AbortController()
    const reason = { delay }
    setTimeout(() => controller.abort(reason), delay)
    const began = performance.now()
    const error = await rejects('ABORTED', () =>
      db.insertMany({ vectors: data }, { signal: controller.signal }),
    )
    assert.equal(error.cause, reason)
    assert.ok(performance.now() - began < delay + 2000, `took ${performance.now() - began} ms`)
    assert.equal(await db.count(), 1)
  }
  assert.equal((await db.insertMany({ vectors: data.subarray(0, 1280) })).count, 10)
  assert.equal(await db.count(), 11)
})

test('aborting a searchMany', async (t) => {
  const db = await database(t, { dim: 32 })
  const next = random(t)
  await db.insertMany({ vectors: vectors(next, 2000, 32) })
  const queries = vectors(next, 50_000, 32)
  const signal = AbortSignal.timeout(50)
  const error = await rejects('ABORTED', () => db.searchMany(queries, { k: 100, efSearch: 500, signal }))
  assert.equal(error.cause.name, 'TimeoutError')
})

test('progress rises, is throttled, and ends before the promise resolves', async (t) => {
  const db = await database(t, { dim: 64 })
  const rows = 4000
  const reports = []
  const began = performance.now()
  await db.insertMany(
    { vectors: vectors(random(t), rows, 64) },
    { onProgress: ({ done, total }) => reports.push({ done, total }) },
  )
  const seconds = (performance.now() - began) / 1000
  const seen = reports.length
  assert.deepEqual(reports.at(-1), { done: rows, total: rows })
  for (const [i, { done, total }] of reports.entries()) {
    assert.equal(total, rows)
    assert.ok(done <= rows && (i === 0 || done > reports[i - 1].done))
  }
  assert.ok(seen <= 20 * seconds + 2, `${seen} reports in ${seconds} s`)
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(reports.length, seen, 'a report came after the promise')
  const none = []
  await db.insertMany({ vectors: [] }, { onProgress: (progress) => none.push(progress) })
  assert.deepEqual(none, [{ done: 0, total: 0 }])
})

test('an onProgress that throws aborts the call', async (t) => {
  const db = await database(t, { dim: 128 })
  const cause = new Error('from onProgress')
  const data = vectors(random(t), 20_000, 128)
  const error = await rejects('ABORTED', () =>
    db.insertMany(
      { vectors: data },
      {
        onProgress: () => {
          throw cause
        },
      },
    ),
  )
  assert.equal(error.cause, cause)
  assert.equal(await db.count(), 0)
})

test('the event loop keeps turning while 20,000 rows go in', async (t) => {
  const db = await database(t, { dim: 128 }, place(t))
  const data = vectors(random(t), 20_000, 128)
  const payloads = Array.from({ length: 20_000 }, (_, i) => ({ title: `row ${i}`, tags: ['a', 'b'], n: i }))
  let pending = true
  let timers = 0
  let reads = 0
  let searches = 0
  const timer = setInterval(() => timers++, 5)
  const self = fileURLToPath(import.meta.url)
  const reading = (async () => {
    while (pending) {
      assert.ok((await readFile(self)).length > 0)
      reads++
    }
  })()
  const searching = (async () => {
    while (pending) {
      await db.search(data.subarray(0, 128), { k: 5 })
      searches++
    }
  })()
  const { count } = await db.insertMany({ vectors: data, payloads })
  pending = false
  clearInterval(timer)
  await Promise.all([reading, searching])
  assert.equal(count, 20_000)
  t.diagnostic(`${timers} timers, ${reads} file reads, ${searches} searches`)
  assert.ok(timers >= 20, `${timers} timers`)
  assert.ok(reads >= 20, `${reads} file reads`)
  assert.ok(searches >= 20, `${searches} searches`)
})

test('single searches get their turn beside a large searchMany', async (t) => {
  const db = await database(t, { dim: 32 })
  const next = random(t)
  const data = vectors(next, 3000, 32)
  await db.insertMany({ vectors: data })
  let pending = true
  const many = db.searchMany(vectors(next, 20_000, 32), { k: 50, efSearch: 200 }).finally(() => {
    pending = false
  })
  let beside = 0
  while (pending) {
    await db.search(data.subarray(0, 32))
    if (pending) beside++
  }
  assert.equal((await many).length, 20_000)
  assert.ok(beside >= 20, `${beside} searches`)
})

test('thousands of calls at once', async (t) => {
  const db = await database(t)
  const next = random(t)
  const ids = Array.from({ length: 3000 }, (_, i) => i)
  await Promise.all(ids.map((i) => db.insert(i, [next(), next(), next(), next()])))
  assert.equal(await db.count(), 3000)
  const rows = await Promise.all(ids.map((i) => db.get(i)))
  const found = await Promise.all(rows.map(({ vector }) => db.search(vector, { k: 1 })))
  assert.equal(found.filter(([hit]) => hit.distance === 0).length, 3000)
})

function worker(path, code) {
  const source = `import { open } from 'asteroid-db'
    import { parentPort } from 'node:worker_threads'
    const path = ${JSON.stringify(path)}
    const noop = () => {}
    ${code}`
  // A worker made of text resolves bare names from the working directory, so it is told where the package is.
  const entry = import.meta.resolve('asteroid-db')
  const text = source.replace("'asteroid-db'", JSON.stringify(entry))
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`))
}

const message = (w) =>
  new Promise((resolve, reject) => {
    w.once('message', resolve)
    w.once('error', reject)
    w.once('exit', (code) => reject(new Error(`the worker ended with ${code}`)))
  })

test('worker threads have databases of their own', async (t) => {
  const paths = [place(t), place(t), place(t)]
  const counts = paths.map(async (path) => {
    const w = worker(
      path,
      `const db = await open(path, { dim: 16 })
       await db.insertMany({ vectors: Float32Array.from({ length: 16 * 1000 }, Math.random) })
       const hits = await db.searchMany(Float32Array.from({ length: 16 * 100 }, Math.random))
       const count = await db.count()
       await db.close()
       parentPort.postMessage(count + hits.length)`,
    )
    const answer = await message(w)
    await w.terminate()
    return answer
  })
  assert.deepEqual(await Promise.all(counts), [1100, 1100, 1100])
})

testOnStores('a worker terminated in the middle of its work lets go of the database', async (t, storage) => {
  for (let round = 0; round < 5; round++) {
    const path = place(t)
    const w = worker(
      path,
      `const db = await open(path, { dim: 64, storage: '${storage}' })
       await db.insertMany({ vectors: Float32Array.from({ length: 64 * 300 }, Math.random) })
       db.insertMany({ vectors: Float32Array.from({ length: 64 * 20000 }, Math.random) }, { onProgress: noop }).catch(noop)
       for (let i = 0; i < 100; i++) db.insert('s' + i, new Float32Array(64).fill(i + 1)).catch(noop)
       db.searchMany(Float32Array.from({ length: 64 * 5000 }, Math.random), { k: 50 }).catch(noop)
       for (let i = 0; i < 100; i++) db.search(new Float32Array(64).fill(1)).catch(noop)
       db.check().catch(noop)
       parentPort.postMessage('busy')`,
    )
    assert.equal(await message(w), 'busy')
    await new Promise((resolve) => setTimeout(resolve, round * 30))
    await w.terminate()
    const db = await open(path)
    assert.ok((await db.count()) >= 300)
    assert.deepEqual((await db.check()).problems, [])
    await db.close()
  }
})
