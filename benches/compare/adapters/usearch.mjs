// usearch: in memory. How wide to search is fixed when an index is made, so another width loads the graph anew.
import { join } from 'node:path'

export default function create({ place, dim, metric, k, threads }, require) {
  const { Index } = require('usearch')
  const file = join(place, 'usearch')
  let index
  let base
  let width
  const made = (expansion_search) =>
    new Index({
      metric: { l2: 'l2sq', cosine: 'cos' }[metric],
      connectivity: 16,
      dimensions: dim,
      quantization: 'f32',
      expansion_add: 128,
      expansion_search,
    })
  const insert = (from, count, by = 1) => {
    const keys = BigUint64Array.from({ length: count }, (_, i) => BigInt(from + i))
    const rows = base.subarray(from * dim, (from + count) * dim)
    const began = performance.now()
    index.add(keys, rows, by)
    return (performance.now() - began) / 1000
  }
  return {
    build(all) {
      base = all
      index = made(64)
      const seconds = insert(0, all.length / dim, threads)
      index.save(file)
      return seconds
    },
    open() {},
    query: (numbers) => numbers,
    set({ ef }) {
      if (ef === width) return
      // A created index that was not saved is searched at the width it was made for.
      if (base) return
      index = undefined
      globalThis.gc?.()
      index = made(ef)
      index.load(file)
      width = ef
    },
    search: (query) => index.search(query, k, 1),
    ids: ({ keys }) => Array.from(keys, Number),
    create(all) {
      base = all
      index = made(64)
    },
    insert: (from, count) => insert(from, count),
  }
}
