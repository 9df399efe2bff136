'use strict'

const { open, stat } = require('node:fs/promises')
const disk = require('./disk.cjs')
const { AsteroidError, invalid, show } = require('./errors.cjs')

const SLICE_BYTES = 4 << 20
const MAX_HEADER_BYTES = 1 << 20

let halves

/** Every half float by its bits. */
function halfTable() {
  halves ??= Float32Array.from({ length: 65_536 }, (_, half) => {
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >> 10) & 31
    const fraction = half & 1023
    if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
  })
  return halves
}

/** Widens `count` numbers that lie in `bytes`, which begin where any typed array may. */
const READERS = {
  '<f4': (bytes, count) => new Float32Array(bytes, 0, count),
  '<f8': (bytes, count) => Float32Array.from(new Float64Array(bytes, 0, count)),
  '<f2': (bytes, count) => {
    const table = halfTable()
    return Float32Array.from(new Uint16Array(bytes, 0, count), (half) => table[half])
  },
  '|u1': (bytes, count) => Float32Array.from(new Uint8Array(bytes, 0, count)),
  '|i1': (bytes, count) => Float32Array.from(new Int8Array(bytes, 0, count)),
}

/** `read` until `length` bytes are there or the file ends; the number of bytes read. */
async function readWhole(file, bytes, length, position) {
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

function cutShort(path) {
  return invalid(`${show(path)} ended before all of its vectors were read: was it changed meanwhile?`)
}

/** The shape of a .npy file from its first bytes: where the numbers begin, their type, rows, dimension. */
function npyShape(head, path) {
  const wide = head[6] > 1
  const start = wide ? 12 : 10
  const length = head.length < start ? Number.NaN : wide ? head.readUInt32LE(8) : head.readUInt16LE(8)
  if (head.toString('latin1', 0, 6) !== '\x93NUMPY' || !(length <= MAX_HEADER_BYTES)) {
    throw invalid(`${show(path)} is not a .npy file: it does not begin as one`)
  }
  const at = start + length
  const header = head.toString('latin1', start, at)
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1]
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1]
  if (head.length < at || shape === undefined) throw invalid(`${show(path)} has a damaged .npy header`)
  if (!Object.hasOwn(READERS, type ?? '')) {
    throw invalid(
      `${show(path)} holds numbers of the type ${show(type ?? 'structured')}: save it as float32 (or float16, float64, uint8, int8), with numpy.save(path, a.astype('<f4'))`,
    )
  }
  const dims = shape.split(',').filter((part) => part.trim() !== '')
  if (dims.length !== 2) {
    throw invalid(`${show(path)} has the shape (${shape}): vectors need two dimensions, (rows, dim)`)
  }
  if (!/'fortran_order':\s*False/.test(header)) {
    throw invalid(
      `${show(path)} is in Fortran order: save it with numpy.save(path, numpy.ascontiguousarray(a))`,
    )
  }
  const [rows, dim] = dims.map(Number)
  return { at, type, rows, dim }
}

async function openNpy(file, path, size) {
  let head = Buffer.alloc(12)
  head = head.subarray(0, await readWhole(file, head, 12, 0))
  if (head.length === 12 && head.toString('latin1', 0, 6) === '\x93NUMPY') {
    const length = head[6] > 1 ? 12 + head.readUInt32LE(8) : 10 + head.readUInt16LE(8)
    head = Buffer.alloc(Math.min(length, MAX_HEADER_BYTES, size))
    head = head.subarray(0, await readWhole(file, head, head.length, 0))
  }
  const { at, type, rows, dim } = npyShape(head, path)
  const width = Number(type.slice(2))
  const wanted = at + rows * dim * width
  if (wanted !== size) {
    throw invalid(`${show(path)} should be ${wanted} bytes long for ${rows} x ${dim} ${type}, it is ${size}`)
  }
  async function* slices() {
    const step = Math.max(1, Math.floor(SLICE_BYTES / (dim * width)))
    const bytes = new ArrayBuffer(Math.min(step, rows) * dim * width)
    for (let from = 0; from < rows; from += step) {
      const count = Math.min(step, rows - from) * dim
      const length = count * width
      if ((await readWhole(file, new Uint8Array(bytes), length, at + from * dim * width)) < length) {
        throw cutShort(path)
      }
      yield READERS[type](bytes, count)
    }
  }
  return { rows, dim, slices }
}

/** .fvecs and .bvecs: each vector is its length as a 32-bit integer, then its numbers. */
async function openVecs(file, path, size, width) {
  const head = Buffer.alloc(4)
  if (size === 0) return { rows: 0, dim: undefined, slices: async function* () {} }
  if ((await readWhole(file, head, 4, 0)) < 4) throw invalid(`${show(path)} is too short to hold a vector`)
  const dim = head.readInt32LE(0)
  const record = 4 + dim * width
  if (dim < 1 || size % record !== 0) {
    throw invalid(
      `${show(path)} is damaged or of another kind: its first vector says ${dim} numbers, and ${size} bytes are no whole number of such vectors`,
    )
  }
  const rows = size / record
  async function* slices() {
    const step = Math.max(1, Math.floor(SLICE_BYTES / record))
    const bytes = Buffer.alloc(Math.min(step, rows) * record)
    const out = new Float32Array(Math.min(step, rows) * dim)
    for (let from = 0; from < rows; from += step) {
      const count = Math.min(step, rows - from)
      if ((await readWhole(file, bytes, count * record, from * record)) < count * record) throw cutShort(path)
      for (let row = 0; row < count; row++) {
        const start = row * record
        const length = bytes.readInt32LE(start)
        if (length !== dim) {
          throw invalid(`vector ${from + row} of ${show(path)} says ${length} numbers, the first says ${dim}`)
        }
        const numbers =
          width === 1
            ? bytes.subarray(start + 4, start + record)
            : new Float32Array(
                bytes.buffer.slice(bytes.byteOffset + start + 4, bytes.byteOffset + start + record),
              )
        out.set(numbers, row * dim)
      }
      yield out.subarray(0, count * dim)
    }
  }
  return { rows, dim, slices }
}

const KINDS = {
  '.npy': openNpy,
  '.fvecs': (file, path, size) => openVecs(file, path, size, 4),
  '.bvecs': (file, path, size) => openVecs(file, path, size, 1),
}

/** Whether the name is that of a vector file. */
function isVectorFile(path) {
  return Object.keys(KINDS).some((ending) => path.toLowerCase().endsWith(ending))
}

/**
 * A vector file: `{ rows, dim, slices(), close() }`; `dim` is unknown where an .fvecs file is empty. A slice of
 * `slices()` holds whole vectors and is overwritten by the next.
 */
async function openVectorFile(path) {
  const kind = Object.keys(KINDS).find((ending) => path.toLowerCase().endsWith(ending))
  if (!kind) {
    throw invalid(`${show(path)} is no vector file: its name must end in ${Object.keys(KINDS).join(', ')}`)
  }
  let file
  try {
    if (!(await stat(path)).isFile()) throw invalid(`${show(path)} is not a file`)
    file = await open(path, 'r')
    const { size } = await file.stat()
    return { ...(await KINDS[kind](file, path, size)), close: () => file.close() }
  } catch (error) {
    await file?.close()
    throw error instanceof AsteroidError ? error : fileError(path, error)
  }
}

function fileError(path, cause) {
  return new AsteroidError('IO', `${show(path)} cannot be read: ${cause.message}`, { cause })
}

module.exports = { ...disk, fileError, isVectorFile, openVectorFile }
