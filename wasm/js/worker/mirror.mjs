// Files of a database in IndexedDB: kept whole in memory, their changed pages written behind.
//
// What is written goes in one transaction: all pages that changed in any file until it begins, in the order of the
// transactions. So the stored state is always one that the files had together, and never older than what was settled.
import { storageFailure } from './failures.mjs'
import { NAMES } from './opfs.mjs'

const PAGE = 16_384
const LOAD_PAGES = 1_024
const PREFIX = 'asteroid-db:'

/** The growing image of one file. */
class ImageFile {
  bytes = new Uint8Array(PAGE)
  size = 0
  changed = new Set()
  /** Stored pages from this one on are no longer the file's. */
  cut = Number.POSITIVE_INFINITY
  resized = false

  len() {
    return this.size
  }

  read(at, out) {
    const count = Math.max(0, Math.min(out.length, this.size - at))
    out.set(this.bytes.subarray(at, at + count))
    return count
  }

  write(at, data) {
    const end = at + data.length
    if (end > this.size) this.setLen(end)
    this.bytes.set(data, at)
    for (let page = Math.floor(at / PAGE); page * PAGE < end; page++) this.changed.add(page)
    return data.length
  }

  setLen(len) {
    if (len < this.size) {
      this.bytes.fill(0, len, this.size)
      const kept = Math.ceil(len / PAGE)
      for (const page of this.changed) if (page >= kept) this.changed.delete(page)
      if (len % PAGE !== 0) this.changed.add(kept - 1)
      this.cut = Math.min(this.cut, kept)
    } else if (len > this.bytes.length) {
      const larger = new Uint8Array(
        Math.max(len, Math.min(2 * this.bytes.length, this.bytes.length + (64 << 20))),
      )
      larger.set(this.bytes)
      this.bytes = larger
    }
    this.resized ||= len !== this.size
    this.size = len
  }

  /** Files are made durable together, by `settled`. */
  sync() {}

  /** Takes what has to be stored: the changes since the last call. */
  take() {
    const { changed, cut, resized, size } = this
    this.changed = new Set()
    this.cut = Number.POSITIVE_INFINITY
    this.resized = false
    return { pages: [...changed].sort((a, b) => a - b), cut, resized, size }
  }

  page(number) {
    return this.bytes.slice(number * PAGE, (number + 1) * PAGE)
  }
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

function complete(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error)
  })
}

function openDatabase(name) {
  const request = indexedDB.open(PREFIX + name, 1)
  request.onupgradeneeded = () => {
    request.result.createObjectStore('sizes')
    request.result.createObjectStore('pages')
  }
  return answer(request)
}

export async function available() {
  try {
    return typeof indexedDB !== 'undefined' && Array.isArray(await indexedDB.databases())
  } catch {
    return false
  }
}

export async function exists(name) {
  const databases = await indexedDB.databases()
  return databases.some((database) => database.name === PREFIX + name)
}

class Mirror {
  kind = 'indexeddb'
  files = []
  #name
  #made
  #database
  #running = Promise.resolve()
  #next
  #failed

  constructor(name, made, database) {
    this.#name = name
    this.#made = made
    this.#database = database
    // Another version of this software, or the user clearing the site's data, must not wait for us.
    database.onversionchange = () => database.close()
  }

  /** Brings the files to what is stored, whatever they are now. */
  async load() {
    await this.#running
    const transaction = this.#database.transaction(['sizes', 'pages'], 'readonly')
    const sizes = transaction.objectStore('sizes')
    const pages = transaction.objectStore('pages')
    const files = []
    for (const name of NAMES) {
      const file = new ImageFile()
      const size = (await answer(sizes.get(name))) ?? 0
      file.setLen(size)
      for (let from = 0; from * PAGE < size; from += LOAD_PAGES) {
        const range = IDBKeyRange.bound([name, from], [name, from + LOAD_PAGES], false, true)
        const [keys, values] = await Promise.all([
          answer(pages.getAllKeys(range)),
          answer(pages.getAll(range)),
        ])
        for (const [at, [, page]] of keys.entries()) {
          file.bytes.set(values[at].subarray(0, Math.max(0, size - page * PAGE)), page * PAGE)
        }
      }
      file.take()
      files.push(file)
    }
    this.files = files
    this.#failed = undefined
  }

  /** Resolves when everything written so far is stored; `strict`: and survives power loss. */
  settled(strict) {
    if (!this.#next) {
      const next = { strict }
      next.done = this.#running.then(() => {
        this.#next = undefined
        return this.#store(next.strict)
      })
      this.#next = next
      this.#running = next.done.catch(() => {})
    }
    this.#next.strict ||= strict
    return this.#next.done
  }

  async #store(strict) {
    // What a failed transaction should have brought is missing below all that came later.
    if (this.#failed) throw this.#failed
    const taken = this.files.map((file) => file.take())
    if (!strict && taken.every(({ pages, resized }) => pages.length === 0 && !resized)) return
    try {
      const durability = strict ? 'strict' : 'relaxed'
      const transaction = this.#database.transaction(['sizes', 'pages'], 'readwrite', { durability })
      const stored = complete(transaction)
      const pages = transaction.objectStore('pages')
      for (const [at, { pages: changed, cut, size }] of taken.entries()) {
        const name = NAMES[at]
        if (cut !== Number.POSITIVE_INFINITY)
          pages.delete(IDBKeyRange.bound([name, cut], [name, Number.MAX_VALUE]))
        for (const page of changed) pages.put(this.files[at].page(page), [name, page])
        // Also where nothing changed: a strict transaction has to write something.
        transaction.objectStore('sizes').put(size, name)
      }
      transaction.commit?.()
      await stored
    } catch (error) {
      this.#failed = storageFailure(`the database ${this.#name}`, error)
      throw this.#failed
    }
  }

  close() {
    this.#database.close()
  }

  async discard() {
    if (this.#made) await answer(indexedDB.deleteDatabase(PREFIX + this.#name))
  }
}

/** The files of a database, made where they are not there. */
export async function openFiles(name) {
  const made = !(await exists(name))
  try {
    const mirror = new Mirror(name, made, await openDatabase(name))
    await mirror.load()
    return mirror
  } catch (error) {
    throw storageFailure(`the database ${name}`, error)
  }
}
