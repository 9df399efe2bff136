// hnswlib-node: in memory, one row at a time; it takes plain arrays of numbers.
import { join } from 'node:path'

export default function create({ place, dim, metric, k }, require) {
  const { HierarchicalNSW } = require('hnswlib-node')
  const file = join(place, 'hnswlib')
  const space = { l2: 'l2', cosine: 'cosine' }[metric]
  let index
  let base
  const start = (all) => {
    base = all
    index = new HierarchicalNSW(space, dim)
    index.initIndex({ maxElements: all.length / dim, m: 16, efConstruction: 128 })
  }
  const insert = (from, count) => {
    const rows = Array.from({ length: count }, (_, i) =>
      Array.from(base.subarray((from + i) * dim, (from + i + 1) * dim)),
    )
    const began = performance.now()
    for (let i = 0; i < count; i++) index.addPoint(rows[i], from + i)
    return (performance.now() - began) / 1000
  }
  return {
    build(all) {
      start(all)
      let seconds = 0
      const rows = all.length / dim
      for (let at = 0; at < rows; at += 5000) seconds += insert(at, Math.min(5000, rows - at))
      index.writeIndexSync(file)
      return seconds
    },
    open() {
      index = new HierarchicalNSW(space, dim)
      index.readIndexSync(file)
    },
    query: (numbers) => Array.from(numbers),
    set: ({ ef }) => index.setEf(ef),
    search: (query) => index.searchKnn(query, k),
    ids: ({ neighbors }) => neighbors,
    create: start,
    insert,
  }
}
