// What the tests of the addon share: places on disk, replayable randomness, and what a rejection must be.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { AsteroidError, open } from 'asteroid-db'
import { seeded } from '../../../tests/js/random.mjs'

export { vectors } from '../../../tests/js/random.mjs'

/** What is left to do after each test, in one hook: databases close before their directories go. */
const endings = new WeakMap()

function ending(t) {
  const known = endings.get(t)
  if (known) return known
  const made = { close: [], remove: [] }
  endings.set(t, made)
  t.after(async () => {
    try {
      for (const close of made.close) await close()
    } finally {
      for (const dir of made.remove) rmSync(dir, { recursive: true, force: true })
    }
  })
  return made
}

/** A directory that is gone after the test. */
export function place(t) {
  const dir = mkdtempSync(join(tmpdir(), 'asteroid-test-'))
  ending(t).remove.push(dir)
  return join(dir, 'db')
}

/** The stores that keep a database on disk. */
export const STORES = ['redb', 'rocksdb']

/** Why tests of a store cannot run with this addon; false where they can. */
async function missing(storage) {
  // Refused for the store before anybody looks for the database, which is not there.
  const error = await open('./not there', { storage, readOnly: true }).catch((error) => error)
  return error.code === 'UNSUPPORTED' && 'the addon was built without RocksDB: npm run build'
}
const skipped = Object.fromEntries(await Promise.all(STORES.map(async (each) => [each, await missing(each)])))

/** A test that runs once for each store on disk, which it is given after its context. */
export function testOnStores(name, body) {
  for (const storage of STORES)
    test(`${name} (${storage})`, { skip: skipped[storage] }, (t) => body(t, storage))
}

/** An open database, closed and checked after the test. */
export async function database(t, options, path = ':memory:') {
  const db = await open(path, { dim: 4, ...options })
  ending(t).close.push(async () => {
    if (db.closed) return
    const report = await db.check()
    await db.close()
    assert.deepEqual(report.problems, [])
  })
  return db
}

/** Asserts that a call rejects, not throws, with an `AsteroidError` of this code; gives the error. */
export async function rejects(code, call, message = /./) {
  let promise
  assert.doesNotThrow(() => {
    promise = call()
  }, 'the call threw instead of rejecting')
  const error = await promise.then(
    (value) => assert.fail(`resolved to ${String(value)} instead of rejecting with ${code}`),
    (error) => error,
  )
  assert.ok(error instanceof AsteroidError, `rejected with ${error?.stack ?? error}`)
  assert.equal(error.code, code, error.stack)
  assert.match(error.message, message)
  return error
}

/** Random numbers that replay: the seed is printed, and ASTEROID_SEED sets it. */
export function random(t) {
  const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`ASTEROID_SEED=${seed}`)
  return seeded(seed)
}

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Runs code as a program of its own, with `open`, `path` and `storage` at hand: its exit code, signal and output. */
export function program(path, code, { args = [], storage, timeoutMs = 60_000 } = {}) {
  const given = `const path = ${JSON.stringify(path)}\nconst storage = ${JSON.stringify(storage)}`
  const source = `import { open, AsteroidError } from 'asteroid-db'\n${given}\n${code}`
  const child = spawn(process.execPath, [...args, '--input-type=module', '-e', source], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const result = { code: null, signal: null, out: '', err: '' }
  child.stdout.on('data', (data) => {
    result.out += data
  })
  child.stderr.on('data', (data) => {
    result.err += data
  })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(
        new Error(
          `a child process did not end within ${timeoutMs} ms:\n${source}\n${result.out}${result.err}`,
        ),
      )
    }, timeoutMs)
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      resolve({ ...result, code: status, signal })
    })
  })
}

/** Asserts that a program ended well; gives what it printed, without surrounding space. */
export async function runs(path, code, options) {
  const { code: status, signal, out, err } = await program(path, code, options)
  assert.equal(`${status} ${signal}`, '0 null', `${out}\n${err}`)
  return out.trim()
}
