// Files of a database in the origin private file system: a directory of its own, one synchronous handle per file.
import { Failure, storageFailure } from './failures.mjs'

const ROOT = 'asteroid-db'
/** A worker that has just ended may hold its files for a moment. */
const PATIENCE_MS = 2_000
const RETRY_MS = 50

export const NAMES = ['manifest', 'creating', 'journal', 'vectors', 'graph.redb']

/** A file under an exclusive handle. Nobody else changes its length, which is therefore known. */
class HandleFile {
  #handle
  #len

  constructor(handle) {
    this.#handle = handle
    this.#len = handle.getSize()
  }

  len() {
    return this.#len
  }

  read(at, out) {
    // Browsers refuse places that no file can have.
    return at < this.#len ? this.#handle.read(out, { at }) : 0
  }

  write(at, data) {
    // A copy: some browsers pass on the whole memory that a view lies in.
    const written = this.#handle.write(data.slice(), { at })
    this.#len = Math.max(this.#len, at + written)
    return written
  }

  setLen(len) {
    this.#handle.truncate(len)
    this.#len = len
  }

  sync() {
    this.#handle.flush()
  }

  close() {
    this.#handle.close()
  }
}

async function root(create) {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create })
}

async function directory(name, create) {
  try {
    return await (await root(create)).getDirectoryHandle(encodeURIComponent(name), { create })
  } catch (error) {
    if (!create && error.name === 'NotFoundError') return undefined
    throw error
  }
}

async function handleOf(folder, name) {
  const file = await folder.getFileHandle(name, { create: true })
  const until = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return await file.createSyncAccessHandle()
    } catch (error) {
      if (error.name !== 'NoModificationAllowedError') throw error
      if (performance.now() > until) {
        throw new Failure(
          'LOCKED',
          `the file ${name} of the database is in use elsewhere: close it there`,
          error,
        )
      }
      await new Promise((retry) => setTimeout(retry, RETRY_MS))
    }
  }
}

/** Whether this worker may use it at all; private windows of some browsers refuse. */
export async function available() {
  if (!globalThis.FileSystemFileHandle?.prototype.createSyncAccessHandle) return false
  try {
    await navigator.storage.getDirectory()
    return true
  } catch {
    return false
  }
}

export async function exists(name) {
  return (await directory(name, false)) !== undefined
}

/** The files of a database, made where they are not there. */
export async function openFiles(name) {
  const made = !(await exists(name))
  const files = []
  try {
    const folder = await directory(name, true)
    const opening = NAMES.map(async (file, at) => {
      files[at] = new HandleFile(await handleOf(folder, file))
    })
    const opened = await Promise.allSettled(opening)
    for (const { reason } of opened) if (reason) throw reason
  } catch (error) {
    for (const file of files) file?.close()
    throw storageFailure(`the database ${name}`, error)
  }
  return {
    kind: 'opfs',
    files,
    /** Written bytes are the system's at once: an acknowledged write outlives the browser's process. */
    settled: undefined,
    close() {
      for (const file of files) file.close()
    },
    /** Takes back what opening made, where nothing came of it. */
    async discard() {
      if (made) await (await root(true)).removeEntry(encodeURIComponent(name), { recursive: true })
    },
  }
}
