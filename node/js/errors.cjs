'use strict'

/** Every value of `AsteroidError.code`. */
const CODES = new Set([
  'INVALID_ARGUMENT',
  'DIMENSION_MISMATCH',
  'ID_EXISTS',
  'NOT_FOUND',
  'NOT_EMPTY',
  'FILTER_SYNTAX',
  'PAYLOAD_TOO_LARGE',
  'CLOSED',
  'LOCKED',
  'READ_ONLY',
  'CONFIG_MISMATCH',
  'UNSUPPORTED_VERSION',
  'CORRUPT',
  'STORAGE_FULL',
  'IO',
  'ABORTED',
  'POISONED',
  'UNSUPPORTED',
  'INTERNAL',
])

class AsteroidError extends Error {
  constructor(code, message, options) {
    super(message, options)
    this.code = code
  }
}
// Not enumerable, like the names of built-in errors.
Object.defineProperty(AsteroidError.prototype, 'name', {
  value: 'AsteroidError',
  writable: true,
  configurable: true,
})

/** An error the caller can fix by changing the call. */
function invalid(message) {
  return new AsteroidError('INVALID_ARGUMENT', message)
}

/** What the addon rejected with, as an `AsteroidError`. The addon sends code, message and causes as lines. */
function fromNative(error, signal) {
  if (error instanceof AsteroidError) return error
  const [code, message, ...causes] = String(error?.message).split('\n')
  if (!CODES.has(code)) {
    return new AsteroidError(
      'INTERNAL',
      `a bug in asteroid-db stopped this call: ${error?.message ?? error} (please report it)`,
      { cause: error },
    )
  }
  if (code === 'ABORTED' && signal?.aborted) return aborted(signal)
  const cause = causes.reduceRight((cause, text) => new Error(text, cause && { cause }), undefined)
  return new AsteroidError(code, message, cause && { cause })
}

/** The rejection of a call whose signal has fired. */
function aborted(signal) {
  return new AsteroidError('ABORTED', 'the call was aborted by its signal; nothing of it was kept', {
    cause: signal.reason,
  })
}

/** A value for an error message: short, and telling `1` from `'1'` and `1n`. */
function show(value) {
  if (typeof value === 'string') {
    const text = value.length > 60 ? `${value.slice(0, 57)}...` : value
    return `'${text.isWellFormed() ? text : text.toWellFormed()}'`
  }
  if (typeof value === 'bigint') {
    const digits = value.toString()
    return digits.length > 60 ? `a bigint of ${digits.length} digits` : `${digits}n`
  }
  if (Object.is(value, -0)) return '-0'
  if (value === null || typeof value !== 'object') {
    return typeof value === 'function' ? 'a function' : String(value)
  }
  if (Array.isArray(value)) return `an array of ${value.length}`
  const name = value.constructor?.name
  return typeof name === 'string' && name !== 'Object' && name !== '' ? `an instance of ${name}` : 'an object'
}

module.exports = { AsteroidError, CODES, aborted, fromNative, invalid, show }
