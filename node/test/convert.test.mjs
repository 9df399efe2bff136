// convert: the same database in another store, all of it or nothing, and the old one as it was.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { convert, open } from 'asteroid-db'
import { place, program, random, rejects, STORES, testOnStores, vectors } from './lib/helpers.mjs'

const DIM = 8
const other = (storage) => STORES.find((each) => each !== storage)

/** Every file below a folder with its bytes. */
function contents(folder) {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile())
  return new Map(
    names.map(({ parentPath, path, name }) => {
      const at = join(parentPath ?? path, name)
      return [at, readFileSync(at).toString('base64')]
    }),
  )
}

/** Rows of every kind of id, some with payloads, some replaced or deleted, over several checkpoints. */
async function filled(t, path, options) {
  const next = random(t)
  const rows = 3000
  const ids = Array.from({ length: rows }, (_, i) => [i, `name ${i}`, 2n ** 60n + BigInt(i)][i % 3])
  const payloads = ids.map((_, i) =>
    i % 4 ? { n: i % 50, tags: ['a', `t${i % 7}`], text: 'x'.repeat(i % 200) } : null,
  )
  const db = await open(path, { dim: DIM, cacheBytes: 4 << 20, ...options })
  await db.insertMany({ ids, vectors: vectors(next, rows, DIM), payloads })
  await db.deleteMany(ids.filter((_, i) => i % 11 === 0))
  for (const id of ids.filter((_, i) => i % 50 === 1)) {
    await db.upsert(id, vectors(next, 1, DIM), { moved: true })
  }
  // Twins: one node of the graph for all.
  for (let i = 0; i < 20; i++) await db.upsert(`twin ${i}`, new Float32Array(DIM).fill(0.25), { twin: i })
  // Else it takes the deleted ones out of the graph by itself, some time.
  await db.compact()
  return { db, queries: vectors(next, 100, DIM) }
}

/** All that a caller can see of a database. */
async function seen(db, queries) {
  const rows = []
  for await (const row of db.scan({ include: ['payload', 'vector'] })) rows.push(row)
  const explained = await db.search(queries.subarray(0, DIM), { filter: { text: 'xxx' }, explain: true })
  return {
    facts: [db.dim, db.metric, await db.count(), await db.count({ n: { $gte: 25 } })],
    rows: rows.sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1)),
    // Narrow walks show the graph: what they miss depends on every link.
    narrow: await db.searchMany(queries, { k: 10, efSearch: 10 }),
    filtered: await db.searchMany(queries, { k: 5, filter: { tags: 't3' }, include: ['payload'] }),
    undecided: explained.explain.undecided,
  }
}

async function sound(db) {
  assert.deepEqual((await db.check()).problems, [])
}

testOnStores('the copy is the same in every way, and goes on as a database does', async (t, storage) => {
  for (const vectorStorageType of [0, 1]) {
    const path = place(t)
    const copy = `${path}-copy`
    const options = {
      storage,
      vectorStorageType,
      metric: 'cosine',
      m: 6,
      seed: 99,
      indexes: { exclude: ['text'] },
      vectorFilePath: vectorStorageType ? undefined : `${path}.vectors`,
    }
    const { db, queries } = await filled(t, path, options)
    const wanted = await seen(db, queries)
    assert.ok(wanted.undecided > 0, 'the rules of the index are not the default')
    await db.close()
    const before = contents(path)
    const told = []
    const made = await convert(path, copy, { onProgress: (progress) => told.push(progress) })
    assert.deepEqual(
      { ...made, bytesOnDisk: 0 },
      { rows: wanted.rows.length, storage: other(storage), bytesOnDisk: 0 },
    )
    const onDisk = [...contents(copy)].reduce((sum, [, text]) => sum + Buffer.byteLength(text, 'base64'), 0)
    assert.ok(made.bytesOnDisk > 0 && made.bytesOnDisk <= onDisk, `${made.bytesOnDisk} of ${onDisk}`)
    for (const [i, { done, total }] of told.entries()) {
      assert.ok(done <= total && total === told[0].total && (i === 0 || done > told[i - 1].done))
    }
    assert.equal(told.at(-1).done, told.at(-1).total)
    before.delete(join(path, 'LOCK'))
    const after = contents(path)
    after.delete(join(path, 'LOCK'))
    assert.deepEqual(after, before, 'the source was changed')
    const again = await open(copy, { m: 6, seed: 99, vectorStorageType })
    assert.equal((await again.stats()).storage, other(storage))
    assert.deepEqual(await seen(again, queries), wanted)
    await sound(again)
    await again.insertMany({ vectors: vectors(random(t), 500, DIM) })
    await again.delete('twin 3')
    await sound(again)
    await again.close()
    // And back.
    const back = `${path}-back`
    assert.equal((await convert(copy, back, { storage })).storage, storage)
    const returned = await open(back)
    assert.equal(await returned.count(), wanted.rows.length + 499)
    await sound(returned)
    await returned.close()
  }
})

testOnStores(
  'what a killed process left in its journal is in the copy, and still in the source',
  async (t, storage) => {
    const path = place(t)
    const { signal, out, err } = await program(
      path,
      `const db = await open(path, { dim: 4, storage })
     await db.insertMany({ vectors: Float32Array.from({ length: 4 * 1000 }, (_, i) => Math.sin(i)) })
     await db.close()
     const again = await open(path)
     for (let i = 0; i < 50; i++) await again.insert('late ' + i, [i, 1, 2, 3], { i })
     await again.delete(7)
     process.kill(process.pid, 'SIGKILL')`,
      { storage },
    )
    assert.equal(signal, 'SIGKILL', out + err)
    const before = contents(path)
    assert.equal((await convert(path, `${path}-copy`)).rows, 1049)
    assert.deepEqual(contents(path), before)
    for (const at of [`${path}-copy`, path]) {
      const db = await open(at)
      assert.equal(await db.count(), 1049)
      assert.deepEqual(await db.getPayload('late 49'), { i: 49 })
      assert.equal(await db.has(7), false)
      await sound(db)
      await db.close()
    }
  },
)

