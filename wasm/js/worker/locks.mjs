// Web Locks: who holds a database, and who is alive.
import { Failure } from './failures.mjs'

/** The names of locks and channels. */
export const nameOf = (path, tab) => (tab ? `asteroid-db:${path}:${tab}` : `asteroid-db:${path}`)

/** Requests a lock; `taken` is called with what lets go of it. Rejects where the browser refuses or `signal` fires. */
export function request(name, options, taken) {
  return navigator.locks.request(name, options, (lock) => lock && new Promise((release) => taken(release)))
}

/** Takes a lock if it is free: what lets go of it, or `undefined`. */
export function tryLock(name) {
  return new Promise((resolve, reject) => {
    request(name, { ifAvailable: true }, resolve).then(
      () => resolve(undefined),
      (cause) => reject(new Failure('IO', 'the browser refused a lock for the database', cause)),
    )
  })
}

/** Takes a lock within `patience` milliseconds; `LOCKED` after that. */
export function lockWithin(name, patience, what) {
  return new Promise((resolve, reject) => {
    request(name, { signal: AbortSignal.timeout(patience) }, resolve).catch((cause) => {
      const busy = cause.name === 'AbortError' || cause.name === 'TimeoutError'
      reject(
        busy
          ? new Failure('LOCKED', `${what} is in use by another tab or handle; close it there`)
          : new Failure('IO', 'the browser refused a lock for the database', cause),
      )
    })
  })
}
