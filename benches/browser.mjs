// `npm run bench:browser`: ours beside edgevec, hnswlib-wasm, voy-search and PGlite with pgvector, in one Chromium.
//
//   npm run bench:browser                                  10,000 movies, 3 rounds
//   npm run bench:browser -- --rows 33000 --rounds 1       all of them
//   npm run bench:browser -- --only ours,hnswlib-wasm      some systems
//   npm run bench:browser -- --minutes 30                  wait longer for one call of a system, instead of 10
//
// The peers are installed into a cache folder. Every run has a browser of its own: it builds and stores an index, the
// browser is ended and begun again, the index is opened and searched one query at a time at the least width with recall
// 0.95 (the same that the first round finds, later), then the page is reloaded until its first search answers. Ours
// searches in a worker, by messages; the others in the page itself, which they hold up for as long as the longest task
// says. Systems take turns, medians count. Data: see tests/js/datasets.mjs.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { brotliCompressSync } from 'node:zlib'
import { transform } from 'esbuild'
import { buildWasm, cacheDir, npm, root, run } from '../scripts/lib/setup.mjs'
import { bold, green, dim as grey, megabytes, number, red, time } from '../scripts/lib/style.mjs'
import { browser } from '../tests/js/browser/chromium.mjs'
import { loadDataset, missing } from '../tests/js/datasets.mjs'

const here = fileURLToPath(new URL('browser', import.meta.url))
const NAMES = [
  'ours, bulkBuild',
  'ours, insertMany',
  'ours, IndexedDB',
  'edgevec',
  'hnswlib-wasm',
  'voy-search',
  'pglite + pgvector',
]
/** Where how wide to search is fixed when an index is made: it is made once to find that, and again with it. */
const REBUILT = new Set(['edgevec'])
const RELOADS = 3

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '3' },
    queries: { type: 'string', default: '500' },
    only: { type: 'string' },
    minutes: { type: 'string', default: '10' },
  },
})
const patience = Number(values.minutes) * 60_000
const wanted = values.only?.split(',')
const names = NAMES.filter((name) => !wanted || wanted.some((part) => name.startsWith(part)))

const reason = missing('movies')
if (reason) throw new Error(reason)
await buildWasm({ echo: 'errors' })
const set = loadDataset('movies', { rows: Number(values.rows), count: Number(values.queries) })
const folder = await prepare()
const runs = new Map(names.map((name) => [name, []]))
const widths = new Map()
/** Why a system was given up; it gets no further rounds. */
const failures = new Map()

console.log(bold('Asteroid DB in the browser'))
console.log(`${cpus()[0].model}, ${number(set.rows)} movies x ${set.dim}, ${set.count} queries, cosine`)
const load = loadavg().map((load) => load.toFixed(1))
console.log(grey(`load ${load.join(' ')}; M 16, efConstruction 128; recall@10 of at least 0.95`))
try {
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of names) {
      if (failures.has(name)) continue
      try {
        const found = await measure(name, round === 0)
        runs.get(name).push(found)
        const { build, search, reopen } = found
        console.log(
          grey(
            `  round ${round + 1}  ${name.padEnd(18)} build ${time(build.ms)}, ${number(search.perSecond)} searches/s at ${search.ef ?? '-'} (${search.recall.toFixed(3)}), reopened in ${time(reopen)}`,
          ),
        )
      } catch (error) {
        failures.set(name, error.message.split('\n')[0])
        console.log(red(`  round ${round + 1}  ${name}: ${failures.get(name)}`))
      }
    }
  }
  report()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** What the browser is served: the data, what is published of ours, the peers, and what a page does with them. */
async function prepare() {
  const cache = join(cacheDir, 'compare-browser')
  mkdirSync(cache, { recursive: true })
  const list = readFileSync(join(here, 'package.json'), 'utf8')
  const mark = join(cache, 'installed')
  if (!existsSync(mark) || readFileSync(mark, 'utf8') !== list) {
    console.log(`installing the peers into ${cache} ...`)
    copyFileSync(join(here, 'package.json'), join(cache, 'package.json'))
    await run(npm, ['install', '--no-audit', '--no-fund', '--no-package-lock'], { cwd: cache, echo: false })
    writeFileSync(mark, list)
  }
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-bench-browser-'))
  mkdirSync(join(folder, 'data'))
  for (const name of ['base', 'queries', 'truth']) writeFileSync(join(folder, 'data', name), set[name])
  symlinkSync(join(root, 'wasm/dist'), join(folder, 'asteroid'))
  symlinkSync(join(cache, 'node_modules'), join(folder, 'peers'))
  for (const name of ['page.mjs', 'systems.mjs']) symlinkSync(join(here, name), join(folder, name))
  return folder
}

