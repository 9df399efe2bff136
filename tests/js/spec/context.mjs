// What every test of the shared specification gets, whatever host it runs on.
import { assert } from 'chai'
import { seeded } from '../random.mjs'

export { vectors } from '../random.mjs'

/** Rows `from` the nearest to `query` on, by measuring all of them. */
export function nearest(all, dim, query, k) {
  const far = []
  for (let at = 0; at * dim < all.length; at++) {
    let sum = 0
    for (let i = 0; i < dim; i++) sum += (all[at * dim + i] - query[i]) ** 2
    far.push([Math.sqrt(sum), at])
  }
  return far.sort((a, b) => a[0] - b[0]).slice(0, k)
}

/** One run of one test: what it opens is checked and closed after it. */
export class Context {
  #host
  #open = []
  #names = 0

  /** `host` is { open, AsteroidError, storage, options, place(number), seed, shares }. */
  constructor(host) {
    this.#host = host
    this.assert = assert
    this.AsteroidError = host.AsteroidError
    this.persistent = host.storage !== 'memory'
    this.storage = host.storage
    this.shares = host.shares
    this.next = seeded(host.seed)
  }

  /** A place where no database is yet. */
  place() {
    return this.persistent ? this.#host.place(this.#names++) : ':memory:'
  }

  async open(options, place = this.place()) {
    const db = await this.#host.open(place, { dim: 4, ...this.#host.options, ...options })
    this.#open.push(db)
    return db
  }

  /** Opens again what was made with the options given then. */
  reopen(db, options) {
    return this.open({ dim: undefined, ...options }, db.path)
  }

  async rejects(code, call, message = /./) {
    let promise
    try {
      promise = call()
    } catch (error) {
      assert.fail(`the call threw instead of rejecting: ${error}`)
    }
    const error = await promise.then(
      (value) => assert.fail(`resolved to ${String(value)} instead of rejecting with ${code}`),
      (error) => error,
    )
    assert.instanceOf(error, this.AsteroidError, String(error?.stack ?? error))
    assert.equal(error.code, code, error.stack)
    assert.match(error.message, message)
    return error
  }

  /** Checks and closes what is still open. */
  async end() {
    for (const db of this.#open) {
      if (db.closed) continue
      const { problems } = await db.check()
      await db.close()
      assert.deepEqual(problems, [])
    }
  }
}
