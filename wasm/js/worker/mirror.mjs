// Files of a database in IndexedDB: kept whole in memory, their changed pages written behind.
//
// What is written goes in one transaction: all pages that changed in any file until it begins, in the order of the
// transactions. So the stored state is always one that the files had together, and never older than what was settled.
//
// A page is a value of its own, which is cheap to change, or part of an extent, which is a value of many pages: a few large
// values are read in a third of the time. Where both are stored, the page is the newer. An extent is written where most of
// it changed at once, and with a strict transaction where most of it is stored as pages.
import { storageFailure } from './failures.mjs'
import { NAMES } from './opfs.mjs'

const PAGE = 16_384
/** Pages of an extent, and how many have to change for it to be written. */
const SPAN = 256
const MANY = 64
/** Extents read at once, with the pages that lie over them. */
const LOAD = 4
const STORES = ['sizes', 'pages', 'extents']
const PREFIX = 'asteroid-db:'

/** The growing image of one file. */
class ImageFile {
  bytes = new Uint8Array(PAGE)
  size = 0
  changed = new Set()
  /** Stored pages from this one on are no longer the file's. */
  cut = Number.POSITIVE_INFINITY
  resized = false
  /** What is stored: extents, and by extent the pages that are values of their own. */
  whole = new Set()
  apart = new Map()

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

  extent(number) {
    return this.bytes.slice(number * SPAN * PAGE, Math.min((number + 1) * SPAN * PAGE, this.size))
  }

  /** Takes in what is stored from page `first` on. */
  load(first, stored) {
    const at = first * PAGE
    this.bytes.set(stored.subarray(0, Math.max(0, this.size - at)), at)
  }

  #apart(extent) {
    if (!this.apart.has(extent)) this.apart.set(extent, new Set())
    return this.apart.get(extent)
  }

  setApart(page) {
    this.#apart(Math.floor(page / SPAN)).add(page)
  }

  /** How to store changes: pairs of an extent and its pages that are to be values of their own, none to write all of it. */
  place({ pages, cut }, strict) {
    for (const extent of this.whole) if (extent * SPAN >= cut) this.whole.delete(extent)
    for (const apart of this.apart.values()) for (const page of apart) if (page >= cut) apart.delete(page)
    const changed = new Map()
    const touch = (extent) => changed.get(extent) ?? changed.set(extent, []).get(extent)
    for (const page of pages) touch(Math.floor(page / SPAN)).push(page)
    // One that was cut through still holds what is gone.
    const torn = Math.floor(cut / SPAN)
    if (this.whole.has(torn)) touch(torn)
    if (strict) for (const extent of this.apart.keys()) touch(extent)
    const places = []
    for (const [extent, pages] of changed) {
      for (const page of pages) this.setApart(page)
      const many = strict ? this.#apart(extent).size : pages.length
      const most = Math.min(SPAN, Math.ceil(this.size / PAGE) - extent * SPAN)
      const isTorn = extent === torn && this.whole.has(extent)
      if (isTorn || (many >= MANY && 2 * many > most)) {
        this.whole.add(extent)
        this.apart.delete(extent)
        places.push([extent])
      } else if (pages.length > 0) places.push([extent, pages])
    }
    return places
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
  // The first version had no extents.
  const request = indexedDB.open(PREFIX + name, 2)
  request.onupgradeneeded = () => {
    const database = request.result
    for (const store of STORES)
      if (!database.objectStoreNames.contains(store)) database.createObjectStore(store)
  }
  return answer(request)
}

/** The keys of a file from `from` to before `to`. */
const range = (name, from, to = Number.MAX_VALUE) => IDBKeyRange.bound([name, from], [name, to], false, true)

/** Keys within a file, and their values. */
async function entries(store, keys) {
  const [found, values] = await Promise.all([answer(store.getAllKeys(keys)), answer(store.getAll(keys))])
  return found.map(([, number], at) => [number, values[at]])
}

async function loadFile(transaction, name) {
  const [sizes, pages, extents] = STORES.map((store) => transaction.objectStore(store))
  const file = new ImageFile()
  file.setLen((await answer(sizes.get(name))) ?? 0)
  for (let from = 0; from * SPAN * PAGE < file.size; from += LOAD) {
    const to = from + LOAD
    const [large, small] = await Promise.all([
      entries(extents, range(name, from, to)),
      entries(pages, range(name, from * SPAN, to * SPAN)),
    ])
    for (const [extent, stored] of large) {
      file.load(extent * SPAN, stored)
      file.whole.add(extent)
    }
    for (const [page, stored] of small) {
      file.load(page, stored)
      file.setApart(page)
    }
  }
  file.take()
  return file
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
    const transaction = this.#database.transaction(STORES, 'readonly')
    this.files = await Promise.all(NAMES.map((name) => loadFile(transaction, name)))
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
      const transaction = this.#database.transaction(STORES, 'readwrite', { durability })
      const stored = complete(transaction)
      const [sizes, pages, extents] = STORES.map((store) => transaction.objectStore(store))
      for (const [at, changes] of taken.entries()) {
        const [name, file] = [NAMES[at], this.files[at]]
        if (changes.cut !== Number.POSITIVE_INFINITY) {
          pages.delete(range(name, changes.cut))
          extents.delete(range(name, Math.ceil(changes.cut / SPAN)))
        }
        for (const [extent, apart] of file.place(changes, strict)) {
          for (const page of apart ?? []) pages.put(file.page(page), [name, page])
          if (apart) continue
          extents.put(file.extent(extent), [name, extent])
          pages.delete(range(name, extent * SPAN, (extent + 1) * SPAN))
        }
        // Also where nothing changed: a strict transaction has to write something.
        sizes.put(changes.size, name)
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
