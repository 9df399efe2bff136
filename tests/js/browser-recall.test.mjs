// All movies in the browser: found as exactly as in Node, and still there after a reload. Needs the addon and
// `npm run build:wasm`.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { open } from 'asteroid-db'
import { browser, serve } from './browser/chromium.mjs'
import { assertSameHits } from './browser/hits.mjs'
import { loadDataset, missing, recallOf } from './datasets.mjs'

const ROWS = 50_000
const SEED = 7
const SEARCH = { k: 10, efSearch: 100 }

const skip = missing('movies')
const set = skip ? undefined : loadDataset('movies', { rows: ROWS })
const folder = mkdtempSync(join(tmpdir(), 'asteroid-browser-recall-'))
if (set) for (const name of ['base', 'queries']) writeFileSync(join(folder, name), set[name])
const data = await serve(folder, { headers: { 'access-control-allow-origin': '*' } })
const world = await browser()
test.after(async () => {
  await world.close()
  data.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Writes all rows with `method`, searches, and downloads the database as one file. */
async function build([data, method, options, search]) {
  const numbers = async (name) => new Float32Array(await (await fetch(data + name)).arrayBuffer())
  const [base, queries] = [await numbers('base'), await numbers('queries')]
  const db = await globalThis.asteroid.open('all movies', options)
  await db[method](method === 'insertMany' ? { vectors: base } : base)
  await db.flush()
  const lists = await db.searchMany(queries, search)
  const link = document.createElement('a')
  link.download = 'all.asteroid'
  link.href = URL.createObjectURL(await new Response(db.export()).blob())
  link.click()
  return lists
}

/** What is there now: rows, what is wrong with them, the results of all queries. */
async function look([data, storage, search]) {
  const queries = new Float32Array(await (await fetch(`${data}queries`)).arrayBuffer())
  const db = await globalThis.asteroid.open('all movies', { storage })
  const lists = await db.searchMany(queries, search)
  const { problems } = await db.check()
  const { rows, storage: used } = await db.stats()
  await db.close()
  return { lists, problems, rows, used }
}

/** What the package finds in Node, in the same graph. A graph that Node builds itself differs where last digits decide. */
async function inNode(file) {
  const db = await open(':memory:', { from: file })
  try {
    return await db.searchMany(set.queries, SEARCH)
  } finally {
    await db.close()
  }
}

for (const [method, storage] of [
  ['insertMany', 'opfs'],
  ['bulkBuild', 'indexeddb'],
]) {
  test(`all movies by ${method} in ${storage}`, { skip }, async () => {
    const config = { dim: set.dim, metric: set.metric, seed: SEED }
    const page = await world.page()
    const download = page.waitForEvent('download', { timeout: 0 })
    const lists = await page.evaluate(build, [data.url, method, { ...config, storage }, SEARCH])
    const recall = recallOf(set, lists)
    console.log(`recall in the browser, ${method}, ${storage}: ${recall.toFixed(4)} of ${set.rows} movies`)
    assert.ok(recall >= 0.95, `recall@10 is ${recall}`)

    const file = join(folder, `${method}.asteroid`)
    await (await download).saveAs(file)
    await world.load(page)
    const after = await page.evaluate(look, [data.url, storage, SEARCH])
    assert.deepEqual([after.rows, after.used, after.problems], [set.rows, storage, []])
    assert.deepEqual(after.lists, lists)
    await page.close()

    assertSameHits(lists, await inNode(file))
  })
}