testOnStores('aborted anywhere there is no database, and the next call makes it', async (t, storage) => {
  const path = place(t)
  const { db, queries } = await filled(t, path, { storage, vectorFilePath: `${path}.vectors` })
  const wanted = await seen(db, queries)
  await db.close()
  const copy = `${path}-copy`
  const file = `${copy}.vectors`
  const reason = new Error('enough')
  const already = { signal: AbortSignal.abort(reason) }
  assert.equal((await rejects('ABORTED', () => convert(path, copy, already))).cause, reason)
  assert.equal(existsSync(copy), false)
  const controller = new AbortController()
  const aborting = convert(path, copy, { vectorFilePath: file, signal: controller.signal })
  controller.abort(reason)
  assert.equal((await rejects('ABORTED', () => aborting)).cause, reason)
  const cause = new Error('mine')
  const options = {
    vectorFilePath: file,
    onProgress: () => {
      throw cause
    },
  }
  const thrown = await rejects('ABORTED', () => convert(path, copy, options))
  assert.equal(thrown.cause, cause)
  if (!/complete/.test(thrown.message)) {
    assert.deepEqual(
      readdirSync(copy).filter((name) => name !== 'LOCK'),
      [],
    )
    assert.equal(existsSync(file), false)
    await rejects('NOT_FOUND', () => open(copy, { readOnly: true }))
    await convert(path, copy, { vectorFilePath: file })
  }
  const made = await open(copy)
  assert.deepEqual(await seen(made, queries), wanted)
  await made.close()
  assert.ok(existsSync(file))
})

testOnStores('what is there is left alone', async (t, storage) => {
  const path = place(t)
  const db = await open(path, { dim: 4, storage })
  await db.insert(1, [1, 2, 3, 4])
  await rejects('LOCKED', () => convert(path, `${path}-copy`))
  assert.equal(existsSync(`${path}-copy`), false)
  await db.close()
  await rejects('NOT_EMPTY', () => convert(path, path))
  await rejects('INVALID_ARGUMENT', () => convert(path, join(path, 'inside')), /inside/)
  await rejects('NOT_FOUND', () => convert(`${path}-nowhere`, `${path}-copy`))
  assert.equal(existsSync(`${path}-copy`), false)
  const taken = await open(`${path}-taken`, { dim: 9, storage })
  await rejects('NOT_EMPTY', () => convert(path, `${path}-taken`), /taken/)
  await taken.insert(1, new Float32Array(9).fill(1))
  await taken.close()
  await rejects('NOT_EMPTY', () => convert(path, `${path}-taken`))
  mkdirSync(`${path}-mine`)
  writeFileSync(join(`${path}-mine`, 'letter.txt'), 'dear')
  await rejects('INVALID_ARGUMENT', () => convert(path, `${path}-mine`), /letter\.txt/)
  assert.deepEqual(readdirSync(`${path}-mine`), ['letter.txt'])
  writeFileSync(`${path}.vectors`, 'mine')
  const occupied = { vectorFilePath: `${path}.vectors` }
  await rejects('INVALID_ARGUMENT', () => convert(path, `${path}-copy`, occupied), /exists already/)
  assert.equal(readFileSync(`${path}.vectors`, 'utf8'), 'mine')
  // A reader does not stand in the way, and the same store gives a packed copy.
  const reader = await open(path, { readOnly: true })
  assert.equal((await convert(path, `${path}-copy`, { storage })).storage, storage)
  await reader.close()
  assert.equal(await (await open(`${path}-copy`)).count(), 1)
})

testOnStores('damage in the source ends it, and leaves no database', async (t, storage) => {
  const path = place(t)
  const { db } = await filled(t, path, { storage })
  await db.close()
  const bad = `${path}-bad`
  cpSync(path, bad, { recursive: true })
  const files = readdirSync(bad, { recursive: true }).map((name) => join(bad, name))
  const largest = files
    .filter((name) => /graph\.redb$|\.sst$/.test(name))
    .map((name) => [readFileSync(name), name])
  const [bytes, name] = largest.sort(([a], [b]) => b.length - a.length)[0]
  for (let at = 20_000; at < bytes.length - 2000; at += 4000) bytes[at] ^= 0x55
  writeFileSync(name, bytes)
  await rejects('CORRUPT', () => convert(bad, `${path}-copy`))
  if (existsSync(`${path}-copy`)) {
    assert.deepEqual(
      readdirSync(`${path}-copy`).filter((name) => name !== 'LOCK'),
      [],
    )
  }
})

test('arguments', async (t) => {
  const path = place(t)
  const cases = [
    [[undefined, path], /from must be a path/],
    [[path, ''], /to must be a path/],
    [[':memory:', path], /from must be a path on disk/],
    [[path, ':memory:'], /to must be a path on disk/],
    [[path, `${path}-2`, { storage: 'memory' }], /'redb', 'rocksdb'/],
    [[path, `${path}-2`, { storge: 'redb' }], /did you mean 'storage'/],
    [[path, `${path}-2`, { onProgress: 1 }], /onProgress/],
    [[path, `${path}-2`, { signal: 1 }], /signal/],
    [[path, `${path}-2`, { vectorFilePath: 5 }], /vectorFilePath/],
  ]
  for (const [args, message] of cases) await rejects('INVALID_ARGUMENT', () => convert(...args), message)
})
