// The data sets as plain files that every peer reads, and the indexes built of them, both kept in the cache folder.
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { cacheDir, root } from '../../scripts/lib/setup.mjs'
import { loadDataset } from '../../tests/js/datasets.mjs'
import { Child } from './child.mjs'

const kept = join(cacheDir, 'compare')
const K = 10

/**
 * A data set in files: `{ name, folder, rows, dim, metric, count, k, truth }`. `make` gives what `loadDataset` does;
 * it is called where the files are missing.
 */
export function dataset(name, { rows, make = () => loadDataset(name, { rows, count: rows && 500 }) } = {}) {
  const folder = join(kept, 'data', `${name}-${rows ?? 'all'}`)
  const file = join(folder, 'set.json')
  if (!existsSync(file)) {
    const set = make()
    mkdirSync(folder, { recursive: true })
    for (const column of ['base', 'queries', 'truth'])
      writeFileSync(join(folder, column), new Uint8Array(set[column].buffer, 0, set[column].byteLength))
    const { rows: all, dim, metric, count } = set
    writeFileSync(file, JSON.stringify({ name, rows: all, dim, metric, count, k: K }))
  }
  const truth = new Int32Array(new Uint8Array(readFileSync(join(folder, 'truth'))).buffer)
  return { ...JSON.parse(readFileSync(file, 'utf8')), folder, truth }
}

/** What stands for the version of ours in a kept build: the addon's bytes. */
export function ownVersion() {
  const names = readdirSync(join(root, 'node')).filter((name) => name.endsWith('.node'))
  const newest = names
    .map((name) => join(root, 'node', name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
  if (!newest) throw new Error('the addon is not built: run npm run build')
  return createHash('sha256').update(readFileSync(newest)).digest('hex').slice(0, 12)
}

/**
 * The kept index of `system` over `set`, built now where there is none: `{ place, seconds, disk }`. Builds of other
 * versions of the same are deleted.
 */
export async function built(system, set, peers, { threads, say }) {
  const label = system.name.replace(/[^\w]+/g, '-')
  const folder = join(kept, 'builds', `${set.name}-${set.rows}`)
  const key = createHash('sha256')
    .update(JSON.stringify([system.version, system.options]))
    .digest('hex')
  const place = join(folder, `${label}.${key.slice(0, 12)}`)
  const file = join(place, 'built.json')
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true })
    for (const name of readdirSync(folder))
      if (name.startsWith(`${label}.`)) rmSync(join(folder, name), { recursive: true, force: true })
    const making = `${place}.new`
    mkdirSync(making)
    say(`  building ${system.name} ...`)
    const child = new Child(system, taskOf(system, set, making, threads), peers)
    try {
      const { seconds } = await child.ask('build')
      await child.close()
      writeFileSync(join(making, 'built.json'), JSON.stringify({ seconds, disk: bytesUnder(making) }))
      renameSync(making, place)
    } finally {
      await child.close()
      rmSync(making, { recursive: true, force: true })
    }
  }
  return { place, ...JSON.parse(readFileSync(file, 'utf8')) }
}

/** What a server is told. */
export function taskOf(system, set, place, threads) {
  const { folder: data, rows, dim, metric, count, k } = set
  return { data, place, rows, dim, metric, count, k, threads, options: system.options }
}

export function bytesUnder(path) {
  if (!statSync(path).isDirectory()) return statSync(path).size
  return readdirSync(path).reduce((sum, name) => sum + bytesUnder(join(path, name)), 0)
}

/** The share of the true neighbours among `found`, lists of ids for the queries from `from` on. */
export function recallOf(set, found, from = 0) {
  let hits = 0
  for (const [i, ids] of found.entries()) {
    const q = (from + i) % set.count
    const wanted = new Set(set.truth.subarray(q * set.k, (q + 1) * set.k))
    hits += ids.filter((id) => wanted.has(id)).length
  }
  return hits / (found.length * set.k)
}
