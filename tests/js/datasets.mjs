// Vectors with queries and their true neighbours: real ones from the shared folder, or made-up clusters.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readNpy } from './npy.mjs'
import { seeded } from './random.mjs'

const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '')
const shared = process.env.ASTEROID_SHARED || join(dirname(repository), 'shared')

export const METRICS = { 'sift-photos': 'l2', movies: 'cosine' }

/**
 * Why the data set cannot be used here, or false: for the `skip` option of a test. In CI it throws where the shared
 * folder is there but the data are not.
 */
export function missing(name) {
  if (existsSync(join(shared, 'data', name, 'base.npy'))) return false
  if (process.env.CI && existsSync(shared))
    throw new Error(`${shared} exists, but has no data/${name}/base.npy`)
  return `ASTEROID_SHARED has no data/${name}`
}

/**
 * `{ name, metric, dim, rows, base, queries, count, truth }`: `truth` holds the `k` nearest row numbers per query.
 * `rows` cuts the base, `count` the queries; the truth of a cut base is found by comparing with every row.
 */
export function loadDataset(name, { rows, count, k = 10 } = {}) {
  const folder = join(shared, 'data', name)
  const base = readNpy(join(folder, 'base.npy'))
  const query = readNpy(join(folder, 'query.npy'))
  const [all, dim] = base.shape
  const n = Math.min(rows ?? all, all)
  const queries = Math.min(count ?? query.shape[0], query.shape[0])
  const set = {
    name,
    metric: METRICS[name],
    dim,
    rows: n,
    base: Float32Array.from(base.data.subarray(0, n * dim)),
    queries: Float32Array.from(query.data.subarray(0, queries * dim)),
    count: queries,
    k,
  }
  if (n === all) {
    const { data, shape } = readNpy(join(folder, 'truth.npy'))
    set.truth = firstColumns(data, shape[1], queries, k)
  } else {
    set.truth = exactTruth(set)
  }
  return set
}

function firstColumns(data, width, rows, k) {
  const out = new Int32Array(rows * k)
  for (let row = 0; row < rows; row++) out.set(data.subarray(row * width, row * width + k), row * k)
  return out
}

/** Clusters with noise, the same for the same seed. */
export function clusters({ rows, dim, metric, seed, count = 100, k = 10 }) {
  const random = seeded(seed)
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const centres = Float32Array.from({ length: 100 * dim }, normal)
  const draw = (n) => {
    const out = new Float32Array(n * dim)
    for (let row = 0; row < n; row++) {
      const centre = Math.floor(random() * 100) * dim
      for (let i = 0; i < dim; i++) out[row * dim + i] = centres[centre + i] + 0.5 * normal()
    }
    return out
  }
  const set = { name: 'clusters', metric, dim, rows, base: draw(rows), queries: draw(count), count, k }
  set.truth = exactTruth(set)
  return set
}

/** The `k` nearest rows of each query, nearest first, by comparing with every row. */
export function exactTruth({ base, queries, rows, count, dim, metric, k }) {
  const truth = new Int32Array(count * k)
  // The query's own length does not change the order, a row's does under cosine.
  const scale = new Float64Array(rows).fill(1)
  if (metric === 'cosine') {
    for (let row = 0; row < rows; row++)
      scale[row] = 1 / Math.sqrt(dot(base, row * dim, base, row * dim, dim))
  }
  const scores = new Float64Array(rows)
  for (let q = 0; q < count; q++) {
    for (let row = 0; row < rows; row++) {
      scores[row] =
        metric === 'l2'
          ? squared(base, row * dim, queries, q * dim, dim)
          : -dot(base, row * dim, queries, q * dim, dim) * scale[row]
    }
    const best = []
    for (let row = 0; row < rows; row++) {
      if (best.length === k && scores[row] >= scores[best[k - 1]]) continue
      let at = best.length
      while (at > 0 && scores[best[at - 1]] > scores[row]) at--
      best.splice(at, 0, row)
      if (best.length > k) best.pop()
    }
    truth.set(best, q * k)
  }
  return truth
}

function dot(a, i, b, j, dim) {
  let sum = 0
  for (let at = 0; at < dim; at++) sum += a[i + at] * b[j + at]
  return sum
}

function squared(a, i, b, j, dim) {
  let sum = 0
  for (let at = 0; at < dim; at++) sum += (a[i + at] - b[j + at]) ** 2
  return sum
}

/** The share of true neighbours found; `hits` is what `searchMany` gave for the set's queries, ids being row numbers. */
export function recallOf(set, hits) {
  let found = 0
  for (let q = 0; q < set.count; q++) {
    const wanted = new Set(set.truth.subarray(q * set.k, (q + 1) * set.k))
    for (const { id } of hits[q]) if (wanted.has(Number(id))) found++
  }
  return found / (set.count * set.k)
}

/** The ids 0, 1, 2, ... of `rows` rows, from `first` on. */
export function rowIds(rows, first = 0) {
  return Array.from({ length: rows }, (_, row) => first + row)
}
