// The shared specification in Chromium: over OPFS, over IndexedDB, in memory. Needs `npm run build:wasm`.
import assert from 'node:assert/strict'
import test from 'node:test'
import { browser } from './browser/chromium.mjs'
import { specification } from './spec/all.mjs'

const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
const only = process.env.ASTEROID_ONLY
const world = await browser()
test.after(() => world.close())

for (const storage of ['opfs', 'indexeddb', 'memory']) {
  test(storage, async (t) => {
    t.diagnostic(`ASTEROID_SEED=${seed}`)
    const page = await world.page()
    const said = []
    page.on('console', (message) => said.push(message.text()))
    page.on('pageerror', (error) => said.push(error.stack))
    await page.addScriptTag({
      type: 'importmap',
      content: '{ "imports": { "chai": "/node_modules/chai/index.js" } }',
    })
    for (const [name] of specification) {
      if (only && !name.includes(only)) continue
      await t.test(name, async () => {
        said.length = 0
        const failure = await page.evaluate(
          async ([storage, name, seed]) => {
            const { runTest, specification } = await import('/tests/js/spec/all.mjs')
            const { open, AsteroidError } = globalThis.asteroid
            globalThis.run = (globalThis.run ?? 0) + 1
            const host = {
              open,
              AsteroidError,
              storage,
              options: storage === 'memory' ? {} : { storage },
              place: (number) => `spec/${storage} ${globalThis.run} ${number}`,
              seed,
              shares: true,
            }
            try {
              await runTest(host, new Map(specification).get(name))
            } catch (error) {
              let text = ''
              for (let at = error; at; at = at.cause) text += `${at.stack ?? at}\n`
              return text
            }
          },
          [storage, name, seed],
        )
        assert.equal(failure, undefined, [failure, ...said].join('\n'))
      })
    }
    await page.close()
  })
}
