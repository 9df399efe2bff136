'use strict'

const { turn } = require('./host.cjs')
const { payloadOf } = require('./payloads.cjs')

// Rows turned into objects between two turns of the event loop, at most.
const ROWS_PER_TURN = 5_000

/** Objects of the columns the addon gives, from row `from` to `to`. */
function rowsOf(columns, dim, from, to) {
  const { ids, distances, payloads, vectors } = columns
  const rows = new Array(to - from)
  for (let i = from; i < to; i++) {
    const row = { id: ids[i] }
    if (distances) row.distance = distances[i]
    // A copy each: rows of one result do not keep each other's vectors in memory.
    if (vectors) row.vector = vectors.slice(i * dim, (i + 1) * dim)
    if (payloads) row.payload = payloadOf(payloads[i])
    rows[i - from] = row
  }
  return rows
}

/** All rows of the columns, without holding the event loop for long. */
async function allRows(columns, dim) {
  const total = columns.ids.length
  if (total <= ROWS_PER_TURN) return rowsOf(columns, dim, 0, total)
  const rows = []
  for (let from = 0; from < total; from += ROWS_PER_TURN) {
    if (from > 0) await turn()
    for (const row of rowsOf(columns, dim, from, Math.min(from + ROWS_PER_TURN, total))) rows.push(row)
  }
  return rows
}

/** Several lists of rows, by the number of rows of each. */
async function rowLists(columns, dim) {
  const rows = await allRows(columns, dim)
  const lists = []
  let from = 0
  for (const count of columns.counts) {
    lists.push(rows.slice(from, from + count))
    from += count
  }
  return lists
}

/** Rows asked for by id, `undefined` where there was none. */
async function someRows(columns, dim) {
  const rows = await allRows(columns, dim)
  let at = 0
  return columns.found.map((found) => (found ? rows[at++] : undefined))
}

module.exports = { allRows, rowLists, rowsOf, someRows }
