// Writes of one row: how their outcomes come back, and what goes on beside them.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises'
import { database, place, program, random, rejects, runs, testOnStores, vectors } from './lib/helpers.mjs'
import { assertServedBeside, turnsBeside } from './lib/turns.mjs'

const MANY = 5_000

/** How often this process looked for outcomes, and how often it had itself woken. */
let looks = 0
let wakes = 0
const { Database } = createRequire(import.meta.url)('../js/native.cjs').native()
const { settled, wake } = Database.prototype
Database.prototype.settled = function (...args) {
  looks++
  return settled.apply(this, args)
}
Database.prototype.wake = function (...args) {
  wakes++
  return wake.apply(this, args)
}

/** A vector of its own for every `i`. */
const row = (i) => [i + 1, 2, 3, 4]

test('immediates and timers get their turns in a loop of inserts', async (t) => {
  const db = await database(t)
  const seen = await turnsBeside(MANY, (i) => db.insert(i, row(i)))
  t.diagnostic(JSON.stringify({ ...seen, looks, wakes }))
  // Between two immediates one outcome is looked for, and before that one may have been woken for.
  assert.ok(seen.most <= 3, `${seen.most} inserts in one turn`)
  assert.ok(seen.timeout < MANY, 'the timeout did not come before the end')
  assert.ok(seen.intervals >= 2, `${seen.intervals} intervals`)
})

test('files and sockets get their turns in a loop of inserts', async (t) => {
  const db = await database(t)
  const inserts = await assertServedBeside(t, 40 * MANY, (i) => db.upsert(i % 1000, row(i % 1000)))
  t.diagnostic(`${inserts} inserts`)
})

test('nothing looks for outcomes once all are there', async (t) => {
  const db = await database(t)
  for (let i = 0; i < 100; i++) await db.insert(i, row(i))
  await Promise.all(Array.from({ length: 100 }, (_, i) => db.update(i, row(i))))
  const before = [looks, wakes]
  for (let turn = 0; turn < 50; turn++) await immediately()
  await later(5)
  assert.deepEqual([looks, wakes], before)
})

testOnStores('what resolved is there, and outcomes are those of their own calls', async (t, storage) => {
  const db = await database(t, { storage }, place(t))
  for (let i = 0; i < 300; i++) {
    assert.equal(await db.insert(i, row(i), { i }), undefined)
    assert.deepEqual(await db.getPayload(i), { i })
    assert.equal(await db.setPayload(i, { i, set: true }), undefined)
    assert.equal(await db.mergePayload(i, { i: null }), undefined)
    assert.deepEqual(await db.getPayload(i), { set: true })
    assert.equal(await db.upsert(i, row(i + 1)), undefined)
    assert.equal(await db.update(i, row(i + 2)), undefined)
    assert.deepEqual((await db.get(i)).vector, Float32Array.from(row(i + 2)))
    if (i % 2) assert.equal(await db.delete(i), true)
    assert.equal(await db.delete(i), i % 2 === 0)
    assert.equal(await db.has(i), false)
    await rejects('NOT_FOUND', () => db.update(i, row(i)))
  }
})

testOnStores('of a burst each call has its own outcome, in the order of the calls', async (t, storage) => {
  const next = random(t)
  const path = place(t)
  const db = await database(t, { storage }, path)
  const rows = new Map()
  const calls = []
  const settledIn = []
  const order = (call) => {
    const at = calls.length
    calls.push(call.finally(() => settledIn.push(at)))
  }
  const wanted = []
  for (let i = 0; i < 2000; i++) {
    const id = Math.floor(next() * 400)
    const kind = next()
    const vector = row(Math.floor(next() * 1000))
    const was = rows.get(id)
    if (kind < 0.6) {
      order(db.insert(id, vector, { i }))
      wanted.push(was ? 'ID_EXISTS' : undefined)
      if (!was) rows.set(id, { vector, payload: { i } })
    } else if (kind < 0.8) {
      order(db.upsert(id, vector))
      wanted.push(undefined)
      rows.set(id, { vector, payload: was?.payload ?? null })
    } else if (kind < 0.9) {
      order(db.delete(id))
      wanted.push(was !== undefined)
      rows.delete(id)
    } else {
      order(db.setPayload(id, { set: i }))
      wanted.push(was ? undefined : 'NOT_FOUND')
      if (was) rows.set(id, { vector: was.vector, payload: { set: i } })
    }
  }
  const outcomes = await Promise.allSettled(calls)
  assert.deepEqual(
    outcomes.map(({ value, reason }) => reason?.code ?? value),
    wanted,
  )
  assert.deepEqual(
    settledIn,
    Array.from({ length: 2000 }, (_, i) => i),
  )
  assert.equal(await db.count(), rows.size)
  for (const [id, { vector, payload }] of rows)
    assert.deepEqual(await db.get(id), { id, vector: Float32Array.from(vector), payload })
})

