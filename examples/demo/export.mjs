// What the page gets from Node: the database as one file, and what it has to know about it beforehand.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'asteroid-db'

/** The files beside the database at `path`. */
export function filesOf(path) {
  return { database: `${path}.asteroid`, info: `${path}.demo.json`, embedder: `${path}.embedder.json` }
}

/** Writes them where they are missing or of other passages. Gives the page's knowledge. */
export async function exportLibrary(path, notes) {
  const files = filesOf(path)
  const { fingerprint, embedderId, rows, facets } = notes
  if (Object.values(files).every((file) => existsSync(file))) {
    const info = JSON.parse(readFileSync(files.info, 'utf8'))
    const same = info.fingerprint === fingerprint && info.embedderId === embedderId
    if (same && info.bytes === statSync(files.database).size) return info
  }
  const db = await open(path, { readOnly: true })
  try {
    const { bytes } = await db.export(files.database)
    const info = { fingerprint, embedderId, rows, bytes, facets }
    writeFileSync(files.embedder, JSON.stringify(notes.embedder))
    writeFileSync(files.info, JSON.stringify(info))
    return info
  } finally {
    await db.close()
  }
}
