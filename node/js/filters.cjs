'use strict'

const { AsteroidError, invalid, show } = require('./errors.cjs')

function refuse(what, cause) {
  return new AsteroidError('FILTER_SYNTAX', what, cause && { cause })
}

/** Flags that change what a regular expression matches; the others change only how JavaScript walks a text. */
const MEANT = 'ims'
const IDLE = 'dguv'

function ofRegExp(pattern) {
  for (const flag of pattern.flags) {
    if (!MEANT.includes(flag) && !IDLE.includes(flag)) {
      throw refuse(`the flag '${flag}' of ${pattern} cannot be used in a filter: use i, m and s`)
    }
  }
  const options = [...pattern.flags].filter((flag) => MEANT.includes(flag)).join('')
  return options ? { $regex: pattern.source, $options: options } : { $regex: pattern.source }
}

// What JSON would drop or change must not: a filter that loses a condition matches more than was meant.
function replace(key, value) {
  if (value instanceof RegExp) {
    // As the operand of $regex, the expression brings its flags along only where it stands alone.
    if (key === '$regex' && !/[ims]/.test(value.flags)) return ofRegExp(value).$regex
    if (key === '$regex') throw refuse(`give the flags of ${value} as $options, or the expression itself`)
    return ofRegExp(value)
  }
  switch (typeof value) {
    case 'undefined':
      throw refuse(`${show(key)} is undefined: leave it out, or use null or $exists`)
    case 'bigint':
      throw refuse(`${show(key)} is a bigint: payloads hold none, so a filter finds none`)
    case 'number':
      if (!Number.isFinite(value)) throw refuse(`${show(key)} is ${value}: JSON has finite numbers only`)
      return value
    case 'function':
    case 'symbol':
      throw refuse(
        `${show(key)} is a ${typeof value}: filters are made of JSON values and regular expressions`,
      )
    case 'object':
      if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)) {
        throw refuse(`${show(key)} is ${show(value)}: filters are made of plain objects and arrays`)
      }
      return value
    default:
      return value
  }
}

/** The JSON text of a filter; `undefined` for none. */
function filterText(filter) {
  if (filter === undefined) return undefined
  if (filter === null || typeof filter !== 'object' || Array.isArray(filter) || filter instanceof RegExp) {
    throw invalid(`filter must be an object, such as { year: { $gte: 1979 } }, not ${show(filter)}`)
  }
  try {
    return JSON.stringify(filter, replace)
  } catch (error) {
    if (error instanceof AsteroidError) throw error
    const what = error instanceof RangeError ? 'it is nested too deeply or too large' : error?.message
    throw refuse(`the filter cannot be written as JSON: ${what}`, error)
  }
}

module.exports = { filterText }
