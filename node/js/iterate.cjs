'use strict'

const { AsteroidError, aborted } = require('./errors.cjs')

/** The values of an iterable, until `signal` fires, also while the next one is awaited. */
async function* untilAborted(iterable, signal) {
  const iterator = iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]()
  let giveUp
  const stop = () => giveUp?.(aborted(signal))
  signal?.addEventListener('abort', stop, { once: true })
  let ended = false
  try {
    for (;;) {
      if (signal?.aborted) throw aborted(signal)
      const { done, value } = await new Promise((resolve, reject) => {
        giveUp = reject
        Promise.resolve(iterator.next()).then(resolve, reject)
      })
      if (done) {
        ended = true
        return
      }
      yield await value
    }
  } catch (cause) {
    ended = !signal?.aborted
    if (cause instanceof AsteroidError) throw cause
    throw new AsteroidError(
      'ABORTED',
      `the iterable threw (${cause?.message ?? cause}); nothing of the call was kept`,
      { cause },
    )
  } finally {
    signal?.removeEventListener('abort', stop)
    // Not awaited: a generator that hangs in its own wait would never answer.
    if (!ended) Promise.resolve(iterator.return?.()).catch(() => {})
  }
}

module.exports = { untilAborted }