/** One run of a system, in a browser of its own. */
async function measure(name, first) {
  const seen = new Set()
  const world = await browser({ folder, seen: (path) => seen.add(path) })
  let page
  const visit = async () => {
    page = await world.context.newPage()
    await page.goto(world.url)
  }
  const ask = (call, args) => {
    const answer = page.evaluate(
      async ([call, name, args]) => (await import('/page.mjs'))[call](name, args),
      [call, name, args],
    )
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error(`${call} took over ${values.minutes} minutes`)), patience).unref()
    })
    return Promise.race([answer, late])
  }
  const facts = { rows: set.rows, dim: set.dim, k: set.k, count: set.count }
  try {
    await visit()
    if (REBUILT.has(name) && first) {
      // As narrow as can be: then asking for more rows decides how wide it is.
      await ask('build', { ...facts, ef: 10 })
      widths.set(name, (await ask('measure', facts)).ef)
      await page.reload()
    }
    const ef = widths.get(name)
    const build = await ask('build', { ...facts, ef })
    await ask('leave', facts)
    await world.restart()
    await visit()
    const empty = world.memory()
    seen.clear()
    await ask('reopen', { ...facts, ef })
    const download = await sizeOf([...seen].filter((path) => /^\/(asteroid|peers)\//.test(path)))
    const search = await ask('measure', { ...facts, ef })
    widths.set(name, search.ef)
    const memory = world.memory() - empty
    const move = name.startsWith('ours') ? await ask('move', facts) : undefined
    const reopens = []
    for (let at = 0; at < RELOADS; at++) {
      await page.reload()
      const { ms, found } = await ask('reopen', { ...facts, ef })
      if (found !== set.k) throw new Error(`${found} rows were found after a reload`)
      reopens.push(ms)
    }
    return { build, search, reopen: median(reopens), download, memory, move }
  } finally {
    await world.close()
  }
}

/** The bytes of files as a server would send them: scripts minified, everything by brotli. */
async function sizeOf(paths) {
  let bytes = 0
  for (const path of paths) {
    const content = readFileSync(join(folder, path))
    const script = /\.m?js$/.test(path)
    const sent = script ? (await transform(content.toString(), { minify: true })).code : content
    bytes += brotliCompressSync(sent).length
  }
  return bytes
}

function report() {
  const middle = (name, of) => {
    const all = runs.get(name)
    return all?.length ? median(all.map(of)) : undefined
  }
  const ours = names.find((name) => name.startsWith('ours') && runs.get(name).length > 0)
  console.log(
    `\n  ${'system'.padEnd(18)}    build    ef  recall  searches/s    reopen  download    memory  longest task`,
  )
  for (const name of names) {
    if (runs.get(name).length === 0) {
      console.log(`  ${name.padEnd(18)} ${red(`not measured: ${failures.get(name)}`)}`)
      continue
    }
    const perSecond = middle(name, ({ search }) => search.perSecond)
    const reopen = middle(name, (run) => run.reopen)
    const recall = middle(name, ({ search }) => search.recall)
    const longest = middle(name, ({ build, search, move }) =>
      Math.max(build.longest, search.longest, move ?? 0),
    )
    const line = [
      name.padEnd(18),
      time(middle(name, ({ build }) => build.ms)).padStart(8),
      String(runs.get(name)[0].search.ef ?? '-').padStart(5),
      recall.toFixed(4).padStart(7),
      number(perSecond).padStart(11),
      time(reopen).padStart(9),
      `${number(middle(name, ({ download }) => download) / 1000)} kB`.padStart(9),
      megabytes(middle(name, ({ memory }) => memory)).padStart(9),
      (longest === 0 ? 'under 50 ms' : time(longest)).padStart(13),
    ]
    let verdict = ''
    if (ours && !name.startsWith('ours')) {
      const faster = middle(ours, ({ search }) => search.perSecond) / perSecond
      const sooner = reopen / middle(ours, (run) => run.reopen)
      const loses = [faster < 1 && 'search', sooner < 1 && 'reopen'].filter(Boolean)
      verdict = `  ours searches ${faster.toFixed(2)}x, reopens ${sooner.toFixed(2)}x as fast ${loses.length ? red(`LOSES: ${loses.join(' and ')}`) : green('ok')}`
    } else if (longest > 0) {
      verdict = `  ${red('LOSES: a task over 50 ms')}`
    }
    console.log(`  ${line.join(' ')}${verdict}`)
  }
  console.log(
    grey(
      [
        '\n  Ours, hnswlib-wasm and PGlite store what they build. voy-search stores nothing: its text was put into IndexedDB.',
        '  edgevec cannot load what it saved: it was built again, of vectors kept in IndexedDB.',
      ].join('\n'),
    ),
  )
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}
