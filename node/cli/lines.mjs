// Files of JSON lines: payloads, or vectors with ids and payloads.
import { open } from 'node:fs/promises'
import { Usage } from './terminal.mjs'

const ROWS_PER_CHUNK = 1024

/** The value of every line that is not blank, with its number. */
async function* jsonLines(path) {
  const file = await open(path).catch((error) => {
    throw new Usage(`'${path}' cannot be read: ${error.message}`)
  })
  let at = 0
  try {
    for await (const line of file.readLines()) {
      at++
      if (line.trim() === '') continue
      yield [parse(line, at, path), at]
    }
  } finally {
    await file.close()
  }
}

function parse(line, at, path) {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new Usage(`line ${at} of '${path}' is not JSON: ${error.message}`)
  }
}

/** The payloads of a file, one object or null per line. */
export async function* objectLines(path) {
  for await (const [value] of jsonLines(path)) yield value
}

/**
 * A file of `{ vector, id?, payload? }` lines for `bulkBuild`. Ids and payloads fill up while the vectors are read;
 * ids must be on all lines or on none.
 */
export async function readVectorLines(path) {
  const ids = []
  const payloads = []
  const lines = jsonLines(path)
  const first = await lines.next()
  if (first.done) throw new Usage(`'${path}' is empty, so its dimension is unknown`)
  const dim = vectorOf(first.value, path).length
  const withIds = first.value[0].id !== undefined
  const take = ([value, at], chunk, rows) => {
    const vector = vectorOf([value, at], path)
    if (vector.length !== dim) {
      throw new Usage(`line ${at} of '${path}' has ${vector.length} numbers, the first has ${dim}`)
    }
    if ((value.id !== undefined) !== withIds) {
      throw new Usage(
        `line ${at} of '${path}' ${withIds ? 'has no id' : 'has an id'}: give all lines one, or none`,
      )
    }
    chunk.set(vector, rows * dim)
    if (withIds) ids.push(value.id)
    payloads.push(value.payload ?? null)
  }
  async function* vectors() {
    let chunk = new Float32Array(ROWS_PER_CHUNK * dim)
    take(first.value, chunk, 0)
    let rows = 1
    for await (const line of lines) {
      if (rows === ROWS_PER_CHUNK) {
        yield chunk
        chunk = new Float32Array(ROWS_PER_CHUNK * dim)
        rows = 0
      }
      take(line, chunk, rows++)
    }
    yield chunk.subarray(0, rows * dim)
  }
  return { dim, vectors: vectors(), ids: withIds ? ids : undefined, payloads }
}

function vectorOf([value, at], path) {
  const vector = value?.vector
  if (!Array.isArray(vector) || vector.length === 0 || !vector.every((x) => typeof x === 'number')) {
    throw new Usage(`line ${at} of '${path}' has no "vector" that is an array of numbers`)
  }
  return vector
}
