// What the facade needs of the browser: takes the place of node/js/host.cjs, memory.cjs, files.cjs, at-once.cjs
// and writes.cjs.
import { AsteroidError, invalid, show } from '../../../node/js/errors.cjs'

export const STORES = ['opfs', 'indexeddb', 'redb', 'rocksdb']
const LONGEST_NAME = 100
/** What 32-bit WebAssembly can address, less what the engine itself needs. */
const ADDRESSABLE = 3.75 * 2 ** 30

const encoder = new TextEncoder()

export function byteLength(text) {
  return encoder.encode(text).length
}

export function fileURLToPath(url) {
  throw invalid(`${show(url.href)} names a file: in a browser give the name of a database`)
}

/** The name of a database: `./a/b` and `a/b` are the same. */
export function resolve(path) {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.length === 0 || parts.includes('..')) {
    throw invalid(`${show(path)} names no database: give a name such as 'movies' or 'films/new'`)
  }
  const name = parts.join('/')
  if (encodeURIComponent(name).length > LONGEST_NAME) {
    throw invalid(`the name ${show(path)} is too long for a browser: give at most ${LONGEST_NAME} bytes`)
  }
  return name
}

let channel
const waiting = []

/** Lets the event loop turn once. Timers would wait for 4 ms. */
export function turn() {
  if (!channel) {
    channel = new MessageChannel()
    channel.port1.onmessage = () => waiting.shift()?.()
  }
  return new Promise((done) => {
    waiting.push(done)
    channel.port2.postMessage(null)
  })
}

export function freeMemory() {
  return ADDRESSABLE
}

export async function openVectorFile(path) {
  throw new AsteroidError(
    'UNSUPPORTED',
    `${show(path)}: browsers cannot open files by path; give the numbers, or an iterable of chunks of them`,
  )
}

/** Here the engine is on a thread of its own. */
export function searchNow() {}

/** Here a write's ticket is the promise of its outcome. */
export class Writes {
  settled(promise) {
    return promise
  }
}

export function fileError(_path, error) {
  return error
}
