// What browsers do to a database: kill it, fill its quota, end and begin again. Needs `npm run build:wasm`.
//
// ASTEROID_KILLS   how often writing is cut off per storage (default 30)
import assert from 'node:assert/strict'
import test from 'node:test'
import { browser } from './browser/chromium.mjs'
import { seeded } from './random.mjs'

const kills = Number(process.env.ASTEROID_KILLS ?? 30)
const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
const world = await browser()
test.after(() => world.close())

/** Numbered writes without an end, each told as soon as it is acknowledged. Every sixth writes many rows; some flush. */
async function writeOn([name, storage, first]) {
  const db = await globalThis.asteroid.open(name, { dim: 8, storage })
  const vector = (row) => Float32Array.from({ length: 8 }, (_, i) => Math.sin(row * 8 + i))
  ;(async () => {
    for (let write = first; ; write++) {
      const ids = Array.from({ length: write % 6 === 5 ? 150 : 1 }, (_, i) => write * 1000 + i)
      if (ids.length === 1) await db.insert(ids[0], vector(ids[0]), { write })
      else await db.insertMany({ ids, vectors: ids.map(vector), payloads: ids.map(() => ({ write })) })
      if (write % 40 === 39) await db.flush()
      globalThis.acknowledged(write)
    }
  })()
}

/** What is there, in rows per write, and whether all of it is sound. */
async function inspect([name, storage]) {
  const db = await globalThis.asteroid.open(name, { storage })
  const rows = []
  let wrong = 0
  for await (const { id, payload, vector } of db.scan({ include: ['payload', 'vector'] })) {
    rows[payload.write] = (rows[payload.write] ?? 0) + 1
    if (vector.some((x, i) => x !== Math.fround(Math.sin(id * 8 + i)))) wrong++
  }
  const { problems } = await db.check()
  const { storage: used } = await db.stats()
  const last = (rows.length - 1) * 1000
  const query = Float32Array.from({ length: 8 }, (_, i) => Math.sin(last + i / 8))
  const found = (await db.search(query, { k: 5 })).length
  await db.close()
  return { rows: Array.from(rows, (count) => count ?? 0), wrong, problems, used, found }
}

/** How a page that writes may end: every second is killed with its process, now and then all of the browser is. */
async function cutOff(page, round) {
  if (round % 10 === 9) return world.killAndRestart()
  if (round % 2 === 1) return page.close()
  const crashed = new Promise((resolve) => page.on('crash', resolve))
  world.killRenderers()
  await crashed
  await page.close()
}

/** What a database in IndexedDB is stored as: the keys of its extents, and of pages by themselves. */
async function storedAs(name) {
  const request = indexedDB.open(`asteroid-db:${name}`)
  const answer = (request) => new Promise((done) => (request.onsuccess = () => done(request.result)))
  const database = await answer(request)
  const transaction = database.transaction(['pages', 'extents'])
  const [pages, extents] = await Promise.all(
    ['pages', 'extents'].map((store) => answer(transaction.objectStore(store).getAllKeys())),
  )
  database.close()
  return { pages, extents }
}

