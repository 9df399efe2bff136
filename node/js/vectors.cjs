'use strict'

const { AsteroidError, invalid, show } = require('./errors.cjs')

const KINDS = 'a Float32Array, an array of numbers, or a tensor with .data and .dims'

/** Tells a stage that nobody else has the array: it need not copy it. */
const OURS = true

const { get: typedArrayKind } = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)

/** Which typed array a value is, `undefined` for none. Right for other realms too (vm contexts, Jest). */
function kindOf(value) {
  return typedArrayKind.call(value)
}

function isNumeric(array) {
  const kind = kindOf(array)
  return kind !== undefined && !kind.startsWith('Big')
}

/** Whether the addon may read it in place. Memory that other threads can write to is copied first. */
function isDirect(array) {
  return (
    kindOf(array) === 'Float32Array' &&
    Object.prototype.toString.call(array.buffer) !== '[object SharedArrayBuffer]'
  )
}

function isTensor(value) {
  return value !== null && typeof value === 'object' && value.data !== undefined && Array.isArray(value.dims)
}

/** The numbers of a tensor, once its shape is known to be honest. */
function tensorData(tensor, name) {
  const { data, dims } = tensor
  if (kindOf(data) === 'Uint16Array' && tensor.type === 'float16') {
    throw invalid(`${name} is a float16 tensor: convert it first, with tensor.to('float32')`)
  }
  if (!isNumeric(data) && !Array.isArray(data)) {
    throw invalid(`${name}.data must hold numbers, not ${show(data)}`)
  }
  if (!dims.every((n) => Number.isInteger(n) && n >= 0) || dims.reduce((a, b) => a * b, 1) !== data.length) {
    throw invalid(`${name}.dims [${dims}] does not match the ${data.length} numbers in ${name}.data`)
  }
  return data
}

function lengthError(name, length, dim) {
  return new AsteroidError(
    'DIMENSION_MISMATCH',
    `${name} has ${length} numbers, the database's dimension is ${dim}`,
  )
}

/** Copies `length` numbers from `source` into `target` at `at`; refuses what is not a finite f32. */
function copyNumbers(source, target, at, name) {
  const typed = kindOf(source) !== undefined
  for (let i = 0; i < source.length; i++) {
    const x = source[i]
    if (!typed && typeof x !== 'number') {
      throw invalid(`${name}[${i}] is ${show(x)}: every element of a vector must be a number`)
    }
    target[at + i] = x
    // The stored value decides: a number too large for an f32 became infinite.
    if (!Number.isFinite(target[at + i])) {
      const overflow = Number.isFinite(x) ? ', too large for a 32-bit float' : ''
      throw invalid(`${name}[${i}] is ${show(x)}${overflow}: every number must be finite`)
    }
  }
}

function numbersOf(vector, dim, name) {
  if (isNumeric(vector) || Array.isArray(vector)) return vector
  if (isTensor(vector)) {
    const data = tensorData(vector, name)
    if (vector.dims.length > 1 && vector.dims.slice(0, -1).some((n) => n !== 1)) {
      throw new AsteroidError(
        'DIMENSION_MISMATCH',
        `${name} has dims [${vector.dims}]: one vector has dims [${dim}] or [1, ${dim}]`,
      )
    }
    return data
  }
  throw invalid(`${name} must be ${KINDS}, not ${show(vector)}`)
}

/** One vector as a `Float32Array` that the addon may read; a copy unless it was one. */
function toVector(vector, dim, name = 'vector') {
  const numbers = numbersOf(vector, dim, name)
  if (numbers.length !== dim) throw lengthError(name, numbers.length, dim)
  if (isDirect(numbers)) {
    for (let i = 0; i < dim; i++) {
      if (!Number.isFinite(numbers[i])) {
        throw invalid(`${name}[${i}] is ${numbers[i]}: every number must be finite`)
      }
    }
    return numbers
  }
  const copy = new Float32Array(dim)
  copyNumbers(numbers, copy, 0, name)
  return copy
}

function flatColumn(numbers, dim, name) {
  const { length } = numbers
  if (length % dim !== 0) {
    throw new AsteroidError(
      'DIMENSION_MISMATCH',
      `${name} has ${length} numbers, which is not a multiple of the database's dimension ${dim}`,
    )
  }
  const direct = isDirect(numbers)
  return {
    rows: length / dim,
    costly: !direct,
    fill(stage, from, to) {
      if (numbers.length !== length) {
        throw invalid(
          `${name} changed its length while it was read: leave it alone until the promise settles`,
        )
      }
      const cut = Array.isArray(numbers) ? numbers.slice : numbers.subarray
      const slice = cut.call(numbers, from * dim, to * dim)
      if (direct) return stage.vectors(slice)
      const copy = new Float32Array(slice.length)
      copyNumbers(slice, copy, 0, name)
      stage.vectors(copy, OURS)
    },
  }
}

/**
 * Many vectors, checked in shape: how many rows, and what fills a stage with some of them. Flat columns of
 * numbers, tensors of dims [n, dim], and arrays of vectors.
 */
function vectorColumn(vectors, dim, name) {
  if (isNumeric(vectors)) return flatColumn(vectors, dim, name)
  if (Array.isArray(vectors)) {
    return {
      rows: vectors.length,
      costly: true,
      fill(stage, from, to) {
        const slice = new Float32Array((to - from) * dim)
        for (let i = from; i < to; i++) {
          slice.set(toVector(vectors[i], dim, `${name}[${i}]`), (i - from) * dim)
        }
        stage.vectors(slice, OURS)
      },
    }
  }
  if (isTensor(vectors)) {
    const data = tensorData(vectors, name)
    const { dims } = vectors
    if (dims.at(-1) !== dim || dims.length > 2) {
      throw new AsteroidError(
        'DIMENSION_MISMATCH',
        `${name} has dims [${dims}]: a column of vectors here has dims [n, ${dim}]`,
      )
    }
    return flatColumn(data, dim, name)
  }
  throw invalid(
    `${name} must be a Float32Array of n * ${dim} numbers, an array of vectors, or a tensor, not ${show(vectors)}`,
  )
}

module.exports = { isNumeric, isTensor, kindOf, toVector, vectorColumn }
