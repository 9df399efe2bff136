// zvec: HNSW over whole vectors, in its own files; queries through its synchronous call, which is the quicker one.
import { join } from 'node:path'

// The most that one call takes is 1,024.
const BATCH = 1000

export default function create({ place, dim, metric, k, threads, options }, require) {
  const zvec = require('@zvec/zvec')
  const path = join(place, 'zvec')
  zvec.ZVecInitialize({ logLevel: zvec.ZVecLogLevel.ERROR, queryThreads: 1, optimizeThreads: threads })
  const metricType = { l2: zvec.ZVecMetricType.L2, cosine: zvec.ZVecMetricType.COSINE }[metric]
  let collection
  let base
  let params
  const start = (all) => {
    base = all
    const indexParams = { indexType: zvec.ZVecIndexType.HNSW, metricType, m: 16, efConstruction: 128 }
    const vector = {
      name: 'vector',
      dataType: zvec.ZVecDataType.VECTOR_FP32,
      dimension: dim,
      indexParams,
    }
    const schema = new zvec.ZVecCollectionSchema({ name: 'rows', vectors: vector })
    collection = zvec.ZVecCreateAndOpen(path, schema)
  }
  const insert = (from, count) => {
    const docs = Array.from({ length: count }, (_, i) => ({
      id: String(from + i),
      vectors: { vector: base.slice((from + i) * dim, (from + i + 1) * dim) },
    }))
    const began = performance.now()
    for (const { ok, message } of collection.insertSync(docs)) if (!ok) throw new Error(message)
    if (options.optimize) collection.optimizeSync({ concurrency: 1 })
    return (performance.now() - began) / 1000
  }
  return {
    build(all) {
      start(all)
      const rows = all.length / dim
      let seconds = 0
      for (let at = 0; at < rows; at += BATCH) seconds += insert(at, Math.min(BATCH, rows - at))
      const began = performance.now()
      collection.optimizeSync({ concurrency: threads })
      seconds += (performance.now() - began) / 1000
      collection.closeSync()
      return seconds
    },
    open() {
      collection = zvec.ZVecOpen(path)
    },
    query: (numbers) => numbers,
    set({ ef }) {
      params = { indexType: zvec.ZVecIndexType.HNSW, ef }
    },
    search: (vector) =>
      collection.querySync({ fieldName: 'vector', vector, topk: k, outputFields: [], params }),
    ids: (hits) => hits.map(({ id }) => Number(id)),
    create: start,
    insert,
    close: () => collection.closeSync(),
  }
}
