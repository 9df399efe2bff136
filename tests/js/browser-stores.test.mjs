// The contracts of the stores and of the files below them, in a browser's worker: redb over OPFS and over the images in
// IndexedDB, and what is in memory. Needs `node scripts/build-wasm.mjs --conformance`.
import assert from 'node:assert/strict'
import test from 'node:test'
import { browser } from './browser/chromium.mjs'

const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
const world = await browser()
test.after(() => world.close())
const page = await world.page()

/** What a new worker answers: a trap must not spoil the next sentence. */
const ask = (message) =>
  page.evaluate(
    (message) =>
      new Promise((resolve) => {
        const worker = new Worker('/target/wasm-conformance/worker.mjs', { type: 'module' })
        const answer = (said) => {
          worker.terminate()
          resolve(said)
        }
        worker.onmessage = ({ data }) => answer(data)
        worker.onerror = (event) => answer({ error: `the worker stopped: ${event.message}` })
        worker.postMessage(message)
      }),
    message,
  )

const { ok: sentences, error } = await ask({})
assert.ok(sentences?.length > 20, error)

for (const storage of ['opfs', 'indexeddb', 'memory']) {
  test(storage, async (t) => {
    t.diagnostic(`ASTEROID_SEED=${seed}`)
    let stored = 0
    for (const sentence of sentences) {
      await t.test(sentence, async () => {
        const { ok, error } = await ask({ storage, sentence, seed })
        assert.equal(error, undefined)
        stored += ok
      })
    }
    if (storage !== 'memory') assert.ok(stored > 1e6, `only ${stored} bytes went to ${storage}`)
  })
}