test('indexeddb: files are the same again, whether as extents, as pages over them, or cut', async () => {
  const page = await world.page()
  const name = 'extents'
  /** Runs `work`, opens the database again, and tells what is wrong with it. */
  const doing = (work) =>
    page.evaluate(
      async ([name, work]) => {
        const vector = (row, turn) =>
          Float32Array.from({ length: 64 }, (_, i) => Math.sin(row * 64 + i + turn * 1e6))
        let db = await globalThis.asteroid.open(name, { dim: 64, storage: 'indexeddb' })
        globalThis.state ??= { rows: new Set(), turns: new Map() }
        const { rows, turns } = globalThis.state
        await new Function('db', 'rows', 'turns', 'vector', `return (async () => { ${work} })()`)(
          db,
          rows,
          turns,
          vector,
        )
        await db.close()
        db = await globalThis.asteroid.open(name, { storage: 'indexeddb' })
        const wrong = []
        for await (const row of db.scan({ include: ['vector'] })) {
          const wanted = vector(row.id, turns.get(row.id) ?? 0)
          if (!rows.has(row.id) || row.vector.some((x, i) => x !== wanted[i])) wrong.push(row.id)
        }
        const { problems } = await db.check()
        const missing = rows.size - (await db.count())
        await db.close()
        return { wrong, problems, missing }
      },
      [name, work],
    )
  const sound = { wrong: [], problems: [], missing: 0 }
  const built = await doing(`
    for (let row = 0; row < 20000; row++) rows.add(row)
    await db.bulkBuild([...rows].map((row) => vector(row, 0)))
  `)
  assert.deepEqual(built, sound)
  const whole = await page.evaluate(storedAs, name)
  const of = (keys, file) => keys.filter(([name]) => name === file).length
  assert.equal(of(whole.extents, 'vectors'), 2)
  assert.equal(of(whole.pages, 'vectors'), 0)

  const changed = await doing(`
    for (let row = 7; row < 20000; row += 997) {
      turns.set(row, 1)
      await db.upsert(row, vector(row, 1))
    }
  `)
  assert.deepEqual(changed, sound)
  const over = await page.evaluate(storedAs, name)
  assert.ok(over.pages.length > whole.pages.length && over.extents.length >= whole.extents.length)

  const cut = await doing(`
    const gone = [...rows].filter((row) => row % 8)
    for (const row of gone) rows.delete(row)
    await db.deleteMany(gone)
    await db.compact()
  `)
  assert.deepEqual(cut, sound)
  const grown = await doing(`
    const ids = Array.from({ length: 6000 }, (_, i) => 30000 + i)
    for (const row of ids) rows.add(row)
    await db.insertMany({ ids, vectors: ids.map((row) => vector(row, 0)) })
  `)
  assert.deepEqual(grown, sound)
  await page.close()
})

test('indexeddb: what is stored is what was written, in whatever order of writes, cuts and syncs', async (t) => {
  t.diagnostic(`ASTEROID_SEED=${seed}`)
  const page = await world.page()
  const steps = Array.from({ length: 1_500 }, seeded(seed))
  const found = await page.evaluate(async (numbers) => {
    const { openFiles } = await import('/wasm/js/worker/mirror.mjs')
    let at = 0
    const next = (below) => Math.floor(numbers[at++ % numbers.length] * below)
    const models = Array.from({ length: 5 }, () => ({ bytes: new Uint8Array(16 << 20), size: 0 }))
    let mirror = await openFiles('model')
    const seen = { large: 0, apart: 0, torn: 0 }
    for (let step = 0; step < 240; step++) {
      const number = 3 + next(2)
      const [file, model] = [mirror.files[number], models[number]]
      const kind = next(10)
      if (kind < 5) {
        const from = next(kind < 2 ? 1 << 20 : Math.min(model.size + 50_000, 10 << 20))
        const data = new Uint8Array(kind < 2 ? 2e6 + next(4e6) : 1 + next(60_000)).fill(step + 1)
        file.write(from, data)
        model.bytes.set(data, from)
        model.size = Math.max(model.size, from + data.length)
      } else if (kind < 7) {
        const size = next(12 << 20)
        if (size < model.size) model.bytes.fill(0, size)
        if ([...file.whole].some((extent) => extent === Math.floor(size / (4 << 20)))) seen.torn++
        file.setLen(size)
        model.size = size
      } else await mirror.settled(kind === 7)
      seen.large += file.whole.size
      for (const pages of file.apart.values()) seen.apart += pages.size
      if (kind !== 9) continue
      await mirror.settled(false)
      mirror.close()
      mirror = await openFiles('model')
      for (const [number, { bytes, size }] of models.entries()) {
        const out = new Uint8Array(size)
        mirror.files[number].read(0, out)
        const wrong = out.findIndex((byte, i) => byte !== bytes[i])
        if (mirror.files[number].len() !== size || wrong >= 0) return { step, number, size, wrong }
        // Beyond its end a file holds nothing: it may grow again.
        if (mirror.files[number].bytes.subarray(size).some((byte) => byte !== 0))
          return { step, number, size }
      }
    }
    return seen
  }, steps)
  assert.ok(found.large > 0 && found.apart > 0 && found.torn > 0, JSON.stringify(found))
  await page.close()
})

