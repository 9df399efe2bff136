// The database of this browser: opened where it is there, made from the exported file where it is not.
import { open } from './asteroid-db/index.mjs'
import { createEmbedder } from './lexical-embedder.mjs'

const NAME = 'documentation'
const FILE = 'data/docs.asteroid'
/** Which library was imported whole. Written last, taken away first. */
const MARK = 'asteroid-demo-library'

async function json(path) {
  const response = await fetch(path)
  if (!response.ok) throw new Error(`${path} is not there: the server answers ${response.status}`)
  return response.json()
}

/** `{ db, info, embedder, openedMs, importMs? }`; `report` hears of an import. */
export async function bringLibrary(report) {
  const info = await json('data/info.json')
  const embedder = createEmbedder(await json('data/embedder.json'))
  if (info.embedderId !== embedder.id) {
    throw new Error(`the vectors are of the embedder ${info.embedderId}, which this page does not have`)
  }
  const began = performance.now()
  if (localStorage.getItem(MARK) === info.fingerprint) {
    try {
      const db = await open(NAME)
      if ((await db.count()) === info.rows) {
        return { db, info, embedder, openedMs: performance.now() - began }
      }
      await db.close()
    } catch (error) {
      // A browser may have evicted it, and what is damaged is fetched again.
      if (error.code !== 'INVALID_ARGUMENT' && error.code !== 'CORRUPT') throw error
    }
  }
  localStorage.removeItem(MARK)
  report({ waiting: 'Asking for the file' })
  const from = new URL(FILE, location.href)
  const onProgress = ({ done, total }) => report({ done, total: Math.max(total, done) })
  const db = await open(NAME, { from, reinit: true, onProgress })
  await db.flush()
  localStorage.setItem(MARK, info.fingerprint)
  await navigator.storage?.persist?.().catch(() => false)
  return { db, info, embedder, openedMs: performance.now() - began, importMs: performance.now() - began }
}
