import assert from 'node:assert/strict'

/**
 * That two hosts found the same for every query. They add in two orders: the last digits of a distance differ, and rows
 * that are as far may change places.
 */
export function assertSameHits(lists, expected) {
  const close = (a, b) => Math.abs(a - b) < 2e-6
  assert.equal(lists.length, expected.length)
  lists.forEach((hits, query) => {
    const other = expected[query]
    assert.equal(hits.length, other.length)
    hits.forEach(({ id, distance }, at) => {
      assert.ok(close(distance, other[at].distance), `query ${query}, hit ${at}: ${distance}`)
      const there = other.find((hit) => hit.id === id) ?? other.at(-1)
      assert.ok(close(distance, there.distance), `query ${query}: ${id} at ${distance}`)
    })
  })
}
