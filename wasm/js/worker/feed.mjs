// The pieces of an exported file, between the page that sends them and the import that takes one at a time.
import { Failure } from './failures.mjs'

export class Feed {
  #pieces = []
  #ended = false
  #gaveUp = false
  #stopped = false
  #wake

  /** Resolves when the piece has been used: to false where no more are wanted. */
  put(bytes) {
    if (this.#stopped) return false
    return new Promise((used) => {
      this.#pieces.push({ bytes, used })
      this.#wake?.()
    })
  }

  end() {
    this.#ended = true
    this.#wake?.()
  }

  giveUp() {
    this.#gaveUp = true
    this.#wake?.()
  }

  /** The next piece, whose `used` the taker calls; `undefined` after the last. */
  async take() {
    for (;;) {
      if (this.#gaveUp) throw new Failure('ABORTED', 'the import was given up; nothing of it was kept')
      if (this.#pieces.length > 0) return this.#pieces.shift()
      if (this.#ended) return undefined
      await new Promise((wake) => {
        this.#wake = wake
      })
    }
  }

  /** No more pieces are wanted. */
  stop() {
    this.#stopped = true
    for (const { used } of this.#pieces.splice(0)) used(false)
  }
}