test('rows that the engine refuses leave the others of a burst alone', async (t) => {
  const db = await database(t, { metric: 'cosine' })
  const calls = Array.from({ length: 200 }, (_, i) => db.insert(i, i % 50 === 7 ? [0, 0, 0, 0] : row(i)))
  const outcomes = await Promise.allSettled(calls)
  for (const [i, { reason }] of outcomes.entries()) {
    assert.equal(reason?.code, i % 50 === 7 ? 'INVALID_ARGUMENT' : undefined)
    assert.doesNotMatch(reason?.message ?? '', /\brow \d/)
  }
  assert.equal(await db.count(), 196)
})

test('inserts that arrive together share records of the journal', async (t) => {
  const next = random(t)
  const rows = Array.from({ length: 1000 }, () => vectors(next, 1, 8))
  const bytes = async (insert) => {
    const db = await database(t, { dim: 8 }, place(t))
    await insert(db)
    assert.equal(await db.count(), rows.length)
    return (await db.stats()).journalBytes
  }
  const loop = await bytes(async (db) => {
    for (const [i, vector] of rows.entries()) await db.insert(i, vector)
  })
  const burst = await bytes((db) => Promise.all(rows.map((vector, i) => db.insert(i, vector))))
  t.diagnostic(`${loop} bytes one by one, ${burst} together`)
  // A record of its own takes some 100 bytes more than a row does.
  assert.ok(burst < loop - 50 * rows.length, `${burst} of ${loop} bytes`)
})

test('loops beside each other, on two databases, with other calls between', async (t) => {
  const dbs = [await database(t), await database(t, { durability: 'sync' }, place(t))]
  await Promise.all(
    dbs.flatMap((db, at) =>
      Array.from({ length: 3 }, async (_, loop) => {
        for (let i = loop; i < (at ? 150 : 1500); i += 3) {
          await db.insert(i, row(i))
          if (i % 50 === loop) assert.ok(await db.has(i))
          if (i % 70 === loop) await immediately()
          if (i % 200 === loop) await later(1)
          if (i % 300 === loop) await db.insertMany({ ids: [`${i}`], vectors: [row(i)] })
        }
      }),
    ),
  )
  assert.ok((await dbs[0].count()) >= 1500)
  assert.ok((await dbs[1].count()) >= 150)
})

test('writes made before close have their outcomes, those after it are refused', async (t) => {
  for (const length of [1, 2, 500]) {
    const db = await database(t)
    for (let i = 0; i < 20; i++) await db.upsert(0, row(i))
    const writes = Array.from({ length }, (_, i) => db.insert(i + 1, row(i)))
    const refused = rejects('ID_EXISTS', () => db.insert(0, row(1)))
    const closing = db.close()
    await rejects('CLOSED', () => db.insert(9999, row(1)))
    await closing
    await Promise.all([...writes, refused])
  }
})

test('a process that ends in the midst of it ends well', async (t) => {
  const opened = `const db = await open(path, { dim: 4 })
    const loop = async (n) => { for (let i = 0; i < n; i++) await db.insert(i, [i, 1, 2, 3]) }`
  // Nothing else keeps it alive until the last outcome.
  assert.equal(await runs(place(t), `${opened}\nloop(3000).then(() => console.log('all'))`), 'all')
  assert.equal(
    await runs(
      place(t),
      `${opened}\nloop(1e9)\nsetTimeout(() => { console.log('out'); process.exit() }, 50)`,
    ),
    'out',
  )
  const worker = `import { Worker } from 'node:worker_threads'
    const entry = JSON.stringify(import.meta.resolve('asteroid-db'))
    for (let round = 0; round < 5; round++) {
      const text = \`import { open } from \${entry}
        import { parentPort } from 'node:worker_threads'
        const db = await open(':memory:', { dim: 4 })
        for (let i = 0; ; i++) {
          await db.insert(i, [i, 1, 2, 3])
          if (i === 500) parentPort.postMessage('busy')
        }\`
      const w = new Worker(new URL('data:text/javascript,' + encodeURIComponent(text)))
      await new Promise((resolve, reject) => { w.once('message', resolve); w.once('error', reject) })
      await w.terminate()
    }
    console.log('five')`
  assert.equal(await runs(place(t), worker), 'five')
})

testOnStores('what was resolved is there after the process was killed', async (t, storage) => {
  const path = place(t)
  const code = `const db = await open(path, { dim: 4, storage })
    for (let i = 0; ; i++) {
      await db.insert(i, [i, 1, 2, 3])
      if (i === 1500) { console.log(i); process.kill(process.pid, 'SIGKILL') }
    }`
  const { out, signal } = await program(path, code, { storage })
  assert.equal(signal, 'SIGKILL')
  const db = await database(t, { dim: undefined }, path)
  const count = await db.count()
  assert.ok(count > Number(out.trim()), `${count} rows of ${out}`)
})
