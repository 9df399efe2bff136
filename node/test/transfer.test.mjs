// Databases moved as files: where they go, where they come from, and what is left when that fails.
import assert from 'node:assert/strict'
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { open } from 'asteroid-db'
import { database, place, random, rejects, runs, vectors } from './lib/helpers.mjs'

const DIM = 4

/** A database with rows of every kind. */
async function filled(t, rows = 2000, path = ':memory:') {
  const db = await database(t, { dim: DIM, metric: 'cosine', seed: 5 }, path)
  const next = random(t)
  const ids = Array.from({ length: rows }, (_, i) => (i % 3 ? i : i % 2 ? `row ${i}` : 2n ** 60n + BigInt(i)))
  const payloads = ids.map((id, i) => (i % 4 ? { i, name: `n${i % 50}`, id: String(id) } : null))
  await db.insertMany({ ids, vectors: vectors(next, rows, DIM), payloads })
  await db.deleteMany(ids.slice(0, Math.floor(rows / 10)))
  await db.update(ids[rows - 1], [1, 2, 3, 4])
  await db.upsert('twin', [1, 2, 3, 4], { twin: true })
  // Else it takes the deleted ones out of the graph by itself, some time.
  await db.compact()
  return db
}

async function bytesOf(db, options) {
  const pieces = []
  for await (const piece of db.export(options)) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function rowsOf(db) {
  const rows = []
  for await (const row of db.scan({ include: ['payload', 'vector'] }))
    rows.push([String(row.id), typeof row.id, row])
  return rows.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Asserts that both hold the same rows and answer searches alike. */
async function assertSame(a, b) {
  assert.deepEqual(await rowsOf(b), await rowsOf(a))
  for (let i = 0; i < 20; i++) {
    const query = [Math.sin(i), Math.cos(i), i / 10, 1]
    const options = { k: 20, include: ['payload'], filter: i % 2 ? { name: `n${i}` } : undefined }
    assert.deepEqual(await b.search(query, options), await a.search(query, options))
  }
  assert.deepEqual((await b.check()).problems, [])
}

/** Folder and a way to name places in it. */
function folder(t) {
  const dir = dirname(place(t))
  mkdirSync(dir, { recursive: true })
  return { dir, at: (name) => join(dir, name) }
}

test('a database goes through a file and comes out the same', async (t) => {
  const { dir, at } = folder(t)
  const db = await filled(t, 3000, at('source'))
  const told = []
  const done = await db.export(at('moved.asteroid'), { onProgress: (progress) => told.push(progress) })
  const size = readFileSync(at('moved.asteroid')).length
  assert.deepEqual(done, { rows: await db.count(), bytes: size })
  assert.deepEqual(told.at(-1), { done: size, total: size })
  assert.deepEqual(readdirSync(dir).sort(), ['moved.asteroid', 'source'])

  const heard = []
  const from = at('moved.asteroid')
  const moved = await open(at('target'), { from, onProgress: (progress) => heard.push(progress) })
  assert.deepEqual([moved.dim, moved.metric], [DIM, 'cosine'])
  assert.deepEqual(heard.at(-1), { done: size, total: size })
  for (const [i, { done }] of heard.entries())
    assert.ok(done <= size && (i === 0 || done > heard[i - 1].done))
  await assertSame(db, moved)
  await moved.insert('later', [4, 3, 2, 1])
  await moved.close()
  const again = await database(t, { dim: undefined }, at('target'))
  assert.equal(await again.count(), done.rows + 1)
  assert.deepEqual(await bytesOf(await database(t, { dim: undefined, from })), readFileSync(from))
})

test('from every kind of source', async (t) => {
  const { at } = folder(t)
  const db = await filled(t, 6000)
  const file = await bytesOf(db)
  assert.ok(file.length > 300_000)
  writeFileSync(at('file'), file)
  const server = createServer((request, response) => {
    if (request.url !== '/file') return response.writeHead(404).end('nothing')
    createReadStream(at('file'), { highWaterMark: 1000 }).pipe(response)
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  t.after(() => server.close())
  const url = `http://127.0.0.1:${server.address().port}`
  async function* pieces() {
    for (let i = 0; i < file.length; ) {
      const size = 1 + ((i * 7919) % 50_000)
      yield i % 2 ? file.subarray(i, i + size) : new Uint8Array(file.subarray(i, i + size)).buffer
      i += size
    }
  }
  const sources = {
    path: at('file'),
    'file URL': pathToFileURL(at('file')),
    URL: new URL(`${url}/file`),
    'URL as text': `${url}/file`,
    bytes: new Uint8Array(file),
    Buffer: file,
    ArrayBuffer: new Uint8Array(file).buffer,
    Blob: new Blob([file]),
    ReadableStream: new Blob([file]).stream(),
    'node stream': createReadStream(at('file')),
    'async iterable': pieces(),
    iterable: [file.subarray(0, 10), file.subarray(10)],
    'an export': db.export(),
  }
  for (const [name, from] of Object.entries(sources)) {
    const moved = await open(':memory:', { from })
    assert.equal(await moved.count(), await db.count(), name)
    await moved.close()
  }
  await assertSame(db, await database(t, { dim: undefined, from: file }))

  await rejects('IO', () => open(':memory:', { from: `${url}/other` }), /404/)
  await rejects('IO', () => open(':memory:', { from: 'http://127.0.0.1:1/file' }), /cannot be fetched/)
  await rejects('IO', () => open(':memory:', { from: at('absent') }), /absent/)
  for (const from of [7, null, {}, '', new URL('ftp://x/y')]) {
    await rejects('INVALID_ARGUMENT', () => open(':memory:', { from }))
  }
  await rejects('INVALID_ARGUMENT', () => open(':memory:', { from: ['text'] }), /bytes/)
})

test('to streams, and their failures', async (t) => {
  const { at } = folder(t)
  const db = await filled(t, 6000)
  const file = await bytesOf(db)
  const want = { rows: await db.count(), bytes: file.length }
  assert.deepEqual(await db.export(createWriteStream(at('node'))), want)
  assert.deepEqual(readFileSync(at('node')), file)
  const pieces = []
  const sink = new WritableStream({
    async write(piece) {
      await new Promise((slow) => setTimeout(slow, 5))
      pieces.push(piece)
    },
  })
  assert.deepEqual(await db.export(sink), want)
  assert.deepEqual(Buffer.concat(pieces), file)
  assert.deepEqual(Buffer.from(await new Response(db.export()).arrayBuffer()), file)

  await rejects('INVALID_ARGUMENT', () => db.export(sink, { signals: 1 }), /signal/)
  const locked = new WritableStream()
  locked.getWriter()
  await rejects('INVALID_ARGUMENT', () => db.export(locked), /locked/)
  const broken = new Error('the sink broke')
  const failing = () =>
    new WritableStream({
      write() {
        throw broken
      },
    })
  assert.equal((await rejects('IO', () => db.export(failing()))).cause, broken)
  const stuck = new Writable({
    write(_piece, _encoding, done) {
      done(broken)
    },
  })
  assert.equal((await rejects('IO', () => db.export(stuck))).cause, broken)
  for (const target of [7, null, [], true]) await rejects('INVALID_ARGUMENT', () => db.export(target, {}))
  await rejects(
    'INVALID_ARGUMENT',
    () =>
      db
        .export({ onProgres() {} })
        .getReader()
        .read(),
    /onProgress/,
  )
  await db.export().cancel()
  for await (const piece of db.export()) {
    assert.ok(piece instanceof Uint8Array)
    break
  }
  assert.deepEqual(await bytesOf(db), file)
})

test('an export to a path that cannot be written leaves nothing, and one that can replaces the file', async (t) => {
  const { dir, at } = folder(t)
  const db = await filled(t)
  await rejects('IO', () => db.export(at('absent/file')), /absent/)
  mkdirSync(at('folder'))
  await rejects('INVALID_ARGUMENT', () => db.export(at('folder')), /no file/)
  await rejects('INVALID_ARGUMENT', () => db.export(''))
  if (existsSync('/dev/full')) {
    const full = createWriteStream('/dev/full')
    await rejects('STORAGE_FULL', () => db.export(full))
  }
  writeFileSync(at('file'), 'what was there')
  const stop = new AbortController()
  const onProgress = () => stop.abort(new Error('enough'))
  const error = await rejects('ABORTED', () => db.export(at('file'), { onProgress, signal: stop.signal }))
  assert.equal(error.cause.message, 'enough')
  const oops = new Error('oops')
  const threw = await rejects('ABORTED', () =>
    db.export(at('file'), {
      onProgress() {
        throw oops
      },
    }),
  )
  assert.equal(threw.cause, oops)
  await rejects('ABORTED', () => db.export(at('file'), { signal: AbortSignal.abort() }))
  assert.equal(readFileSync(at('file'), 'utf8'), 'what was there')
  assert.deepEqual(readdirSync(dir).sort(), ['file', 'folder'])
  const { rows } = await db.export(pathToFileURL(at('file')))
  const moved = await database(t, { dim: undefined, from: at('file') })
  assert.equal(await moved.count(), rows)
})

test('a file that is damaged, cut short, foreign or against the options makes no database', async (t) => {
  const { at } = folder(t)
  const db = await filled(t)
  const file = await bytesOf(db)
  const target = at('target')
  const next = random(t)
  for (let i = 0; i < 20; i++) {
    const damaged = Buffer.from(file)
    damaged[Math.floor(next() * file.length)] ^= 1 << Math.floor(next() * 8)
    await rejects('CORRUPT', () => open(target, { from: damaged }))
    const cut = Math.floor(next() * file.length)
    await rejects('CORRUPT', () => open(target, { from: file.subarray(0, cut) }), /ends early/)
  }
  await rejects('CORRUPT', () => open(target, { from: new Uint8Array(0) }))
  await rejects('CORRUPT', () => open(target, { from: Buffer.from('{"json": true}') }), /not an exported/)
  await rejects('CONFIG_MISMATCH', () => open(target, { from: file, dim: 5 }), /dim/)
  await rejects('CONFIG_MISMATCH', () => open(target, { from: file, metric: 'l2' }), /metric/)
  await rejects('INVALID_ARGUMENT', () => open(target, { from: file, readOnly: true }), /readOnly/)
  await rejects('INVALID_ARGUMENT', () => open(target, { onProgress() {} }), /from/)
  await rejects('INVALID_ARGUMENT', () => open(target), /dim is required/)
  const moved = await open(target, { from: file, dim: DIM, metric: 'cosine', vectorStorageType: 0 })
  await assertSame(db, moved)
  await rejects('NOT_EMPTY', () => open(target, { from: file }), /reinit/)
  await moved.close()
  await rejects('NOT_EMPTY', () => open(target, { from: file }), /reinit/)
  await rejects('CORRUPT', () => open(target, { from: Buffer.from('no'), reinit: true }))
  const kept = await database(t, { dim: undefined }, target)
  assert.equal(await kept.count(), await db.count())
  await kept.close()
  const small = await database(t, { dim: 2 })
  const replaced = await database(t, { dim: 2, from: small.export(), reinit: true }, target)
  assert.equal(await replaced.count(), 0)
})

test('an import stops when its signal fires, its source fails or hangs, or its progress throws', async (t) => {
  const { at } = folder(t)
  const db = await filled(t)
  const file = await bytesOf(db)
  const target = at('target')
  async function* hanging(bytes) {
    yield bytes
    await new Promise(() => {})
  }
  const stop = new AbortController()
  const opening = rejects('ABORTED', () =>
    open(target, { from: hanging(file.subarray(0, 500)), signal: stop.signal }),
  )
  setTimeout(() => stop.abort(new Error('enough')), 50)
  assert.equal((await opening).cause.message, 'enough')
  await rejects('ABORTED', () => open(target, { from: file, signal: AbortSignal.abort() }))
  const broken = new Error('the source broke')
  async function* failing() {
    yield file.subarray(0, 1000)
    throw broken
  }
  assert.equal((await rejects('ABORTED', () => open(target, { from: failing() }))).cause, broken)
  // What the file shows at once is not waited for to the end.
  await rejects('CONFIG_MISMATCH', () => open(target, { from: hanging(file.subarray(0, 500)), dim: 9 }))
  await rejects('CORRUPT', () => open(target, { from: hanging(Buffer.alloc(500)) }))
  const oops = new Error('oops')
  const atLast = ({ done, total }) => {
    if (done === total) throw oops
  }
  for (const place of [':memory:', target]) {
    const error = await rejects('ABORTED', () => open(place, { from: file, onProgress: atLast }))
    assert.equal(error.cause, oops)
  }
  await rejects('INVALID_ARGUMENT', () => open(target), /dim is required/)
  const moved = await database(t, { dim: undefined, from: file }, target)
  assert.equal(await moved.count(), await db.count())
})

test('an export is one moment of the database, at its place among the writes', async (t) => {
  const db = await database(t, { dim: DIM })
  const next = random(t)
  const rows = (n) => ({ vectors: vectors(next, n, DIM) })
  await db.insertMany(rows(3000))
  const writes = [db.insertMany(rows(500))]
  const reader = db.export().getReader()
  writes.push(db.insertMany(rows(700)), db.deleteMany([1, 2, 3]))
  const pieces = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    pieces.push(value)
    await db.insert(`while exporting ${pieces.length}`, [1, 2, 3, 4])
  }
  await Promise.all(writes)
  const moved = await database(t, { dim: undefined, from: pieces })
  assert.equal(await moved.count(), 3500)
  assert.ok(await moved.has(1))
})

test('closing finishes exports to a target and ends streams', async (t) => {
  const { at } = folder(t)
  const db = await filled(t, 20_000, at('db'))
  const exported = db.export(at('file'))
  const stream = db.export().getReader()
  await stream.read()
  await db.close()
  const { rows } = await exported
  assert.ok(rows > 10_000)
  await rejects('CLOSED', async () => {
    while (!(await stream.read()).done);
  })
  await rejects('CLOSED', () => db.export(at('file')))
  // The folder is free again: nothing of the stream holds it.
  await (await open(at('db'))).close()
})

test('a database opened to read is exported, and a process may end amid exports and imports', async (t) => {
  const { at } = folder(t)
  const db = await filled(t, 5000, at('db'))
  const file = await bytesOf(db)
  await db.close()
  const reader = await open(at('db'), { readOnly: true })
  assert.deepEqual(await bytesOf(reader), file)
  await reader.close()
  writeFileSync(at('file'), file)
  await runs(
    at('db'),
    `import { readFileSync } from 'node:fs'
     const db = await open(path)
     const reader = db.export().getReader()
     await reader.read()
     open(path + '2', { from: (async function* () { yield readFileSync(path + '/../file').subarray(0, 300); await new Promise(() => {}) })() })
     setTimeout(() => process.exit(0), 100)`,
  )
  await (await open(at('db'))).close()
  const out = await runs(
    at('db2'),
    `const db = await open(path, { from: ${JSON.stringify(at('file'))} }); console.log(await db.count()); await db.close()`,
  )
  assert.equal(Number(out), await (await database(t, { dim: undefined, from: file })).count())
})

test('a file of format 1 opens for ever', async (t) => {
  const from = new URL('../../tests/golden/export-1.asteroid', import.meta.url)
  const db = await database(t, { dim: undefined, from })
  const vector = (i) => [Math.sin(i), Math.cos(i), Math.sin(2 * i), 1].map(Math.fround)
  assert.deepEqual([db.dim, db.metric, await db.count()], [4, 'cosine', 40])
  for (let i = 0; i < 40; i++) {
    const row = await db.get(i % 2 ? i : `row ${i}`)
    if (i === 5) assert.equal(row, undefined)
    else {
      // The last digits of sines are the host's own.
      const want = vector(i === 7 ? 700 : i)
      assert.ok(
        row.vector.every((x, at) => Math.abs(x - want[at]) < 1e-6),
        `row ${i}`,
      )
      assert.deepEqual(row.payload, i % 4 ? { n: i, text: `number ${i}` } : null)
    }
  }
  const [twin, other] = await db.search(vector(3), { k: 2 })
  assert.deepEqual(new Set([twin.id, other.id]), new Set([3, 2n ** 63n]))
  assert.equal((await db.search(vector(0), { filter: { n: { $gt: 30 } } })).length, 7)
  assert.deepEqual(await bytesOf(db), readFileSync(from))
})

test('a backup is a database of its own, of one moment, while writes go on', async (t) => {
  const { dir, at } = folder(t)
  const db = await filled(t, 3000, at('source'))
  const then = await rowsOf(db)
  const told = []
  const backup = db.backup(at('backup'), { onProgress: (progress) => told.push(progress) })
  // Called after it, so not in it: rows go, and others take their places.
  const ids = then.slice(0, 1500).map(([, , { id }]) => id)
  const writes = [
    db.deleteMany(ids),
    db.compact(),
    db.insertMany({ vectors: new Float32Array(4 * 500).fill(2) }),
  ]
  const { rows, storage, bytesOnDisk } = await backup
  await Promise.all(writes)
  assert.deepEqual([rows, storage], [then.length, (await db.stats()).storage])
  assert.ok(bytesOnDisk > 3000 * 4 * DIM)
  assert.equal(told.at(-1).done, told.at(-1).total)
  const copy = await open(at('backup'))
  assert.deepEqual(await rowsOf(copy), then)
  assert.deepEqual((await copy.check()).problems, [])
  await copy.close()
  assert.deepEqual((await db.check()).problems, [])
  await rejects('NOT_EMPTY', () => db.backup(at('backup')), /new or an empty folder/)
  await rejects('NOT_EMPTY', () => db.backup(at('source')))
  await rejects('INVALID_ARGUMENT', () => db.backup(''))
  await rejects('INVALID_ARGUMENT', () => db.backup(at('x'), { storage: 'memory' }))
  await rejects('ABORTED', () => db.backup(at('x'), { signal: AbortSignal.abort() }))
  const stop = () => {
    throw new Error('enough')
  }
  await rejects('ABORTED', () => db.backup(at('stopped'), { onProgress: stop }), /onProgress threw/)
  // Nothing is left of it, unless it was whole before the abort came.
  const left = existsSync(at('stopped')) ? readdirSync(at('stopped')) : []
  if (left.includes('manifest')) await (await open(at('stopped'))).close()
  else
    assert.deepEqual(
      left.filter((name) => name !== 'LOCK'),
      [],
    )
  assert.ok(!readdirSync(dir).includes('x'))
})

test('a database in memory is backed up to disk', async (t) => {
  const { at } = folder(t)
  const db = await filled(t, 500)
  await db.backup(at('kept'), { vectorFilePath: at('vectors') })
  const copy = await open(at('kept'))
  await assertSame(db, copy)
  await copy.close()
})
