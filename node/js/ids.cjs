'use strict'

const { invalid, show } = require('./errors.cjs')
const { byteLength } = require('./host.cjs')
const { kindOf } = require('./vectors.cjs')

const MAX_BYTES = 512
const TOO_BIG = 1n << 64n

/** The id itself, if it is one. */
function checkId(id, name = 'id') {
  switch (typeof id) {
    case 'number':
      if (Number.isSafeInteger(id) && id >= 0) return id
      throw invalid(
        `${name} must be an integer from 0 to 2^53 - 1, a bigint from 0 to 2^64 - 1, or a string, not ${show(id)}`,
      )
    case 'bigint':
      if (id >= 0n && id < TOO_BIG) return id
      throw invalid(`${name} must be from 0 to 2^64 - 1 as a bigint, not ${show(id)}`)
    case 'string': {
      if (id === '') throw invalid(`${name} must not be the empty string ''`)
      if (!id.isWellFormed()) {
        throw invalid(`${name} must be well-formed text: ${show(id)} holds half of a surrogate pair`)
      }
      const bytes = byteLength(id)
      if (bytes <= MAX_BYTES) return id
      throw invalid(`${name} must be at most ${MAX_BYTES} bytes of UTF-8: ${show(id)} is ${bytes} bytes`)
    }
    default:
      throw invalid(`${name} must be a number, a bigint or a string, not ${show(id)}`)
  }
}

/** What fills a stage with `ids`, a slice at a time: `(stage, from, to) => void`. */
function idFiller(ids) {
  if (kindOf(ids) === 'BigUint64Array') {
    return (stage, from, to) => stage.bigintIds(ids.slice(from, to))
  }
  if (kindOf(ids) === 'Uint32Array') {
    return (stage, from, to) => stage.numberIds(Float64Array.from(ids.subarray(from, to)))
  }
  return (stage, from, to) => {
    const slice = new Array(to - from)
    let numbers = true
    for (let i = from; i < to; i++) {
      const id = checkId(ids[i], `ids[${i}]`)
      numbers &&= typeof id === 'number'
      slice[i - from] = id
    }
    if (numbers) stage.numberIds(Float64Array.from(slice))
    else stage.anyIds(slice)
  }
}

/** Refuses anything but a column of ids. */
function checkIdColumn(ids) {
  if (!(Array.isArray(ids) || ['BigUint64Array', 'Uint32Array'].includes(kindOf(ids)))) {
    throw invalid(
      `ids must be an array of numbers, bigints and strings, a BigUint64Array or a Uint32Array, not ${show(ids)}`,
    )
  }
  return ids
}

module.exports = { checkId, checkIdColumn, idFiller }
