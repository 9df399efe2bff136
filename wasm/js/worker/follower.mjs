// A tab that does not hold the database: passes its page's calls to the one that does, and takes over when that goes.
import { Failure } from './failures.mjs'
import { nameOf, request, tryLock } from './locks.mjs'

const HELLO_MS = 250
/** Calls whose columns come on a stage, which their first argument names. */
const STAGED = new Set(['insertMany', 'deleteMany', 'getMany', 'searchMany', 'bulkBuild'])

/** Calls that go on with something that ends with its leader, and what that is. */
const ONGOING = new Map([
  ['scanNext', 'scan'],
  ['exportMeasure', 'export'],
  ['exportNext', 'export'],
])

/** Whether a call that may have been made may be made again. */
function repeatable({ op, args }) {
  if (op === 'insert') return args[0] === true
  if (op === 'insertMany') return args[1] === true
  return !['delete', 'deleteMany', 'deleteWhere', 'bulkBuild', ...ONGOING.keys()].includes(op)
}

export class Follower {
  #args
  #post
  #id = crypto.randomUUID()
  #leader
  #common
  #pair
  #alive
  #stop = new AbortController()
  #hello
  /** Calls without an answer, and the columns that came for them. */
  #calls = new Map()
  #stages = new Map()

  constructor(args, post) {
    this.#args = args
    this.#post = post
  }

  /** Resolves to the facts when a leader has welcomed this tab. `promoted` is called with what lets go of the lock. */
  async follow(promoted) {
    const { path } = this.#args
    this.#common = new BroadcastChannel(nameOf(path))
    this.#pair = new BroadcastChannel(nameOf(path, this.#id))
    this.#alive = await tryLock(nameOf(path, this.#id))
    return new Promise((resolve, reject) => {
      this.#pair.onmessage = ({ data }) => {
        if (data.refused) return reject(new Error(data.refused))
        if (data.welcome) this.#welcome(data.welcome, data.facts, resolve)
        else if (data.leaving) this.#left(data.leaving)
        else if (data.reply) this.#reply(data.reply)
      }
      this.#common.onmessage = ({ data }) => data.lead && this.#greet()
      request(nameOf(path), { signal: this.#stop.signal }, (release) => {
        if (this.#stop.signal.aborted) return release()
        promoted(release, resolve, reject)
      }).catch((cause) => {
        if (!this.#stop.signal.aborted)
          reject(new Failure('IO', 'the browser refused a lock for the database', cause))
      })
      this.#greet()
    })
  }

  /** Says hello until somebody answers. */
  #greet() {
    this.#leader = undefined
    clearInterval(this.#hello)
    const hello = () => this.#common.postMessage({ hello: this.#id, args: this.#args })
    this.#hello = setInterval(hello, HELLO_MS)
    hello()
  }

  #welcome(leader, facts, resolve) {
    if (this.#leader === leader) return
    clearInterval(this.#hello)
    this.#leader = leader
    resolve(facts)
    for (const message of this.unanswered()) this.#send(message)
  }

  #send(message) {
    if (this.#leader) this.#pair.postMessage({ to: this.#leader, message })
  }

  /** Passes on what the page sent. */
  receive(message) {
    if (message.stage !== undefined) {
      if (!this.#stages.has(message.stage)) this.#stages.set(message.stage, [])
      this.#stages.get(message.stage).push(message)
    } else if (message.op) {
      this.#calls.set(message.id, { message, sent: this.#leader !== undefined, aborted: false })
    } else if (message.abort !== undefined) {
      const call = this.#calls.get(message.abort)
      if (call) call.aborted = true
    }
    this.#send(message)
  }

  #reply(reply) {
    if (reply.id !== undefined && !reply.progress) this.#forget(reply.id)
    this.#post(reply)
  }

  #forget(id) {
    const call = this.#calls.get(id)
    if (call && STAGED.has(call.message.op)) this.#stages.delete(call.message.args[0])
    this.#calls.delete(id)
  }

  /** The leader goes and names the calls that it still answers: it never took the others. */
  #left(answered) {
    this.#leader = undefined
    for (const [id, call] of this.#calls) if (!answered.includes(id)) call.sent = false
  }

  /**
   * What has to be said again to a new leader, in the order of the calls. Writes that the old one may have made, and that
   * would do something else the second time, are answered here: nobody knows.
   */
  unanswered() {
    const messages = []
    const named = new Set()
    for (const [id, call] of this.#calls) {
      const { message } = call
      if (call.sent && !repeatable(message)) {
        const ongoing = ONGOING.get(message.op)
        const what = ongoing ? `begin the ${ongoing} again` : 'look whether it was kept, then repeat it'
        this.#reply({ id, error: `IO\nthe tab that held the database ended before it answered: ${what}` })
        continue
      }
      call.sent = true
      messages.push(message)
      if (call.aborted) messages.push({ abort: id })
      if (STAGED.has(message.op)) {
        named.add(message.args[0])
        messages.push(...(this.#stages.get(message.args[0]) ?? []))
      }
    }
    // Columns that came before the call that takes them.
    for (const [stage, columns] of this.#stages) if (!named.has(stage)) messages.push(...columns)
    return messages
  }

  /** Ends it; the page's calls are somebody else's from now on. */
  end() {
    this.#stop.abort()
    clearInterval(this.#hello)
    this.#common?.close()
    this.#pair?.close()
    this.#alive?.()
  }
}
