// The main job from end to end, on real text: gathers documentation on this machine, stores one vector per passage,
// closes, reopens, and answers questions.
//
//   npm start                              three built-in questions
//   npm start -- "how do I ..."            your own
//   npm start -- --rebuild                 gather and store everything anew
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { open } from 'asteroid-db'
import { bold, cyan, dim, green, number, progressLine, red, time, wrap } from '../scripts/lib/style.mjs'
// For search by meaning, run `npm install --no-save @huggingface/transformers` and change this import to
// './transformers-embedder.mjs'.
import { createEmbedder } from './lexical-embedder.mjs'
import { gather } from './lib/passages.mjs'

const QUESTIONS = [
  'how do I cancel a request with an abort signal?',
  'what happens to my rows when the process dies?',
  'how do I run a loop in parallel on all cores?',
]
const HITS = 3

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '')
const path = process.env.ASTEROID_DOCS || join(root, 'data/docs')
// What a later run needs besides the database. Written last: without it a half-made database is made again.
const notesPath = `${path}.json`

try {
  await main()
} catch (error) {
  console.error(`\n${red(error.code ?? 'Error')} ${error.message}`)
  if (error.code === 'LOCKED')
    console.error('Another run of this example is still at work: wait for it to end.')
  else if (error.code === 'CORRUPT') console.error('Make it again with: npm start -- --rebuild')
  process.exitCode = 1
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rebuild: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help) {
    console.log('npm start [-- [--rebuild] ["your question" ...]]')
    return
  }
  let notes = readNotes()
  let embedder = await createEmbedder(notes?.embedder)
  const docs = gather(root)

  if (notes && !values.rebuild && notes.embedderId !== embedder.id) {
    console.log(`The database was made with the embedder ${notes.embedderId}: making it again.\n`)
    notes = undefined
  }
  if (!notes || values.rebuild) {
    embedder = await createEmbedder()
    notes = await build(docs, embedder)
  } else if (notes.fingerprint !== docs.fingerprint) {
    console.log(dim('The documentation has changed since it was stored. To store it anew:'))
    console.log('  npm start -- --rebuild\n')
  }
  await answer(positionals.length > 0 ? [positionals.join(' ')] : QUESTIONS, embedder)
  console.log('Ask your own:')
  console.log(`  ${bold('npm start -- "how do I ..."')}`)
}

function readNotes() {
  if (!existsSync(notesPath)) return undefined
  try {
    return JSON.parse(readFileSync(notesPath, 'utf8'))
  } catch {
    return undefined
  }
}

async function build(docs, embedder) {
  console.log(bold('Storing the documentation found on this machine'))
  console.log(dim(wrap(`Vectors: ${embedder.about}.`, 78, '  ')))
  rmSync(notesPath, { force: true })
  mkdirSync(join(path, '..'), { recursive: true })

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

  const notes = { embedderId: embedder.id, fingerprint: docs.fingerprint, embedder: embedder.save() }
  writeFileSync(notesPath, JSON.stringify(notes))
  return notes
}

async function answer(questions, embedder) {
  let began = performance.now()
  const db = await open(path, { dim: embedder.dim, metric: 'cosine' })
  try {
    const rows = await db.count()
    console.log(dim(`Opened ${number(rows)} passages in ${since(began)}.\n`))
    for (const question of questions) {
      const query = await embedder.embed([question])
      began = performance.now()
      const hits = await db.search(query, { k: HITS, include: ['payload'] })
      console.log(`${cyan('?')} ${bold(question)}  ${dim(since(began))}`)
      hits.forEach(({ distance, payload }, at) => {
        const title = shorten(payload.title, 59)
        console.log(`  ${at + 1}. ${green(title)}  ${dim(`distance ${distance.toFixed(3)}`)}`)
        console.log(wrap(shorten(payload.text, 140), 78, '     '))
        console.log(dim(`     ${shorten(payload.file, 72)}`))
      })
      console.log()
    }
  } finally {
    await db.close()
  }
}

function label(text) {
  return text.padEnd(9)
}

function since(began) {
  return time(performance.now() - began)
}

function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 3).trimEnd()}...`
}