test('indexeddb: a database from before there were extents opens, and gets them', async () => {
  const page = await world.page()
  const found = await page.evaluate(async () => {
    const answer = (request) => new Promise((done) => (request.onsuccess = () => done(request.result)))
    const options = { dim: 64, storage: 'indexeddb' }
    const vector = (row) => Float32Array.from({ length: 64 }, (_, i) => Math.sin(row * 64 + i))
    const vectors = Array.from({ length: 6000 }, (_, row) => vector(row))
    let db = await globalThis.asteroid.open('newer', options)
    await db.bulkBuild(vectors)
    await db.close()
    const from = await answer(indexedDB.open('asteroid-db:newer'))
    const making = indexedDB.open('asteroid-db:older', 1)
    making.onupgradeneeded = () => {
      for (const store of ['sizes', 'pages']) making.result.createObjectStore(store)
    }
    const to = await answer(making)
    const reading = from.transaction(['sizes', 'pages', 'extents'])
    const contents = {}
    for (const store of ['sizes', 'pages', 'extents']) {
      const source = reading.objectStore(store)
      const [keys, values] = await Promise.all([answer(source.getAllKeys()), answer(source.getAll())])
      contents[store] = keys.map((key, at) => [key, values[at]])
    }
    const pages = to.transaction(['sizes', 'pages'], 'readwrite')
    for (const [key, size] of contents.sizes) pages.objectStore('sizes').put(size, key)
    for (const [[file, extent], bytes] of contents.extents) {
      for (let at = 0; at < bytes.length; at += 16_384) {
        const key = [file, extent * 256 + at / 16_384]
        pages.objectStore('pages').put(bytes.slice(at, at + 16_384), key)
      }
    }
    for (const [key, bytes] of contents.pages) pages.objectStore('pages').put(bytes, key)
    await new Promise((done) => {
      pages.oncomplete = done
    })
    from.close()
    to.close()
    db = await globalThis.asteroid.open('older', { storage: 'indexeddb' })
    const before = await db.check()
    const count = await db.count()
    await db.upsertMany({ ids: [...vectors.keys()], vectors })
    await db.close()
    db = await globalThis.asteroid.open('older', { storage: 'indexeddb' })
    const after = await db.check()
    const row = await db.get(4321)
    await db.close()
    return {
      problems: [...before.problems, ...after.problems],
      count,
      same: row.vector.every((x, i) => x === vectors[4321][i]),
    }
  })
  assert.deepEqual(found, { problems: [], count: 6000, same: true })
  const { extents } = await page.evaluate(storedAs, 'older')
  assert.ok(extents.length > 0)
  await page.close()
})

