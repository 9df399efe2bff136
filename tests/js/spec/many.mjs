// Calls with many rows: all or none, progress, aborts, and others meanwhile.
import { vectors } from './context.mjs'

export const tests = {
  async 'insertMany writes all rows and gives ids'(t) {
    const db = await t.open()
    t.assert.deepEqual(await db.insertMany({ vectors: vectors(t.next, 3, 4) }), { count: 3, firstId: 0 })
    t.assert.deepEqual(await db.insertMany({ ids: [10, 'x'], vectors: vectors(t.next, 2, 4) }), { count: 2 })
    t.assert.deepEqual(await db.insertMany({ vectors: vectors(t.next, 1, 4), payloads: [{ a: 1 }] }), {
      count: 1,
      firstId: 11,
    })
    t.assert.deepEqual(await db.getPayload(11), { a: 1 })
    t.assert.equal((await db.insertMany({ vectors: new Float32Array(0) })).count, 0)
    const more = { ids: BigUint64Array.of(2n ** 60n, 5n), vectors: vectors(t.next, 2, 4) }
    t.assert.deepEqual(await db.insertMany(more), { count: 2 })
    t.assert.equal(await db.has(2n ** 60n), true)
    t.assert.deepEqual(await db.upsertMany({ ids: Uint32Array.of(5, 6), vectors: vectors(t.next, 2, 4) }), {
      count: 2,
    })
    t.assert.equal(await db.count(), 9)
  },

  async 'all rows or none'(t) {
    const db = await t.open()
    await db.insert(7, [1, 1, 1, 1])
    await t.rejects(
      'ID_EXISTS',
      () => db.insertMany({ ids: [1, 7], vectors: vectors(t.next, 2, 4) }),
      /row 1/,
    )
    await t.rejects(
      'ID_EXISTS',
      () => db.insertMany({ ids: [1, 1], vectors: vectors(t.next, 2, 4) }),
      /row 1/,
    )
    const bad = vectors(t.next, 200, 4)
    bad[4 * 150] = Number.POSITIVE_INFINITY
    await t.rejects('INVALID_ARGUMENT', () => db.insertMany({ vectors: bad }))
    await t.rejects(
      'INVALID_ARGUMENT',
      () => db.insertMany({ vectors: bad.subarray(0, 8), payloads: [{}] }),
      /1 entries for 2/,
    )
    t.assert.equal(await db.count(), 1)
  },

  async 'progress rises to the end'(t) {
    const db = await t.open()
    const told = []
    await db.insertMany(
      { vectors: vectors(t.next, 2000, 4) },
      { onProgress: (progress) => told.push(progress) },
    )
    t.assert.deepEqual(told.at(-1), { done: 2000, total: 2000 })
    for (let i = 1; i < told.length; i++) t.assert.isAbove(told[i].done, told[i - 1].done)
    const error = await t.rejects('ABORTED', () =>
      db.insertMany(
        { vectors: vectors(t.next, 20_000, 4) },
        {
          onProgress: () => {
            throw new Error('enough')
          },
        },
      ),
    )
    t.assert.equal(error.cause.message, 'enough')
    t.assert.equal(await db.count(), 2000)
  },

  async 'an aborted insertMany leaves nothing, and the next one works'(t) {
    const db = await t.open()
    await db.insert('kept', [1, 2, 3, 4])
    const before = AbortSignal.abort(new Error('early'))
    t.assert.equal(
      (
        await t.rejects('ABORTED', () =>
          db.insertMany({ vectors: vectors(t.next, 5, 4) }, { signal: before }),
        )
      ).cause.message,
      'early',
    )
    const control = new AbortController()
    const large = vectors(t.next, 20_000, 4)
    const onProgress = ({ done }) => done > 0 && control.abort(new Error('midway'))
    const error = await t.rejects('ABORTED', () =>
      db.insertMany({ vectors: large }, { signal: control.signal, onProgress }),
    )
    t.assert.equal(error.cause.message, 'midway')
    t.assert.equal(await db.count(), 1)
    await db.insertMany({ vectors: large.subarray(0, 400) })
    t.assert.equal(await db.count(), 101)
    t.assert.equal((await db.search(large.subarray(0, 4), { k: 1 }))[0].distance, 0)
  },

  async 'reads are answered while many rows are written, and see none of them'(t) {
    const db = await t.open({ dim: 32 })
    await db.insertMany({ vectors: vectors(t.next, 50, 32) })
    let written = false
    let reads = 0
    const writing = db.insertMany({ vectors: vectors(t.next, 4000, 32) }).then(() => {
      written = true
    })
    while (!written) {
      const count = await db.count()
      const hits = await db.search(vectors(t.next, 1, 32), { k: 100 })
      // Once all are visible, the promise may take a little longer.
      if (count !== 50 || hits.length !== 50) {
        t.assert.equal(await db.count(), 4050)
        break
      }
      reads++
    }
    await writing
    t.assert.isAbove(reads, 1)
    t.assert.equal(await db.count(), 4050)
  },

  async 'writes take effect in the order of their calls'(t) {
    const db = await t.open()
    const vector = [1, 2, 3, 4]
    const calls = [
      db.insertMany({ ids: [1, 2, 3], vectors: vectors(t.next, 3, 4) }),
      db.delete(2),
      db.upsert(2, vector, { second: true }),
      db.setPayload(1, { set: true }),
      db.deleteMany([3]),
      db.insert(3, vector),
    ]
    await Promise.all(calls)
    t.assert.equal(await calls[1], true)
    t.assert.deepEqual((await db.get(2)).payload, { second: true })
    t.assert.deepEqual(await db.getPayload(1), { set: true })
    t.assert.equal(await db.count(), 3)
  },

  async 'a bulk build makes what inserts make'(t) {
    const dim = 8
    const all = vectors(t.next, 1500, dim)
    const db = await t.open({ dim })
    const phases = []
    const ids = Array.from({ length: 1500 }, (_, i) => `id ${i}`)
    const payloads = ids.map((_, i) => (i % 2 ? { i } : null))
    const onProgress = ({ phase }) => phases.at(-1) !== phase && phases.push(phase)
    const report = await db.bulkBuild(all, { ids, payloads, onProgress })
    t.assert.equal(report.n, 1500)
    t.assert.isAbove(report.threads, 0)
    t.assert.include(phases, 'store')
    t.assert.equal(await db.count(), 1500)
    t.assert.equal(await db.count({ i: { $lt: 10 } }), 5)
    const [hit] = await db.search(all.subarray(dim * 77, dim * 78), { k: 1, include: ['payload'] })
    t.assert.deepEqual(hit, { id: 'id 77', distance: 0, payload: { i: 77 } })
    await t.rejects('NOT_EMPTY', () => db.bulkBuild(all))
    await db.insert('more', all.subarray(0, dim))
    t.assert.equal(await db.count(), 1501)
  },

  async 'a bulk build takes chunks, and an aborted one leaves an empty database'(t) {
    const db = await t.open({ dim: 16 })
    const control = new AbortController()
    const onProgress = ({ phase }) => phase === 'descend' && control.abort()
    const all = vectors(t.next, 6000, 16)
    await t.rejects('ABORTED', () => db.bulkBuild(all, { signal: control.signal, onProgress }))
    t.assert.equal(await db.count(), 0)
    async function* chunks() {
      for (let at = 0; at < 600; at += 200) yield all.subarray(at * 16, (at + 200) * 16)
    }
    t.assert.equal((await db.bulkBuild(chunks())).n, 600)
    t.assert.equal(await db.count(), 600)
  },
}
