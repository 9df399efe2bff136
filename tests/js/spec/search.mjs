// Searches, filters, counts and scans, against measuring everything.
import { nearest, vectors } from './context.mjs'

const COLOURS = ['red', 'green', 'blue']

async function filled(t, n, dim, options) {
  const db = await t.open({ dim, ...options })
  const all = vectors(t.next, n, dim)
  const payloads = Array.from({ length: n }, (_, i) => ({
    i,
    colour: COLOURS[i % 3],
    tags: [`t${i % 7}`, 'all'],
  }))
  await db.insertMany({ vectors: all, payloads })
  return { db, all, payloads }
}

export const tests = {
  async 'searches find what measuring everything finds, whatever they go by'(t) {
    const dim = 16
    for (const quantization of [undefined, 'sq8', 'rabitq', 'none']) {
      const { db, all } = await filled(t, 1200, dim, { quantization })
      let found = 0
      for (let round = 0; round < 20; round++) {
        const query = vectors(t.next, 1, dim)
        const wanted = nearest(all, dim, query, 10)
        const hits = await db.search(query, { k: 10, efSearch: 200 })
        t.assert.equal(hits.length, 10)
        const ids = new Set(hits.map(({ id }) => id))
        found += wanted.filter(([, id]) => ids.has(id)).length
        t.assert.closeTo(hits[0].distance, wanted[0][0], 1e-4)
        for (let i = 1; i < 10; i++) t.assert.isAtLeast(hits[i].distance, hits[i - 1].distance)
      }
      t.assert.isAtLeast(found / 200, 0.98, quantization)
      const { codeBytes } = await db.stats()
      t.assert.equal(codeBytes > 0, quantization !== 'none', quantization)
    }
  },

  async 'every metric measures as documented'(t) {
    const [a, b] = [
      [1, 2, 3, 4],
      [4, 3, 2, -1],
    ]
    const dot = a.reduce((sum, x, i) => sum + x * b[i], 0)
    const norm = (v) => Math.hypot(...v)
    const expected = {
      l2: Math.hypot(...a.map((x, i) => x - b[i])),
      cosine: 1 - dot / norm(a) / norm(b),
      dot: -dot,
    }
    for (const [metric, distance] of Object.entries(expected)) {
      const db = await t.open({ metric })
      await db.insert(1, a)
      t.assert.closeTo((await db.search(b))[0].distance, distance, 1e-5, metric)
    }
  },

  async 'pages, limits and columns'(t) {
    const dim = 8
    const { db, payloads } = await filled(t, 300, dim)
    const query = vectors(t.next, 1, dim)
    const whole = await db.search(query, { k: 40, efSearch: 300, include: ['payload', 'vector'] })
    const page = await db.search(query, { k: 10, offset: 10, efSearch: 300 })
    t.assert.deepEqual(
      page.map(({ id }) => id),
      whole.slice(10, 20).map(({ id }) => id),
    )
    const near = await db.search(query, { k: 40, efSearch: 300, maxDistance: whole[4].distance })
    t.assert.equal(near.length, 5)
    for (const { id, payload, vector } of whole) {
      t.assert.deepEqual(payload, payloads[id])
      t.assert.equal(vector.length, dim)
    }
    t.assert.deepEqual(Object.keys(page[0]), ['id', 'distance'])
    t.assert.deepEqual(
      await db.searchKnn(query, { k: 10, efSearch: 300 }),
      whole.slice(0, 10).map(({ id, distance }) => ({ id, distance })),
    )
  },

  async 'many searches at once answer as one by one'(t) {
    const dim = 8
    const { db } = await filled(t, 400, dim)
    const queries = vectors(t.next, 50, dim)
    const lists = await db.searchMany(queries, { k: 5 })
    t.assert.equal(lists.length, 50)
    for (const [at, list] of lists.entries()) {
      t.assert.deepEqual(list, await db.search(queries.subarray(at * dim, (at + 1) * dim), { k: 5 }))
    }
    t.assert.deepEqual(await db.searchMany(new Float32Array(0)), [])
  },

  async 'a recall decides on the width of a search'(t) {
    const dim = 16
    const { db, all } = await filled(t, 2000, dim)
    for (const [k, recall] of [
      [10, 0.95],
      [1, 0.9],
      [40, 0.99],
    ]) {
      const queries = vectors(t.next, 60, dim)
      const lists = await db.searchMany(queries, { k, recall })
      let found = 0
      for (const [at, list] of lists.entries()) {
        const query = queries.subarray(at * dim, (at + 1) * dim)
        const hits = await db.search(query, { k, recall, explain: true })
        const { explain } = hits
        t.assert.isAtLeast(explain.recall, recall)
        t.assert.isAtLeast(explain.efSearch, k)
        t.assert.equal(explain.complete, true)
        t.assert.deepEqual([...hits], list)
        t.assert.deepEqual(await db.searchKnn(query, { k, recall }), list)
        const byHand = await db.search(query, { k, efSearch: explain.efSearch, explain: true })
        t.assert.deepEqual([...byHand], list)
        t.assert.deepEqual([byHand.explain.efSearch, byHand.explain.recall], [explain.efSearch, null])
        const ids = new Set(list.map(({ id }) => id))
        found += nearest(all, dim, query, k).filter(([, id]) => ids.has(id)).length
      }
      // Of so few queries the mean is not what it is of many.
      t.assert.isAtLeast(found / (60 * k), recall - 0.1)
    }
    const filter = { colour: { $ne: 'red' } }
    const hits = await db.search(vectors(t.next, 1, dim), { k: 10, recall: 0.95, filter, explain: true })
    t.assert.equal(hits.length, 10)
    t.assert.isAtLeast(hits.explain.recall, 0.95)
    const plain = await db.search(vectors(t.next, 1, dim), { explain: true })
    t.assert.deepEqual([plain.explain.efSearch, plain.explain.recall], [64, null])
  },

  async 'of few rows a recall has all measured'(t) {
    const db = await t.open()
    t.assert.deepEqual(await db.search([1, 2, 3, 4], { recall: 0.9 }), [])
    await db.insertMany({ vectors: vectors(t.next, 7, 4) })
    const hits = await db.search([1, 2, 3, 4], { k: 10, recall: 0.999, explain: true })
    t.assert.equal(hits.length, 7)
    t.assert.deepEqual([hits.explain.recall, hits.explain.plan], [1, 'scan'])
  },

  async 'a search that is late answers with what it has'(t) {
    const dim = 8
    const { db } = await filled(t, 3000, dim)
    const query = vectors(t.next, 1, dim)
    for (const filter of [undefined, { i: { $gte: 300 } }]) {
      const options = { k: 300, efSearch: 1200, filter, explain: true }
      const whole = await db.search(query, options)
      t.assert.equal(whole.explain.complete, true)
      const inTime = await db.search(query, { ...options, deadline: 60_000 })
      t.assert.deepEqual([...inTime], [...whole])
      t.assert.equal(inTime.explain.complete, true)
      const late = await db.search(query, { ...options, deadline: 1e-9 })
      t.assert.equal(late.explain.complete, false)
      t.assert.isAtLeast(late.length, 1)
      t.assert.isAtMost(late.length, 300)
      for (const [at, { distance }] of late.entries())
        t.assert.isAtLeast(distance, at === 0 ? whole[0].distance : late[at - 1].distance)
      const { k, efSearch } = options
      const lists = await db.searchMany(query, { k, efSearch, filter, deadline: 60_000 })
      t.assert.deepEqual(lists, [[...whole]])
      const [list] = await db.searchMany(query, { k, efSearch, filter, deadline: 1e-9 })
      t.assert.isAtLeast(list.length, 1)
    }
    const quick = await db.searchKnn(query, { deadline: Number.POSITIVE_INFINITY })
    t.assert.equal(quick.length, 10)
    t.assert.isAtLeast((await db.searchKnn(query, { deadline: 1e-9 })).length, 1)
    // With no time to learn, a width is taken as if nothing had been asked for.
    const late = await db.search(query, { recall: 0.9, deadline: 1e-9, explain: true })
    t.assert.deepEqual([late.explain.recall, late.explain.efSearch], [null, 64])
  },

  async 'what is no recall and no deadline is refused'(t) {
    const db = await t.open()
    const refused = async (options, message) => {
      for (const search of ['search', 'searchKnn', 'searchMany'])
        await t.rejects('INVALID_ARGUMENT', () => db[search]([1, 2, 3, 4], options), message)
    }
    for (const recall of [0, 0.4, 1, 95, -1, Number.NaN, '0.9', null, true])
      await refused({ recall }, /recall must be a number from 0\.5 to 0\.999, not /)
    await refused({ recall: 0.9, efSearch: 64 }, /recall decides on efSearch: give one of them/)
    for (const deadline of [0, -1, Number.NaN, '5', null, {}])
      await refused({ deadline }, /deadline must be a positive number of milliseconds, not /)
  },

  async 'filters select before the nearest are taken'(t) {
    const dim = 8
    const { db, all, payloads } = await filled(t, 600, dim)
    const query = vectors(t.next, 1, dim)
    const cases = [
      [{ colour: 'red' }, (p) => p.colour === 'red'],
      [{ i: { $gte: 590 } }, (p) => p.i >= 590],
      [{ tags: 't3', colour: { $ne: 'blue' } }, (p) => p.i % 7 === 3 && p.colour !== 'blue'],
      [{ $or: [{ i: 5 }, { colour: /^gr/ }] }, (p) => p.i === 5 || p.colour === 'green'],
      [{ i: 77 }, (p) => p.i === 77],
      [{ nothing: 1 }, () => false],
    ]
    for (const [filter, matches] of cases) {
      const ids = payloads.filter(matches).map(({ i }) => i)
      const expected = nearest(all, dim, query, 600).filter(([, id]) => matches(payloads[id]))
      const hits = await db.search(query, { k: 10, efSearch: 400, filter, explain: true })
      const what = JSON.stringify(filter)
      t.assert.deepEqual(
        hits.map(({ id }) => id),
        expected.slice(0, 10).map(([, id]) => id),
        what,
      )
      t.assert.include(['none', 'scan', 'bridge', 'sweep'], hits.explain.plan)
      t.assert.equal(await db.count(filter), ids.length, what)
      const scanned = []
      for await (const row of db.scan({ filter, include: ['payload'], batchSize: 7 }))
        scanned.push(row.payload.i)
      t.assert.sameMembers(scanned, ids, what)
    }
    t.assert.equal(await db.deleteWhere({ colour: 'red' }), 200)
    t.assert.equal(await db.count(), 400)
    t.assert.equal(await db.count({ colour: 'red' }), 0)
  },

  async 'a scan sees the rows there were when it began'(t) {
    const { db } = await filled(t, 100, 4)
    const seen = []
    for await (const { id } of db.scan({ batchSize: 10 })) {
      if (seen.length === 5) {
        await db.deleteMany([50, 60, 70])
        await db.insert('late', [1, 1, 1, 1])
      }
      seen.push(id)
    }
    t.assert.equal(seen.length, 100)
    t.assert.equal(new Set(seen).size, 100)
    for await (const { id, vector } of db.scan({ include: ['vector'] })) {
      t.assert.equal(vector.length, 4)
      if (id === 3) break
    }
    t.assert.equal(await db.count(), 98)
  },
}
