// Single rows: writing, reading, changing, removing.

const good = [1, 2, 3, 4]

export const tests = {
  async 'a row comes back as it was given'(t) {
    const db = await t.open()
    const payload = {
      title: 'Alien',
      year: 1979,
      deep: { a: [1, null, 'x', { y: true }] },
      big: 1e300,
      text: 'ä \u{1F600}',
    }
    await db.insert(1, [0.1, -2.5, 3e-8, 4], payload)
    t.assert.deepEqual(await db.get(1), { id: 1, vector: Float32Array.of(0.1, -2.5, 3e-8, 4), payload })
    t.assert.deepEqual(await db.getPayload(1), payload)
    t.assert.equal(await db.has(1), true)
    t.assert.equal(await db.count(), 1)
    t.assert.equal(await db.get(2), undefined)
    t.assert.equal(await db.getPayload(2), undefined)
    t.assert.equal(await db.has(2), false)
  },

  async 'ids of every kind are told apart'(t) {
    const db = await t.open()
    const ids = [0, 7, '7', 2 ** 53 - 1, 2n ** 53n, 2n ** 64n - 1n, 'ä'.repeat(256), ' ']
    for (const [at, id] of ids.entries()) await db.insert(id, [at, 0, 0, 1])
    t.assert.equal(await db.count(), ids.length)
    for (const [at, id] of ids.entries()) {
      const row = await db.get(id)
      t.assert.equal(row.id, id)
      t.assert.equal(row.vector[0], at)
    }
    t.assert.equal((await db.get(7n)).id, 7)
    const rows = await db.getMany([ids[5], 'no', ids[1]])
    t.assert.deepEqual(
      rows.map((row) => row?.id),
      [ids[5], undefined, ids[1]],
    )
    const found = await db.search([0, 0, 0, 1], { k: 20 })
    t.assert.sameMembers(
      found.map(({ id }) => id),
      ids,
    )
  },

  async 'insert, update, upsert and delete keep their promises'(t) {
    const db = await t.open()
    await db.insert('a', good, { n: 1 })
    await t.rejects('ID_EXISTS', () => db.insert('a', good))
    await db.update('a', [4, 3, 2, 1])
    t.assert.deepEqual(await db.get('a'), { id: 'a', vector: Float32Array.of(4, 3, 2, 1), payload: { n: 1 } })
    await t.rejects('NOT_FOUND', () => db.update('b', good))
    await db.upsert('a', good)
    t.assert.deepEqual(await db.getPayload('a'), { n: 1 })
    await db.upsert('a', good, { n: 2 })
    t.assert.deepEqual(await db.getPayload('a'), { n: 2 })
    await db.upsert('b', good)
    t.assert.equal(await db.getPayload('b'), null)
    t.assert.equal(await db.delete('a'), true)
    t.assert.equal(await db.delete('a'), false)
    t.assert.equal(await db.deleteMany(['b', 'c']), 1)
    t.assert.equal(await db.count(), 0)
    t.assert.deepEqual(await db.search(good), [])
  },

  async 'payloads are set, merged and removed'(t) {
    const db = await t.open()
    await db.insert(1, good, { a: 1, b: { c: 2, d: 3 } })
    await db.mergePayload(1, { a: null, b: { c: 9 }, e: 'new' })
    t.assert.deepEqual(await db.getPayload(1), { b: { c: 9, d: 3 }, e: 'new' })
    await db.setPayload(1, { z: 0 })
    t.assert.deepEqual(await db.getPayload(1), { z: 0 })
    await db.setPayload(1, null)
    t.assert.equal(await db.getPayload(1), null)
    await t.rejects('NOT_FOUND', () => db.setPayload(2, {}))
    await t.rejects('PAYLOAD_TOO_LARGE', () => db.setPayload(1, { x: 'x'.repeat(1 << 20) }))
  },

  async 'bad arguments are refused and change nothing'(t) {
    const db = await t.open({ metric: 'cosine' })
    await t.rejects('DIMENSION_MISMATCH', () => db.insert(1, [1, 2, 3]), /3 numbers/)
    await t.rejects('INVALID_ARGUMENT', () => db.insert(1, [1, 2, Number.NaN, 4]), /\[2\]/)
    await t.rejects('INVALID_ARGUMENT', () => db.insert(1, [0, 0, 0, 0]), /zero/i)
    await t.rejects('INVALID_ARGUMENT', () => db.insert(-1, good))
    await t.rejects('INVALID_ARGUMENT', () => db.insert('', good))
    await t.rejects('INVALID_ARGUMENT', () => db.insert(1, good, [1]))
    await t.rejects('INVALID_ARGUMENT', () => db.search(good, { top: 3 }), /'k'/)
    await t.rejects('FILTER_SYNTAX', () => db.search(good, { filter: { a: { $near: 1 } } }), /\$near/)
    t.assert.equal(await db.count(), 0)
  },

  async 'arguments are copied during the call'(t) {
    const db = await t.open()
    const vector = Float32Array.of(1, 2, 3, 4)
    const written = db.insert(1, vector)
    vector.fill(9)
    await written
    t.assert.deepEqual([...(await db.get(1)).vector], [1, 2, 3, 4])
    const half = Float32Array.of(9, 9, 5, 6, 7, 8, 9).subarray(2, 6)
    await db.insertMany({ ids: [2], vectors: half })
    t.assert.deepEqual([...(await db.get(2)).vector], [5, 6, 7, 8])
    t.assert.equal(half.length, 4, 'the array is still there')
  },

  async 'tensors and arrays of vectors are taken'(t) {
    const db = await t.open()
    await db.insert(1, { data: Float32Array.from(good), dims: [1, 4] })
    await db.insertMany({ vectors: { data: Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0), dims: [2, 4] } })
    await db.insertMany({ vectors: [good, Float64Array.from(good)] })
    t.assert.equal(await db.count(), 5)
    t.assert.deepEqual([...(await db.get(3)).vector], [0, 1, 0, 0])
  },
}
