'use strict'

// Outcomes of writes of one row. The addon says whether to look for them from turn to turn of the event loop, as being woken
// takes longer than a short write.
const { setImmediate } = require('node:timers')

/** What waits for outcomes of one database. */
class Writes {
  #addon
  #waiting = new Map()
  #looking = false

  constructor(addon) {
    this.#addon = addon
  }

  /** The promise of a write that the addon gave this ticket: whether there was a row, for those that tell. */
  settled(ticket) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(ticket, { resolve, reject })
      if (this.#looking) return
      this.#looking = true
      // Never in the same turn of the event loop: a loop of writes would keep timers and sockets waiting for ever.
      setImmediate(this.#look)
    })
  }

  #look = () => {
    let outcome = this.#addon.settled(true)
    while (outcome !== undefined && outcome !== null) {
      this.#settle(outcome)
      outcome = this.#waiting.size > 0 ? this.#addon.settled(false) : undefined
    }
    if (outcome === null) this.#addon.wake().then(this.#look)
    else if (this.#waiting.size > 0) setImmediate(this.#look)
    else this.#looking = false
  }

  #settle(outcome) {
    const failed = typeof outcome === 'object'
    const was = !failed && outcome % 2 === 1
    const ticket = failed ? outcome.ticket : (outcome - was) / 2
    const { resolve, reject } = this.#waiting.get(ticket)
    this.#waiting.delete(ticket)
    if (failed) reject(new Error(outcome.text))
    else resolve(was)
  }
}

module.exports = { Writes }
