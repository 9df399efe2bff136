// Opening, closing, opening again.
import { vectors } from './context.mjs'

const good = [1, 2, 3, 4]

export const tests = {
  async 'what it is, and what it holds'(t) {
    const db = await t.open({ metric: 'cosine', m: 8 })
    t.assert.deepEqual([db.dim, db.metric, db.closed], [4, 'cosine', false])
    await db.insert(1, good)
    await db.delete(1)
    await db.insert(2, good)
    await db.flush()
    const stats = await db.stats()
    t.assert.equal(stats.storage, t.storage)
    // The one row died before the next came; its place is free once the store says so.
    t.assert.deepEqual([stats.rows, stats.tombstones, stats.freeSlots], [1, 0, 1])
    t.assert.isAtLeast(stats.cacheBytes, 4 << 20)
    t.assert.deepEqual(await db.check(), { ok: true, rows: 1, links: (await db.check()).links, problems: [] })
  },

  async 'deleted rows leave the graph, and their places go to new ones'(t) {
    const db = await t.open()
    await db.insertMany({ vectors: vectors(t.next, 1000, 4) })
    await db.deleteMany(Array.from({ length: 600 }, (_, id) => id))
    // By itself, while no write waits.
    while ((await db.stats()).tombstones > 0) await new Promise((later) => setTimeout(later, 5))
    t.assert.equal((await db.stats()).freeSlots, 600)
    await db.insertMany({ vectors: vectors(t.next, 500, 4) })
    t.assert.equal((await db.stats()).freeSlots, 100)
    await db.deleteMany([700, 701])
    const told = []
    await db.compact({ onProgress: ({ done, total }) => told.push(done / total) })
    t.assert.equal(told.at(-1), 1)
    const { rows, tombstones, freeSlots } = await db.stats()
    t.assert.deepEqual([rows, tombstones, freeSlots], [898, 0, 102])
    t.assert.equal((await db.search(good, { k: 1000 })).length, 898)
    t.assert.deepEqual((await db.check()).problems, [])
    await t.rejects('ABORTED', () => db.compact({ signal: AbortSignal.abort() }))
  },

  async 'everything is there after reopening'(t) {
    if (!t.persistent) return
    const db = await t.open({ metric: 'cosine' })
    const all = vectors(t.next, 500, 4)
    await db.insertMany({ vectors: all, payloads: Array.from({ length: 500 }, (_, i) => ({ i })) })
    await db.insert('name', good, { deep: { a: 1 } })
    await db.delete(3)
    const before = await db.search(good, { k: 20 })
    await db.close()
    for (const round of [1, 2]) {
      const again = await t.reopen(db)
      t.assert.deepEqual([again.dim, again.metric], [4, 'cosine'])
      t.assert.equal(await again.count(), 500, `round ${round}`)
      t.assert.deepEqual(await again.search(good, { k: 20 }), before)
      t.assert.deepEqual((await again.get('name')).payload, { deep: { a: 1 } })
      t.assert.equal(await again.has(3), false)
      t.assert.deepEqual([...(await again.get(77)).vector], [...all.subarray(77 * 4, 78 * 4)])
      t.assert.equal(await again.count({ i: { $lt: 10 } }), 9)
      t.assert.deepEqual((await again.check()).problems, [])
      await again.close()
    }
  },

  async 'a bulk built database is there after reopening'(t) {
    if (!t.persistent) return
    const db = await t.open()
    const all = vectors(t.next, 2000, 4)
    await db.bulkBuild(all)
    const before = await db.search(good, { k: 20 })
    await db.close()
    const again = await t.reopen(db)
    t.assert.deepEqual(await again.search(good, { k: 20 }), before)
  },

  async 'options that contradict what is stored are refused'(t) {
    if (!t.persistent) return
    const db = await t.open({ metric: 'dot' })
    await db.close()
    await t.rejects('CONFIG_MISMATCH', () => t.reopen(db, { dim: 5 }), /4.*5/)
    await t.rejects('CONFIG_MISMATCH', () => t.reopen(db, { metric: 'l2' }), /'dot'.*'l2'/)
    await t.reopen(db)
  },

  async 'a database cannot be made without dim, or with impossible options'(t) {
    const place = t.place()
    await t.rejects('INVALID_ARGUMENT', () => t.open({ dim: undefined }, place), /dim/)
    await t.rejects('INVALID_ARGUMENT', () => t.open({ m: 1 }, place), /m /)
    await t.rejects('INVALID_ARGUMENT', () => t.open({ cacheBytes: 5 }, place), /cacheBytes/)
    await t.rejects('INVALID_ARGUMENT', () => t.open({ colour: 'red' }, place), /colour/)
    await t.rejects('INVALID_ARGUMENT', () => t.open({}, 7))
    const db = await t.open({}, place)
    t.assert.equal(await db.count(), 0)
  },

  async 'one handle holds a database, or all that open it share it'(t) {
    if (!t.persistent) return
    const db = await t.open()
    await db.insert(1, good)
    await t.rejects('LOCKED', () => t.reopen(db, { readOnly: true }), /in use/)
    await t.rejects('LOCKED', () => t.open({ reinit: true }, db.path), /in use/)
    if (t.shares) {
      await t.rejects('CONFIG_MISMATCH', () => t.reopen(db, { dim: 9 }))
      const second = await t.reopen(db)
      t.assert.deepEqual([second.dim, (await second.get(1)).vector], [4, Float32Array.from(good)])
      await second.insertMany({ vectors: vectors(t.next, 300, 4) })
      t.assert.equal(await db.count(), 301)
      await second.close()
      await t.rejects('CLOSED', () => second.count())
    } else {
      await t.rejects('LOCKED', () => t.reopen(db), /in use/)
    }
    const count = await db.count()
    await db.close()
    const again = await t.reopen(db)
    t.assert.equal(await again.count(), count)
  },

  async 'readOnly reads and refuses writes, reinit begins anew'(t) {
    if (!t.persistent) return
    await t.rejects('NOT_FOUND', () => t.open({ readOnly: true }))
    const db = await t.open()
    await db.insert(1, good, { a: 1 })
    await db.close()
    const reader = await t.reopen(db, { readOnly: true })
    t.assert.deepEqual((await reader.get(1)).payload, { a: 1 })
    for (const call of [
      () => reader.insert(2, good),
      () => reader.delete(1),
      () => reader.insertMany({ vectors: Float32Array.from(good) }),
    ]) {
      await t.rejects('READ_ONLY', call)
    }
    await reader.close()
    const fresh = await t.open({ dim: 6, reinit: true }, db.path)
    t.assert.deepEqual([fresh.dim, await fresh.count()], [6, 0])
    await fresh.insert(1, [...good, 5, 6])
    await fresh.close()
    t.assert.equal(await (await t.reopen(db)).count(), 1)
  },

  async 'after close every call rejects, and closing again is fine'(t) {
    const db = await t.open()
    await db.insert(1, good)
    const late = db.insertMany({ vectors: vectors(t.next, 300, 4) })
    const closing = db.close()
    t.assert.equal(db.closed, true)
    t.assert.equal(db.close(), closing)
    const calls = [
      () => db.insert(2, good),
      () => db.insertMany({ vectors: Float32Array.from(good) }),
      () => db.delete(1),
      () => db.get(1),
      () => db.search(good),
      () => db.count(),
      () => db.scan().next(),
      () => db.stats(),
      () => db.flush(),
      () => db.check(),
    ]
    for (const call of calls) await t.rejects('CLOSED', call)
    t.assert.equal((await late).count, 300)
    await closing
    for (const call of calls) await t.rejects('CLOSED', call)
    if (!t.persistent) return
    t.assert.equal(await (await t.reopen(db)).count(), 301)
  },

  async 'durable writes are acknowledged and there'(t) {
    const db = await t.open({ durability: 'sync' })
    await Promise.all(Array.from({ length: 30 }, (_, i) => db.insert(i, [i, 1, 1, 1])))
    t.assert.equal(await db.count(), 30)
    await t.rejects('ID_EXISTS', () => db.insert(3, good))
    await db.flush()
    await db.close()
    if (t.persistent) t.assert.equal(await (await t.reopen(db)).count(), 30)
  },

  async 'small caches hold larger databases'(t) {
    const db = await t.open({ dim: 64, cacheBytes: 4 << 20 })
    const all = vectors(t.next, 3000, 64)
    await db.insertMany({ vectors: all })
    await db.deleteMany(Array.from({ length: 500 }, (_, i) => i))
    for (const at of [600, 1700, 2999]) {
      const [hit] = await db.search(all.subarray(at * 64, (at + 1) * 64), { k: 1 })
      t.assert.deepEqual(hit, { id: at, distance: 0 })
    }
  },
}
