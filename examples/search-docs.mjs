// The main job from end to end, on real text: gathers documentation on this machine, stores one vector per passage,
// closes, reopens, and answers questions.
//
//   npm start                              three built-in questions
//   npm start -- "how do I ..."            your own
//   npm start -- --rebuild                 gather and store everything anew
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { open } from 'asteroid-db'
import { bold, cyan, dim, green, number, red, time, wrap } from '../scripts/lib/style.mjs'
import { openLibrary } from './lib/library.mjs'
import { gather } from './lib/passages.mjs'

const QUESTIONS = [
  'how do I cancel a request with an abort signal?',
  'what happens to my rows when the process dies?',
  'how do I run a loop in parallel on all cores?',
]
const HITS = 3

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '')
const path = process.env.ASTEROID_DOCS || join(root, 'data/docs')

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
  const docs = gather(root)
  const { embedder, stale } = await openLibrary(path, docs, values.rebuild)
  if (stale) {
    console.log(dim('The documentation has changed since it was stored. To store it anew:'))
    console.log('  npm start -- --rebuild\n')
  }
  await answer(positionals.length > 0 ? [positionals.join(' ')] : QUESTIONS, embedder)
  console.log('Ask your own:')
  console.log(`  ${bold('npm start -- "how do I ..."')}`)
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

function since(began) {
  return time(performance.now() - began)
}

function shorten(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 3).trimEnd()}...`
}
