// Searches that are answered on the thread that asks, and what goes on beside them.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises'
import { database, place, random, rejects, runs, vectors } from './lib/helpers.mjs'
import { assertServedBeside, turnsBeside } from './lib/turns.mjs'

const MANY = 5_000

/** Searches of this process that were answered at once. */
let answered = 0
const { Database } = createRequire(import.meta.url)('../js/native.cjs').native()
const { searchNow } = Database.prototype
Database.prototype.searchNow = function (...args) {
  const found = searchNow.apply(this, args)
  if (found !== undefined) answered++
  return found
}

/** Whether the one search that `call` makes is answered at once. */
async function isAtOnce(call) {
  const before = answered
  await call()
  return answered > before
}

/** Searches until one was answered at once. */
async function warm(call) {
  for (let i = 0; i < MANY; i++) if (await isAtOnce(call)) return
  assert.fail(`none of ${MANY} searches was answered at once`)
}

async function small(t, options, path) {
  const next = random(t)
  const db = await database(t, { dim: 8, ...options }, path)
  await db.insertMany({
    vectors: vectors(next, 300, 8),
    payloads: Array.from({ length: 300 }, (_, i) => ({ i })),
  })
  return { db, query: vectors(next, 1, 8) }
}

test('immediates and timers get their turns in a loop of searches', async (t) => {
  const { db, query } = await small(t)
  await warm(() => db.searchKnn(query))
  const seen = await turnsBeside(MANY, () => db.searchKnn(query))
  t.diagnostic(JSON.stringify({ ...seen, answered }))
  // Between two immediates one search is answered by another thread, and one at once before and one after it, at most.
  assert.ok(seen.most <= 3, `${seen.most} searches in one turn`)
  assert.ok(seen.timeout < MANY, 'the timeout did not come before the end')
  assert.ok(seen.intervals >= 2, `${seen.intervals} intervals`)
})

test('files and sockets get their turns in a loop of searches', async (t) => {
  const { db, query } = await small(t)
  await warm(() => db.searchKnn(query))
  const searches = await assertServedBeside(t, 400 * MANY, () => db.searchKnn(query))
  t.diagnostic(`${searches} searches`)
})

test('answered at once or on other threads, answers are the same', async (t) => {
  const { db, query } = await small(t)
  await db.insert('text', query, { kind: 'text' })
  await db.insert(2n ** 60n, query)
  const include = ['payload', 'vector']
  for (const options of [
    {},
    { k: 1 },
    { k: 1, offset: 2 },
    { k: 20, offset: 290 },
    { k: 60, offset: 10 },
    { k: 1001 },
    { k: 5, efSearch: 300 },
    { k: 5, recall: 0.95 },
    { k: 5, deadline: 1000 },
    { k: 5, offset: 2, maxDistance: 0.5 },
    { k: 5, maxDistance: 0 },
    { k: 5, maxDistance: Number.POSITIVE_INFINITY },
    { k: 5, offset: 2, include },
    { k: 5, include: ['vector'] },
    { k: 30, include: ['payload'] },
  ]) {
    const call = () => db.search(query, options)
    if ((options.k ?? 10) <= 1000) await warm(call)
    // The second of one turn is for the other threads.
    const [here, there] = await Promise.all([call(), call()])
    assert.deepEqual(here, there, JSON.stringify(options))
  }
  const [first, second, third] = await db.search(query, { k: 3, include: ['payload'] })
  assert.deepEqual(new Set([first.id, second.id]), new Set(['text', 2n ** 60n]))
  assert.equal(typeof third.id, 'number')
  assert.deepEqual(await db.search(query, { k: 2, filter: { kind: 'text' } }), [{ id: 'text', distance: 0 }])
})

test('how wide to search for a recall is learnt on other threads, also when it is learnt anew', async (t) => {
  const { db, query } = await small(t)
  const grow = async (rows) => db.insertMany({ vectors: vectors(random(t), rows, 8) })
  await grow(2000)
  const plain = () => db.searchKnn(query)
  const asking = () => db.searchKnn(query, { recall: 0.9 })
  await warm(plain)
  assert.equal(await isAtOnce(asking), false)
  await warm(asking)
  await grow(500)
  await warm(plain)
  assert.equal(await isAtOnce(asking), false)
  await warm(asking)
  const [here, there] = await Promise.all([asking(), asking()])
  assert.deepEqual(here, there)
})

test('of a burst one search is answered at once, and all of them', async (t) => {
  const { db, query } = await small(t)
  const want = await db.searchKnn(query)
  await warm(() => db.searchKnn(query))
  const before = answered
  const burst = Array.from({ length: 100 }, () => db.searchKnn(query))
  assert.ok(answered <= before + 1, `${answered - before} were`)
  for (const hits of await Promise.all(burst)) assert.deepEqual(hits, want)
})

