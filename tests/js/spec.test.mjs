// The shared specification in Node, on disk and in memory. In browsers: browser.test.mjs.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { AsteroidError, open } from 'asteroid-db'
import { runTest, specification } from './spec/all.mjs'

const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))

for (const storage of ['redb', 'memory']) {
  for (const [name, run] of specification) {
    test(`${storage}: ${name}`, async (t) => {
      t.diagnostic(`ASTEROID_SEED=${seed}`)
      const root = mkdtempSync(join(tmpdir(), 'asteroid-spec-'))
      t.after(() => rmSync(root, { recursive: true, force: true }))
      const place = (number) => join(root, `db${number}`)
      await runTest({ open, AsteroidError, storage, options: {}, place, seed }, run)
    })
  }
}
