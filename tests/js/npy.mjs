// Reads NumPy's .npy files: C order, little endian; u1, f2, f4, i4 and i8.
import { readFileSync } from 'node:fs'

/** `{ shape, data }` of the file at `path`. Half floats are widened to a Float32Array. */
export function readNpy(path) {
  const file = readFileSync(path)
  if (file.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${path} is not an .npy file`)
  const long = file[6] > 1
  const start = long ? 12 : 10
  const end = start + (long ? file.readUInt32LE(8) : file.readUInt16LE(8))
  const header = file.toString('latin1', start, end)
  const type = /'descr':\s*'([<|=])(\w+)'/.exec(header)?.[2]
  const shape = /'shape':\s*\(([^)]*)\)/
    .exec(header)?.[1]
    .split(',')
    .filter((part) => part.trim())
    .map(Number)
  if (!type || !shape || !/'fortran_order':\s*False/.test(header)) {
    throw new Error(`${path} has a header that this reader does not know: ${header.trim()}`)
  }
  const read = READERS[type]
  if (!read) throw new Error(`${path} holds ${type}, this reader knows ${Object.keys(READERS).join(', ')}`)
  const size = Number(type.slice(1))
  const count = shape.reduce((a, b) => a * b, 1)
  if (file.length - end !== count * size) {
    throw new Error(`${path} should hold ${count * size} bytes of data, it holds ${file.length - end}`)
  }
  // A copy of its own begins at offset 0, as typed arrays wider than a byte want it.
  const bytes = new Uint8Array(file.subarray(end)).buffer
  return { shape, data: read(bytes) }
}

const READERS = {
  u1: (bytes) => new Uint8Array(bytes),
  f2: (bytes) => widen(new Uint16Array(bytes)),
  f4: (bytes) => new Float32Array(bytes),
  i4: (bytes) => new Int32Array(bytes),
  i8: (bytes) => new BigInt64Array(bytes),
}

let halves
function widen(bits) {
  halves ??= Float32Array.from({ length: 65_536 }, (_, half) => {
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >> 10) & 31
    const fraction = half & 1023
    if (exponent === 31) return fraction ? NaN : sign * Infinity
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
  })
  const out = new Float32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = halves[bits[i]]
  return out
}
