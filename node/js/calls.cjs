'use strict'

const { AsteroidError, aborted, fromNative } = require('./errors.cjs')
const { native } = require('./native.cjs')

/** Makes an addon call and awaits it; what it throws or rejects with becomes an `AsteroidError`. */
async function settle(call, signal) {
  try {
    return await call()
  } catch (error) {
    throw fromNative(error, signal)
  }
}

/** Runs `call` with an addon flag that is set when `signal` fires. */
async function withSignal(signal, call) {
  if (!signal) return call(undefined)
  if (signal.aborted) throw aborted(signal)
  const flag = new (native().AbortFlag)()
  const abort = () => flag.abort()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await call(flag)
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function progressThrew(cause, consequence) {
  return new AsteroidError('ABORTED', `onProgress threw, ${consequence}`, { cause })
}

/**
 * Stands between the addon and `onProgress`: hands on rising counts alone, and nothing after `end`, as reports may come
 * late. Where `onProgress` throws, `thrown` holds what, and `flag` ends the call.
 */
function progressRelay(onProgress, flag) {
  let last = -1
  const relay = {
    thrown: undefined,
    report(done, total) {
      if (relay.thrown || done <= last) return
      last = done
      try {
        onProgress({ done, total })
      } catch (error) {
        relay.thrown = { error }
        flag.abort()
      }
    },
    end() {
      last = Number.POSITIVE_INFINITY
    },
  }
  return relay
}

/**
 * Runs `call(flag, report)`, which gives what it made and the `total` of its progress. Where `onProgress` throws the call
 * is aborted, or what it made is `complete` already.
 */
async function copying({ signal, onProgress }, complete, call) {
  return withSignal(signal ?? (onProgress && new AbortController().signal), async (flag) => {
    const progress = progressRelay(onProgress, flag)
    let made
    try {
      const { total, ...rest } = await call(flag, onProgress && progress.report)
      made = rest
      if (onProgress) progress.report(total, total)
    } catch (error) {
      if (progress.thrown)
        throw progressThrew(progress.thrown.error, 'which aborted the call; nothing of it was kept')
      throw fromNative(error, signal)
    } finally {
      progress.end()
    }
    if (progress.thrown)
      throw progressThrew(progress.thrown.error, `but the ${complete} was already complete`)
    return made
  })
}

module.exports = { copying, progressRelay, progressThrew, settle, withSignal }
