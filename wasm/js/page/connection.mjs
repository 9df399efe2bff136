// Calls to the worker: numbered, answered once, and never waited for in vain.
//
// To the worker:   { id, op, args, url? }  { abort: id }  { stage, kind, data }  { ping }
// From the worker: { id, ok }  { id, error }  { id, progress }  {} (it is alive)

/** Silence after which the worker is asked whether it is alive, and after which it is given up. Long calls report. */
const ASK_MS = 20_000
const GIVE_UP_MS = 40_000
const LOOK_MS = 2_000

export class Connection {
  #worker
  #pending = new Map()
  #last = 0
  #heard = 0
  #looked = 0
  #asked = false
  #spoke = false
  #timer
  #dead
  /** Called once when it is over. */
  ended

  constructor(worker) {
    this.#worker = worker
    worker.onmessage = ({ data }) => this.#take(data)
    worker.onmessageerror = () => this.fail('IO\na message of the worker could not be read')
    worker.onerror = (event) => {
      event.preventDefault?.()
      this.fail(
        this.#spoke
          ? `IO\nthe database's worker stopped (${event.message ?? 'no reason given'}): open the database again`
          : `IO\nthe database's worker could not be started (${event.message ?? 'its file may not be served'}): serve worker.mjs and name it in workerUrl, or import 'asteroid-db/inline'`,
      )
    }
  }

  nextId() {
    return ++this.#last
  }

  post(message, transfer = []) {
    if (!this.#dead) this.#worker.postMessage(message, transfer)
  }

  /**
   * Makes a call. `flag` aborts it, `report` hears of its progress. A call that keeps the worker's one thread to itself
   * (`alone`) hears of an abort by a URL that is taken back: its worker reads no messages meanwhile.
   */
  call(op, args, { transfer, flag, report, alone, id = this.nextId() } = {}) {
    if (this.#dead) return Promise.reject(new Error(this.#dead))
    return new Promise((resolve, reject) => {
      const url = flag && alone ? URL.createObjectURL(new Blob([])) : undefined
      const abort = () => {
        this.post({ abort: id })
        if (url) URL.revokeObjectURL(url)
      }
      const settled = () => {
        flag?.heard.delete(abort)
        if (url) URL.revokeObjectURL(url)
      }
      this.#pending.set(id, { resolve, reject, report, settled })
      this.#watch()
      this.post({ id, op, args, url }, transfer)
      flag?.heard.add(abort)
      if (flag?.aborted) abort()
    })
  }

  #take({ id, ok, error, progress }) {
    this.#heard = performance.now()
    this.#asked = false
    this.#spoke = true
    const call = this.#pending.get(id)
    if (!call) return
    if (progress) return call.report?.(...progress)
    this.#pending.delete(id)
    call.settled()
    if (error === undefined) call.resolve(ok)
    else call.reject(new Error(error))
  }

  #watch() {
    if (this.#pending.size > 1 || this.#timer) return
    this.#heard = performance.now()
    this.#looked = this.#heard
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  #look() {
    const now = performance.now()
    // A page that was frozen or a machine that slept: the worker was too, and starts anew.
    if (now - this.#looked > 3 * LOOK_MS) this.#heard = now
    this.#looked = now
    if (this.#pending.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    } else if (now - this.#heard > GIVE_UP_MS) {
      this.fail(
        `IO\nthe database's worker has been silent for ${GIVE_UP_MS / 1000} s: open the database again`,
      )
    } else if (now - this.#heard > ASK_MS && !this.#asked) {
      this.#asked = true
      this.post({ ping: true })
    }
  }

  /** Ends everything: what was called and what will be called rejects with `error` (its code, a newline, why). */
  fail(error) {
    if (this.#dead) return
    this.#dead = error
    clearInterval(this.#timer)
    this.#worker.terminate()
    this.ended?.()
    for (const call of this.#pending.values()) {
      call.settled()
      call.reject(new Error(error))
    }
    this.#pending.clear()
  }
}
