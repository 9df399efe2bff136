'use strict'

const { AsteroidError, invalid, show } = require('./errors.cjs')
const { byteLength } = require('./host.cjs')

const MAX_BYTES = 1 << 20
const MAX_DEPTH = 100

function placeOf(root, keys) {
  let place = root
  for (const key of keys) {
    if (typeof key === 'number') place += `[${key}]`
    else if (/^[A-Za-z_$][\w$]*$/.test(key)) place += `.${key}`
    else place += `[${JSON.stringify(key)}]`
  }
  return place
}

function tooLarge(root, bytes) {
  const size = bytes === undefined ? '' : `: it is ${bytes} bytes`
  return new AsteroidError(
    'PAYLOAD_TOO_LARGE',
    `${root} is larger than ${MAX_BYTES} bytes (1 MiB) of JSON text${size}`,
  )
}

function isPlain(object) {
  const prototype = Object.getPrototypeOf(object)
  // Object.prototype of any realm, or none.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Walks what JSON.stringify would write and refuses what it would drop, change or choke on. */
class Walk {
  constructor(root) {
    this.root = root
    this.keys = []
    this.above = []
    this.size = 0
  }

  refuse(what) {
    return invalid(`${placeOf(this.root, this.keys)} ${what}`)
  }

  // Every value takes at least two bytes of text, so this ends the walk of a vast or exploding object early.
  count(bytes) {
    this.size += bytes
    if (this.size > MAX_BYTES) throw tooLarge(this.root)
  }

  value(given, key) {
    let value = given
    this.count(1)
    if (value !== null && typeof value === 'object' && typeof value.toJSON === 'function') {
      value = value.toJSON(key)
    }
    switch (typeof value) {
      case 'string':
        return this.count(value.length + 2)
      case 'boolean':
      case 'undefined':
        return
      case 'number':
        if (Number.isFinite(value)) return
        throw this.refuse(`is ${value}: JSON has finite numbers only`)
      case 'object':
        return value === null ? undefined : this.object(value)
      case 'bigint':
        throw this.refuse(`is the bigint ${show(value)}: JSON has none, store it as a string`)
      default:
        throw this.refuse(`is a ${typeof value}: payloads hold JSON values only`)
    }
  }

  object(value) {
    if (this.above.includes(value))
      throw this.refuse('refers back to an object it is part of: JSON has no cycles')
    if (this.above.length === MAX_DEPTH) throw this.refuse(`is nested deeper than ${MAX_DEPTH} levels`)
    this.above.push(value)
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        this.keys.push(i)
        this.value(value[i], String(i))
        this.keys.pop()
      }
    } else {
      if (!isPlain(value)) throw this.refuse(`is ${show(value)}: payloads hold plain objects only`)
      for (const key of Object.keys(value)) {
        this.keys.push(key)
        if (value[key] !== undefined) this.count(key.length + 3)
        this.value(value[key], key)
        this.keys.pop()
      }
    }
    this.above.pop()
  }
}

/** The JSON text of a payload; `undefined` for none (`null` or `undefined`). */
function payloadText(payload, root = 'payload') {
  if (payload === undefined || payload === null) return undefined
  const walk = new Walk(root)
  const object =
    typeof payload === 'object' && typeof payload.toJSON === 'function' ? payload.toJSON('') : payload
  if (object === null || typeof object !== 'object' || Array.isArray(object)) {
    throw invalid(`${root} must be a plain object, not ${show(object)}`)
  }
  walk.object(object)
  let text
  try {
    text = JSON.stringify(object)
  } catch (error) {
    // A getter or toJSON gave the walk something else than it gave now, or threw.
    throw new AsteroidError('INVALID_ARGUMENT', `${root} cannot be written as JSON: ${error?.message}`, {
      cause: error,
    })
  }
  const bytes = byteLength(text)
  if (bytes > MAX_BYTES) throw tooLarge(root, bytes)
  return text
}

/** The payload of a text; `null` for none. */
function payloadOf(text) {
  return typeof text === 'string' ? JSON.parse(text) : null
}

module.exports = { payloadOf, payloadText }
