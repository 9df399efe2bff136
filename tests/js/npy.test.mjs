import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { readNpy } from './npy.mjs'

function write(path, type, shape, bytes) {
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const header = Buffer.from(`${text.padEnd(117)}\n`, 'latin1')
  const size = Buffer.alloc(2)
  size.writeUInt16LE(header.length)
  writeFileSync(
    path,
    Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), size, header, Buffer.from(bytes)]),
  )
}

test('every element type is read as it was written', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'npy-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'a.npy')
  const cases = [
    ['|u1', new Uint8Array([0, 1, 255])],
    ['<f4', new Float32Array([0.5, -2, 1e30])],
    ['<i4', new Int32Array([1, -1, 2 ** 31 - 1])],
    ['<i8', new BigInt64Array([1n, -1n, 2n ** 62n])],
  ]
  for (const [type, values] of cases) {
    write(path, type, [3], new Uint8Array(values.buffer))
    assert.deepEqual(readNpy(path), { shape: [3], data: values })
  }
  // One half, minus two, the least number above zero, the greatest number, infinity.
  write(path, '<f2', [5], new Uint8Array(new Uint16Array([0x3800, 0xc000, 1, 0x7bff, 0x7c00]).buffer))
  assert.deepEqual([...readNpy(path).data], [0.5, -2, 2 ** -24, 65_504, Infinity])
})

test('what it does not know or what is cut short is refused', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'npy-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'a.npy')
  write(path, '<c8', [1], new Uint8Array(8))
  assert.throws(() => readNpy(path), /holds c8/)
  write(path, '<f4', [3], new Uint8Array(8))
  assert.throws(() => readNpy(path), /should hold 12 bytes/)
  writeFileSync(path, 'hello, this is text')
  assert.throws(() => readNpy(path), /not an \.npy file/)
})
