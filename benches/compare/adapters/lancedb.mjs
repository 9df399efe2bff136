// LanceDB: one partition of HNSW over 8-bit codes; `ef` candidates, of which `refine` times k are measured exactly.
import { join } from 'node:path'

const BATCH = 10_000

export default async function create({ place, dim, metric, k, options }, require) {
  const lancedb = require('@lancedb/lancedb')
  const path = join(place, 'lancedb')
  const config = lancedb.Index.hnswSq({ distanceType: metric, numPartitions: 1, m: 16, efConstruction: 128 })
  let table
  let base
  let setting
  const records = (from, count) =>
    Array.from({ length: count }, (_, i) => ({
      id: from + i,
      vector: Array.from(base.subarray((from + i) * dim, (from + i + 1) * dim)),
    }))
  const add = async (from, count) => {
    const rows = records(from, count)
    const began = performance.now()
    if (table) {
      await table.add(rows)
      if (options.optimize) await table.optimize()
    } else {
      table = await (await lancedb.connect(path)).createTable('rows', rows)
      if (options.optimize) await table.createIndex('vector', { config })
    }
    return (performance.now() - began) / 1000
  }
  return {
    async build(all) {
      base = all
      const rows = all.length / dim
      for (let at = 0; at < rows; at += BATCH) await add(at, Math.min(BATCH, rows - at))
      await table.optimize()
      const began = performance.now()
      await table.createIndex('vector', { config })
      return (performance.now() - began) / 1000
    },
    async open() {
      table = await (await lancedb.connect(path)).openTable('rows')
    },
    query: (numbers) => numbers,
    set(given) {
      setting = given
    },
    search(query) {
      const { ef, refine = 2 } = setting
      const asked = table.query().nearestTo(query).column('vector').distanceType(metric)
      return asked.nprobes(1).ef(ef).refineFactor(refine).select(['id', '_distance']).limit(k).toArray()
    },
    ids: (hits) => hits.map(({ id }) => Number(id)),
    create(all) {
      base = all
    },
    insert: add,
  }
}
