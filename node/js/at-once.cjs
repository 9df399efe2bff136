'use strict'

// Short searches are answered on the thread that asks: to another one and back is the longer way. The addon decides.
const { setImmediate } = require('node:timers')
const { aborted, fromNative } = require('./errors.cjs')
const { rowsOf } = require('./results.cjs')

/** Rows of one answer, at most: to make objects of more takes its time as well. */
const MOST = 1000
/** Where both sides lay numbers for each other: how to search, then ids and distances in turns. */
const desk = new Float64Array(2 * MOST)
// Of searches that are asked for in one turn of the event loop one is answered here, the others on the other threads.
let waiting = false

/** The promise of the rows found, where the search was done at once; else `undefined`. */
function searchNow(addon, query, args, signal) {
  if (waiting || args.filter !== undefined || args.explain || args.k > MOST) return undefined
  desk[0] = args.k
  desk[1] = args.efSearch ?? 0
  desk[2] = args.offset
  desk[3] = args.maxDistance ?? Number.POSITIVE_INFINITY
  desk[4] = args.payload ? 1 : 0
  desk[5] = args.vector ? 1 : 0
  desk[6] = args.recall ?? 0
  desk[7] = args.deadline ?? 0
  let rows
  let failure
  try {
    const found = addon.searchNow(query, desk)
    if (found === undefined) return undefined
    rows = typeof found === 'number' ? rowsOn(found) : rowsOf(found, query.length, 0, found.ids.length)
  } catch (error) {
    failure = fromNative(error, signal)
  }
  return new Promise((resolve, reject) => {
    waiting = true
    // Never in the same turn of the event loop: a loop of searches would keep timers and sockets waiting for ever.
    setImmediate(() => {
      waiting = false
      if (signal?.aborted) reject(aborted(signal))
      else if (failure) reject(failure)
      else resolve(rows)
    })
  })
}

function rowsOn(count) {
  const rows = new Array(count)
  for (let i = 0; i < count; i++) rows[i] = { id: desk[2 * i], distance: desk[2 * i + 1] }
  return rows
}

module.exports = { searchNow }
