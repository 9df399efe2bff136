'use strict'

const { checkOptions } = require('./arguments.cjs')
const { aborted, invalid, show } = require('./errors.cjs')
const host = require('./host.cjs')
const { checkIdColumn, idFiller } = require('./ids.cjs')
const { payloadText } = require('./payloads.cjs')
const { vectorColumn } = require('./vectors.cjs')

// About a millisecond's worth of copying, and the longest that checking rows may hold the event loop.
const SLICE_BYTES = 4 << 20
const SLICE_MS = 3
const COSTLY_ROWS = 64

/** The columns of an `insertMany`, checked in shape; their contents are checked while they are copied. */
function checkRows(rows, dim, what) {
  if (rows === undefined) throw invalid(`${what} needs an object with vectors, and ids and payloads if any`)
  checkOptions(rows, ['ids', 'vectors', 'payloads'], what)
  const { ids, payloads } = rows
  const vectors = vectorColumn(rows.vectors, dim, 'vectors')
  const columns = [vectors]
  if (ids !== undefined) {
    checkIdColumn(ids)
    if (ids.length !== vectors.rows) {
      throw invalid(`ids has ${ids.length} entries for ${vectors.rows} vectors: give one per vector, or none`)
    }
    columns.push({ costly: true, fill: idFiller(ids) })
  }
  if (payloads !== undefined && payloads !== null) {
    if (!Array.isArray(payloads)) throw invalid(`payloads must be an array, not ${show(payloads)}`)
    if (payloads.length !== vectors.rows) {
      throw invalid(
        `payloads has ${payloads.length} entries for ${vectors.rows} vectors: give one (or null) per vector`,
      )
    }
    columns.push({ costly: true, fill: payloadFiller(payloads) })
  }
  return { rows: vectors.rows, dim, columns, numbers: vectors.rows * dim }
}

/** The vectors of a `searchMany`, checked in shape. */
function checkQueries(queries, dim) {
  const vectors = vectorColumn(queries, dim, 'queries')
  return { rows: vectors.rows, dim, columns: [vectors] }
}

/** The ids of a `getMany` or `deleteMany`, checked to be a column. */
function checkIds(ids) {
  return { rows: checkIdColumn(ids).length, dim: 2, columns: [{ costly: true, fill: idFiller(ids) }] }
}

function payloadFiller(payloads) {
  return (stage, from, to) => {
    const texts = new Array(to - from)
    for (let i = from; i < to; i++) texts[i - from] = payloadText(payloads[i], `payloads[${i}]`) ?? ''
    stage.payloads(texts.join('\n'))
  }
}

/**
 * Copies rows into `stage`. The first slice during the call, the rest with a turn of the event loop between any two
 * slices, so that no timer waits for more than a few milliseconds. `turn` hears of the rows copied after each, and
 * ends the copying by throwing.
 */
async function copy(stage, { rows, dim, columns }, turn) {
  const bySize = Math.max(1, Math.floor(SLICE_BYTES / (dim * 4)))
  const step = columns.some((column) => column.costly) ? Math.min(bySize, COSTLY_ROWS) : bySize
  let began = performance.now()
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(from + step, rows)
    for (const column of columns) column.fill(stage, from, to)
    if (to < rows && (step === bySize || performance.now() - began > SLICE_MS)) {
      await host.turn()
      turn(to)
      began = performance.now()
    }
  }
}

/** Copies all rows into `stage` and finishes it. */
async function fill(stage, rows, signal) {
  // A hint for stages that lie in memory which never shrinks.
  if (rows.numbers) stage.expect?.(rows.numbers)
  await copy(stage, rows, () => {
    if (signal?.aborted) throw aborted(signal)
  })
  stage.finish()
}

module.exports = { checkIds, checkQueries, checkRows, copy, fill, payloadFiller }
