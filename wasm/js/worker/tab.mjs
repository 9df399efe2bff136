// One page's part in a database: it leads or it follows, and which of the two may change at any time.
import { Feed } from './feed.mjs'
import { Follower } from './follower.mjs'
import { Leader } from './leader.mjs'
import { lockWithin, nameOf, tryLock } from './locks.mjs'
import { textOf } from './session.mjs'

const MEMORY = ':memory:'
/** How long a database that is in use is waited for by who wants it alone: a page just left may still hold it. */
const PATIENCE_MS = 1_500

export class Tab {
  #post
  #role
  #args
  #urls
  /** What the page sent while there was no role. */
  #waiting = []
  /** Changes of the role, one at a time. */
  #moves = Promise.resolve()
  #dead
  /** The exported file that the database is made of, and the call that opens it. */
  #feed
  #importing

  constructor(post) {
    this.#post = post
  }

  receive(message) {
    if (message.ping) return this.#post({})
    if (message.op === 'open') return this.#answer(message, () => this.#open(message))
    if (message.op === 'feed') return this.#answer(message, () => this.#feed.put(message.args[0]))
    if (message.feed) return this.#feed[message.feed]()
    if (message.abort !== undefined && message.abort === this.#importing) return this.#feed.giveUp()
    if (message.away) return this.#move(() => this.#away())
    if (message.back) return this.#move(() => this.#back())
    if (this.#dead && message.op) return this.#post({ id: message.id, error: this.#dead })
    if (!this.#role) return this.#waiting.push(message)
    // A follower's leader finishes what this tab began; a leader goes.
    if (message.op === 'close' && this.#role instanceof Leader) {
      return this.#answer(message, () => this.#role.leave(this.#call(message.id)))
    }
    this.#role.receive(message)
  }

  #call(id) {
    return { id, aborted: false, send: this.#post }
  }

  #move(change) {
    this.#moves = this.#moves.then(change).catch((error) => this.#fail(error))
  }

  /** Nothing can be answered any more. */
  #fail(error) {
    this.#dead = textOf(error)
    this.#role = undefined
    for (const { id, op } of this.#waiting.splice(0)) if (op) this.#post({ id, error: this.#dead })
  }

  async #answer({ id }, work) {
    try {
      this.#post({ id, ok: await work() })
    } catch (error) {
      this.#post({ id, error: textOf(error) })
    }
  }

  #open({ id, args: [args, urls, from] }) {
    this.#args = args
    this.#urls = urls
    if (from) {
      this.#feed = new Feed()
      this.#importing = id
    }
    const joined = this.#join(this.#call(id), this.#feed)
    this.#moves = joined.catch(() => {})
    return joined
  }

  /** Leads where nobody does, else follows. Answers with the facts about the database. */
  async #join(call, feed) {
    const { path, readOnly, reinit } = this.#args
    if (path === MEMORY) return this.#lead(call, undefined, feed)
    const free = await tryLock(nameOf(path))
    if (free) return this.#lead(call, free, feed)
    if (readOnly || reinit || feed) {
      return this.#lead(call, await lockWithin(nameOf(path), PATIENCE_MS, `the database ${path}`), feed)
    }
    const follower = new Follower(this.#args, this.#post)
    const facts = follower.follow((release, resolve, reject) => {
      // While a move is awaited, as in opening, the promise of that move hears of it.
      this.#promote(call, follower, release).then(resolve, (error) => {
        this.#fail(error)
        reject(error)
      })
    })
    this.#take(follower)
    try {
      return await facts
    } catch (error) {
      follower.end()
      throw error
    }
  }

  async #lead(call, release, feed) {
    const leader = new Leader(this.#post)
    const facts = await leader.open(call, this.#args, this.#urls, release, feed)
    this.#args = { ...this.#args, reinit: undefined }
    this.#take(leader)
    return facts
  }

  #take(role) {
    this.#role = role
    for (const message of this.#waiting.splice(0)) this.receive(message)
  }

  /** The old leader is gone, and the lock is this tab's. */
  #promote(call, follower, release) {
    this.#drop(follower)
    return this.#lead(call, release)
  }

  #drop(follower) {
    this.#role = undefined
    follower.end()
    this.#waiting.unshift(...follower.unanswered())
  }

  /** The page is put to sleep: somebody who is awake must be able to hold the database. */
  async #away() {
    const role = this.#role
    if (!role || this.#dead || this.#args.path === MEMORY) return
    if (role instanceof Follower) return this.#drop(role)
    this.#role = undefined
    await role.leave(this.#call())
  }

  async #back() {
    if (!this.#role && !this.#dead && this.#args) await this.#join(this.#call())
  }
}
