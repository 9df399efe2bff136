// One run of a peer for bulk.mjs: `peers.mjs hnswlib|usearch <task>`. M 16, efConstruction 128.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const M = 16
const EF_CONSTRUCTION = 128
// Numbers are turned into what a peer wants outside of the measured time, so many rows at a time.
const BLOCK = 5000

const [kind, text] = process.argv.slice(2)
const task = JSON.parse(text)
const { rows, dim, metric, count, k, efs, threads } = task
const column = (name) => new Uint8Array(readFileSync(join(task.folder, name))).buffer
const base = new Float32Array(column('base'))
const queries = new Float32Array(column('queries'))
const truth = new Int32Array(column('truth'))

const { ms, search } = await { hnswlib, usearch }[kind]()
const recall = {}
for (const ef of efs) {
  const found = await search(ef)
  let hits = 0
  for (let q = 0; q < count; q++) {
    const wanted = new Set(truth.subarray(q * k, (q + 1) * k))
    hits += found(q).filter((id) => wanted.has(id)).length
  }
  recall[ef] = hits / (count * k)
}
console.log(JSON.stringify({ ms, recall }))

async function hnswlib() {
  const { default: lib } = await import('hnswlib-node')
  const index = new lib.HierarchicalNSW({ l2: 'l2', cosine: 'cosine', dot: 'ip' }[metric], dim)
  index.initIndex({ maxElements: rows, m: M, efConstruction: EF_CONSTRUCTION })
  let ms = 0
  for (let from = 0; from < rows; from += BLOCK) {
    const block = []
    for (let row = from; row < Math.min(from + BLOCK, rows); row++)
      block.push(Array.from(base.subarray(row * dim, (row + 1) * dim)))
    const began = performance.now()
    for (let i = 0; i < block.length; i++) index.addPoint(block[i], from + i)
    ms += performance.now() - began
  }
  const search = (ef) => {
    index.setEf(ef)
    return (q) => index.searchKnn(Array.from(queries.subarray(q * dim, (q + 1) * dim)), k).neighbors
  }
  return { ms, search }
}

async function usearch() {
  const { default: lib } = await import('usearch')
  const open = (expansion_search) =>
    new lib.Index({
      metric: { l2: 'l2sq', cosine: 'cos', dot: 'ip' }[metric],
      connectivity: M,
      dimensions: dim,
      quantization: 'f32',
      expansion_add: EF_CONSTRUCTION,
      expansion_search,
    })
  const index = open(efs[0])
  const keys = BigUint64Array.from({ length: rows }, (_, row) => BigInt(row))
  const began = performance.now()
  index.add(keys, base, threads)
  const ms = performance.now() - began
  // How wide to search is fixed when an index is made: the same graph is loaded into one for each.
  const file = join(task.place, 'usearch')
  index.save(file)
  const search = (ef) => {
    const wide = open(ef)
    wide.load(file)
    return (q) => Array.from(wide.search(queries.subarray(q * dim, (q + 1) * dim), k, 1).keys, Number)
  }
  return { ms, search }
}