test('rows are there, or gone, as soon as the write has resolved', async (t) => {
  const { db, query } = await small(t)
  let atOnce = 0
  for (let round = 0; round < 300; round++) {
    await db.upsert('here', query)
    assert.equal((await db.searchKnn(query, { k: 1 }))[0].id, 'here')
    // Until the writer has tidied up, others answer.
    for (let i = 0; i < 10; i++) {
      const call = async () => assert.equal((await db.searchKnn(query, { k: 1 }))[0].id, 'here')
      if (await isAtOnce(call)) atOnce++
    }
    await db.delete('here')
    assert.notEqual((await db.searchKnn(query, { k: 1 }))[0].id, 'here')
  }
  t.diagnostic(`${atOnce} of 3000 answered at once`)
})

test('a signal, a close, and arguments that are wrong', async (t) => {
  const { db, query } = await small(t)
  await warm(() => db.searchKnn(query))
  const reason = new Error('changed my mind')
  const controller = new AbortController()
  const aborted = rejects('ABORTED', () => db.searchKnn(query, { signal: controller.signal }))
  controller.abort(reason)
  assert.equal((await aborted).cause, reason)
  await warm(() => db.searchKnn(query, { signal: new AbortController().signal }))
  await rejects('ABORTED', () => db.searchKnn(query, { signal: controller.signal }))
  await rejects('DIMENSION_MISMATCH', () => db.searchKnn(query.subarray(1)))
  await rejects('INVALID_ARGUMENT', () => db.searchKnn(new Float32Array(8).fill(Number.NaN)))
  await rejects('INVALID_ARGUMENT', () => db.searchKnn(query, { k: 0 }))
  // The engine refuses a vector without a direction, wherever it is asked.
  const cosine = await database(t, { dim: 4, metric: 'cosine' })
  await cosine.insert(1, [1, 2, 3, 4])
  await warm(() => cosine.searchKnn([1, 1, 1, 1]))
  for (let i = 0; i < 100; i++) await rejects('INVALID_ARGUMENT', () => cosine.searchKnn([0, 0, 0, 0]))
  await warm(() => db.searchKnn(query))
  const last = db.searchKnn(query)
  const closing = db.close()
  await rejects('CLOSED', () => db.searchKnn(query))
  assert.equal((await last).length, 10)
  await closing
})

test('what changes much of the database comes first', async (t) => {
  const next = random(t)
  const db = await database(t, { dim: 32 })
  const query = vectors(next, 1, 32)
  await warm(() => db.searchKnn(query))
  await db.bulkBuild(vectors(next, 3000, 32))
  // The first search after it makes what later ones use, and may take long.
  assert.equal(await isAtOnce(() => db.searchKnn(query)), false)
  assert.equal((await db.searchKnn(query)).length, 10)
})

test('two databases, and a loop beside other calls', async (t) => {
  const one = await small(t)
  const other = await small(t, {}, place(t))
  const want = [await one.db.searchKnn(one.query), await other.db.searchKnn(other.query)]
  await Promise.all(
    [one, other].map(async ({ db, query }, at) => {
      for (let i = 0; i < 2000; i++) {
        assert.deepEqual(await db.searchKnn(query), want[at])
        if (i % 100 === 0) assert.equal(await db.count(), 300)
        if (i % 500 === 0) await later(1)
        if (i % 70 === 0) await immediately()
      }
    }),
  )
})

test('a process that ends in the midst of it ends well', async (t) => {
  const open = `const db = await open(path, { dim: 4 })
    for (let i = 0; i < 100; i++) await db.upsert(i, [i, 1, 2, 3])
    const loop = async (n) => { for (let i = 0; i < n; i++) await db.searchKnn([i, 1, 2, 3]) }
    await loop(1000)`
  // Nothing else keeps it alive until the last answer.
  assert.equal(await runs(place(t), `${open}\nloop(5000).then(() => console.log('all'))`), 'all')
  assert.equal(
    await runs(place(t), `${open}\nloop(1e9)\nsetTimeout(() => { console.log('out'); process.exit() }, 50)`),
    'out',
  )
  const worker = `import { Worker } from 'node:worker_threads'
    const entry = JSON.stringify(import.meta.resolve('asteroid-db'))
    for (let round = 0; round < 5; round++) {
      const text = \`import { open } from \${entry}
        import { parentPort } from 'node:worker_threads'
        const db = await open(':memory:', { dim: 4 })
        for (let i = 0; i < 100; i++) await db.upsert(i, [i, 1, 2, 3])
        for (let i = 0; ; i++) {
          await db.searchKnn([i % 100, 1, 2, 3])
          if (i === 1000) parentPort.postMessage('busy')
        }\`
      const w = new Worker(new URL('data:text/javascript,' + encodeURIComponent(text)))
      await new Promise((resolve, reject) => { w.once('message', resolve); w.once('error', reject) })
      await w.terminate()
    }
    console.log('five')`
  assert.equal(await runs(place(t), worker), 'five')
})
