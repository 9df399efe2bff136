// Stores passages as a database: one vector and one payload each, and notes beside it.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { open } from 'asteroid-db'
import { bold, dim, number, progressLine, time, wrap } from '../../scripts/lib/style.mjs'
// For search by meaning, run `npm install --no-save @huggingface/transformers` and change this import to
// '../transformers-embedder.mjs'.
import { createEmbedder } from '../lexical-embedder.mjs'

/** Changes with what a passage's payload holds. */
const SHAPE = 2

/**
 * The database at `path` with the passages of `docs` (see passages.mjs): made where it is not there, or is of another
 * embedder, or where `rebuild` says so. Gives the notes kept with it, the embedder of its vectors, and whether the
 * documentation has changed since.
 */
export async function openLibrary(path, docs, rebuild) {
  let notes = readNotes(path)
  let embedder = await createEmbedder(notes?.embedder)
  if (notes && !rebuild && notes.embedderId !== embedder.id) {
    console.log(`The database was made with the embedder ${notes.embedderId}: making it again.\n`)
    notes = undefined
  }
  if (!notes || rebuild) {
    embedder = await createEmbedder()
    notes = await build(path, docs, embedder)
  }
  return { notes, embedder, stale: notes.fingerprint !== docs.fingerprint }
}

/** What a later run needs besides the database. Written last: without it a half-made database is made again. */
function notesPath(path) {
  return `${path}.json`
}

function readNotes(path) {
  if (!existsSync(notesPath(path))) return undefined
  try {
    const notes = JSON.parse(readFileSync(notesPath(path), 'utf8'))
    return notes.shape === SHAPE ? notes : undefined
  } catch {
    return undefined
  }
}

async function build(path, docs, embedder) {
  console.log(bold('Storing the documentation found on this machine'))
  console.log(dim(wrap(`Vectors: ${embedder.about}.`, 78, '  ')))
  rmSync(notesPath(path), { force: true })
  mkdirSync(dirname(path), { recursive: true })

  const passages = docs.passages()
  const used = new Set(passages.map(({ file }) => file)).size
  console.log(`  ${label('Gathered')}  ${number(passages.length)} passages from ${number(used)} files`)
  const texts = passages.map(({ title, text }) => `${title}\n${text}`)

  let began = performance.now()
  const embedding = progressLine(label('Embedding'))
  await embedder.fit(texts)
  const vectors = new Float32Array(texts.length * embedder.dim)
  for (let at = 0; at < texts.length; at += 256) {
    vectors.set(await embedder.embed(texts.slice(at, at + 256)), at * embedder.dim)
    embedding.update(at, texts.length)
  }
  embedding.done(`${number(texts.length)} vectors of ${embedder.dim} numbers in ${since(began)}`)

  began = performance.now()
  const storing = progressLine(label('Storing'))
  const db = await open(path, { dim: embedder.dim, metric: 'cosine', reinit: true })
  try {
    const { count } = await db.insertMany(
      { vectors, payloads: passages },
      { onProgress: ({ done, total }) => storing.update(done, total) },
    )
    const perSecond = count / ((performance.now() - began) / 1000)
    storing.done(`${number(count)} rows in ${since(began)}, ${number(perSecond)} rows per second`)
  } finally {
    await db.close()
  }
  console.log(`  ${label('Kept in')}  ${relative(process.cwd(), path) || path}\n`)

  const notes = {
    shape: SHAPE,
    embedderId: embedder.id,
    fingerprint: docs.fingerprint,
    rows: passages.length,
    facets: facetsOf(passages),
    embedder: embedder.save(),
  }
  writeFileSync(notesPath(path), JSON.stringify(notes))
  return notes
}

/** How many passages there are of each source, kind and owner, the most first. */
function facetsOf(passages) {
  const counted = (key) => {
    const counts = new Map()
    for (const passage of passages) counts.set(passage[key], (counts.get(passage[key]) ?? 0) + 1)
    return [...counts].sort((a, b) => b[1] - a[1])
  }
  return { source: counted('source'), kind: counted('kind'), owner: counted('owner') }
}

function label(text) {
  return text.padEnd(9)
}

function since(began) {
  return time(performance.now() - began)
}