for (const storage of ['opfs', 'indexeddb']) {
  test(`${storage}: no killed process or closed page loses or harms what was acknowledged`, async (t) => {
    t.diagnostic(`ASTEROID_SEED=${seed}`)
    const next = seeded(seed)
    const name = `killed ${storage}`
    let first = 0
    let midway = 0
    for (let round = 0; round < kills; round++) {
      const page = await world.page()
      let acknowledged = -1
      await page.exposeFunction('acknowledged', (write) => {
        acknowledged = write
      })
      await page.evaluate(writeOn, [name, storage, first])
      await new Promise((resolve) => setTimeout(resolve, 50 + next() * 600))
      const before = acknowledged
      await cutOff(page, round)
      const after = await world.page()
      const { rows, wrong, problems, used, found } = await after.evaluate(inspect, [name, storage])
      await after.close()
      assert.deepEqual([problems, wrong, used], [[], 0, storage], `round ${round}`)
      assert.ok(rows.length > before, `write ${before} was acknowledged, ${rows.length} are there`)
      for (const [write, count] of rows.entries()) {
        assert.equal(count, write % 6 === 5 ? 150 : 1, `rows of write ${write} of ${rows.length}`)
      }
      if (rows.length > 0) assert.ok(found >= Math.min(5, rows.length))
      if (rows.length > first) midway++
      first = rows.length
    }
    assert.ok(midway > kills / 2, `only ${midway} of ${kills} kills came between writes`)
  })

  test(`${storage}: it is there after the browser was ended and begun again`, async () => {
    const page = await world.page()
    const name = `restarted ${storage}`
    await page.evaluate(
      async ([name, storage]) => {
        const db = await globalThis.asteroid.open(name, { dim: 4, storage })
        await db.insertMany({ vectors: Float32Array.from({ length: 4000 }, (_, i) => i) })
        await db.flush()
      },
      [name, storage],
    )
    await world.restart()
    const again = await world.page()
    const result = await again.evaluate(
      async ([name, storage]) => {
        const db = await globalThis.asteroid.open(name, { storage })
        const { ok } = await db.check()
        const count = await db.count()
        const [{ id, distance }] = await db.search([40, 41, 42, 43], { k: 1 })
        await db.close()
        return { ok, count, id, distance }
      },
      [name, storage],
    )
    assert.deepEqual(result, { ok: true, count: 1000, id: 10, distance: 0 })
    await again.close()
  })

  test(`${storage}: a full quota refuses a write whole, and room makes writes work again`, async () => {
    const page = await world.page()
    const tools = await world.context.newCDPSession(page)
    const origin = world.url.slice(0, -1)
    const used = async () => (await tools.send('Storage.getUsageAndQuota', { origin })).usage
    const name = `full ${storage}`
    await page.evaluate(
      async ([name, storage]) => {
        globalThis.db = await globalThis.asteroid.open(name, { dim: 256, storage })
        globalThis.block = (seed) =>
          Float32Array.from({ length: 256 * 400 }, (_, i) => Math.sin(seed * 1e6 + i))
        await globalThis.db.insertMany({ vectors: globalThis.block(0) })
        await globalThis.db.flush()
      },
      [name, storage],
    )
    await tools.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: (await used()) + 3e6 })
    const refused = await page.evaluate(async () => {
      let kept = 1
      try {
        while (kept < 400) {
          await globalThis.db.insertMany({ vectors: globalThis.block(kept) })
          kept++
          await globalThis.db.flush()
        }
        return { kept }
      } catch (error) {
        return { kept, code: error.code, message: error.message, count: await globalThis.db.count() }
      }
    })
    assert.equal(refused.code, 'STORAGE_FULL', JSON.stringify(refused))
    assert.equal(refused.count, refused.kept * 400)
    await tools.send('Storage.overrideQuotaForOrigin', { origin })
    const after = await page.evaluate(
      async ([name, storage]) => {
        let code
        try {
          await globalThis.db.insertMany({ vectors: globalThis.block(1000) })
        } catch (error) {
          // A write that failed where it could not be taken back asks for the database to be opened again.
          code = error.code
          await globalThis.db.close().catch(() => {})
          globalThis.db = await globalThis.asteroid.open(name, { storage })
          await globalThis.db.insertMany({ vectors: globalThis.block(1000) })
        }
        const { problems } = await globalThis.db.check()
        const count = await globalThis.db.count()
        await globalThis.db.close()
        return { code, problems, count }
      },
      [name, storage],
    )
    assert.ok([undefined, 'POISONED'].includes(after.code), after.code)
    assert.deepEqual([after.problems, after.count], [[], (refused.kept + 1) * 400])
    await page.close()
  })
}
