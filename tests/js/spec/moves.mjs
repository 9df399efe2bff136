// Exports, and databases made of them.
import { vectors } from './context.mjs'

const good = [1, 2, 3, 4]

/** The bytes that an export gives. */
async function collect(stream) {
  const pieces = []
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read()
    if (done) break
    pieces.push(value)
  }
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

/** A database with all sorts of rows. */
async function filled(t, rows = 600) {
  const db = await t.open({ metric: 'cosine', m: 8 })
  await db.insertMany({
    vectors: vectors(t.next, rows, 4),
    payloads: Array.from({ length: rows }, (_, i) => ({ i })),
  })
  await db.insert('name', good, { deep: { a: [1, null, 'x'] } })
  await db.insert(2n ** 60n, [4, 3, 2, 1])
  await db.deleteWhere({ i: { $gte: 10, $lt: 20 } })
  await db.update(5, [1, 1, 1, 1])
  return db
}

const anew = (t, options, place) => t.open({ dim: undefined, ...options }, place)

export const tests = {
  async 'an exported database answers as the original does'(t) {
    const db = await filled(t)
    const bytes = await collect(db.export())
    const chopped = async function* () {
      for (let at = 0, size = 1; at < bytes.length; at += size, size = 1 + Math.floor(t.next() * 9000))
        yield bytes.subarray(at, at + size)
    }
    const sources = [bytes, new Blob([bytes]), chopped(), db.export()]
    for (const from of sources) {
      const copy = await anew(t, { from })
      t.assert.deepEqual([copy.dim, copy.metric, await copy.count()], [4, 'cosine', 592])
      t.assert.deepEqual(await copy.get('name'), await db.get('name'))
      t.assert.equal(await copy.has(2n ** 60n), true)
      for (let query = 0; query < 10; query++) {
        const vector = vectors(t.next, 1, 4)
        const options = { k: 20, include: ['payload', 'vector'] }
        t.assert.deepEqual(await copy.search(vector, options), await db.search(vector, options))
        const filter = { i: { $lt: 100 } }
        t.assert.deepEqual(await copy.search(vector, { filter }), await db.search(vector, { filter }))
      }
      t.assert.deepEqual(await collect(copy.export()), bytes)
      await copy.insert('more', good)
      t.assert.equal(await copy.count(), 593)
      if (!t.persistent) continue
      await copy.close()
      t.assert.equal(await (await t.reopen(copy)).count(), 593)
    }
  },

  async 'an empty database can be moved'(t) {
    const db = await t.open()
    const copy = await anew(t, { from: await collect(db.export()) })
    t.assert.deepEqual([copy.dim, await copy.count()], [4, 0])
  },

  async 'an export is of one moment, and ends with its signal or its database'(t) {
    const db = await filled(t)
    const reader = db.export().getReader()
    const first = (await reader.read()).value
    await db.insert('later', good)
    const rest = async function* () {
      yield first
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value
    }
    const copy = await anew(t, { from: rest() })
    t.assert.equal(await copy.has('later'), false)
    t.assert.equal(await copy.count(), 592)

    const seen = []
    await collect(db.export({ onProgress: ({ done, total }) => seen.push([done, total]) }))
    t.assert.isNotEmpty(seen)
    t.assert.equal(seen.at(-1)[0], seen.at(-1)[1])
    await t.rejects('ABORTED', () => collect(db.export({ signal: AbortSignal.abort() })))
    await t.rejects('INVALID_ARGUMENT', () => db.export(7))
    const written = []
    const target = new WritableStream({ write: (piece) => void written.push(piece.length) })
    const { rows, bytes } = await db.export(target)
    t.assert.deepEqual([rows, bytes], [593, written.reduce((sum, length) => sum + length, 0)])
    await db.close()
    await t.rejects('CLOSED', () => collect(db.export()))
  },

  async 'an import tells how far it is, and can be aborted'(t) {
    const db = await filled(t, 3000)
    const bytes = await collect(db.export())
    const piecewise = async function* (until = bytes.length) {
      for (let at = 0; at < until; at += 10_000) yield bytes.subarray(at, Math.min(at + 10_000, until))
    }
    const seen = []
    await anew(t, { from: piecewise(), onProgress: ({ done, total }) => seen.push([done, total]) })
    t.assert.deepEqual(seen.at(-1), [bytes.length, bytes.length])
    t.assert.deepEqual(
      seen.map(([done]) => done),
      seen.map(([done]) => done).sort((a, b) => a - b),
    )

    const place = t.place()
    const stop = new AbortController()
    const stopping = async function* () {
      yield* piecewise(bytes.length / 2)
      stop.abort(new Error('enough'))
      await new Promise(() => {})
    }
    const error = await t.rejects('ABORTED', () => anew(t, { from: stopping(), signal: stop.signal }, place))
    t.assert.equal(error.cause?.message, 'enough')
    const noMore = new Error('no more')
    for (const from of [piecewise, () => bytes]) {
      for (const share of [0, 0.5, 1]) {
        const onProgress = ({ done }) => {
          if (done >= share * bytes.length) throw noMore
        }
        const error = await t.rejects('ABORTED', () => anew(t, { from: from(), onProgress }, place))
        t.assert.equal(error.cause, noMore)
        await t.rejects('INVALID_ARGUMENT', () => anew(t, {}, place), /dim/)
      }
    }
    const throwing = async function* () {
      yield bytes.subarray(0, 100)
      throw new Error('the network went')
    }
    await t.rejects('ABORTED', () => anew(t, { from: throwing() }, place), /network went/)
    await t.rejects('INVALID_ARGUMENT', () => anew(t, {}, place), /dim/)
    const fresh = await anew(t, { from: bytes }, place)
    t.assert.equal(await fresh.count(), 2992)
  },

  async 'damaged, cut and foreign files are refused'(t) {
    const db = await filled(t)
    const bytes = await collect(db.export())
    const place = t.place()
    for (let round = 0; round < 12; round++) {
      const damaged = bytes.slice()
      const at = Math.floor(t.next() * bytes.length)
      damaged[at] ^= 1 << Math.floor(t.next() * 8)
      const error = await t
        .rejects('CORRUPT', () => anew(t, { from: damaged }, place))
        .catch((failure) => {
          throw new Error(`a flip in byte ${at} of ${bytes.length}`, { cause: failure })
        })
      t.assert.match(error.message, /export|manifest|counters/)
      const cut = bytes.subarray(0, Math.floor(t.next() * bytes.length))
      await t.rejects('CORRUPT', () => anew(t, { from: cut }, place))
    }
    await t.rejects('CORRUPT', () => anew(t, { from: new TextEncoder().encode('<!doctype html>') }, place))
    await t.rejects('CONFIG_MISMATCH', () => t.open({ dim: 5, from: bytes }, place), /5/)
    await t.rejects('INVALID_ARGUMENT', () => anew(t, { from: 7 }, place), /from/)
    await t.rejects('INVALID_ARGUMENT', () => anew(t, { from: [1, 2] }, place), /bytes/)
    const whole = await anew(t, { from: bytes }, place)
    t.assert.equal(await whole.count(), 592)
  },

  async 'a database that is there is replaced only where that is asked for'(t) {
    if (!t.persistent) return
    const bytes = await collect((await filled(t)).export())
    const other = await t.open({ dim: 2 })
    await other.insert(1, [1, 2])
    await other.close()
    await t.rejects('NOT_EMPTY', () => anew(t, { from: bytes }, other.path), /reinit/)
    const foreign = new TextEncoder().encode('<!doctype html>')
    await t.rejects('CORRUPT', () => anew(t, { from: foreign, reinit: true }, other.path))
    const kept = await t.reopen(other)
    t.assert.deepEqual([kept.dim, await kept.count()], [2, 1])
    await kept.close()
    const replaced = await anew(t, { from: bytes, reinit: true }, other.path)
    t.assert.deepEqual([replaced.dim, await replaced.count()], [4, 592])
    await t.rejects('LOCKED', () => anew(t, { from: bytes, reinit: true }, other.path))
  },
}
