// Asteroid DB through its public JavaScript API, which the folder's own package.json hides under its name.
import { join } from 'node:path'
import { open } from '../../../node/js/index.mjs'

const BATCH = 20_000

/** Options of the task: `open` for the call of that name, `build` `bulk` or `insert`, `batch` rows per insert. */
export default function create({ place, dim, metric, k, options }) {
  const path = join(place, 'asteroid')
  const settings = { dim, metric, m: 16, efConstruction: 128, ...options.open }
  let db
  let base
  let efSearch
  const rows = (from, count) => base.subarray(from * dim, (from + count) * dim)
  return {
    async build(all) {
      base = all
      const count = all.length / dim
      db = await open(path, settings)
      const began = performance.now()
      if (options.build === 'insert') {
        for (let at = 0; at < count; at += BATCH) await db.insertMany({ vectors: rows(at, BATCH) })
      } else await db.bulkBuild(all, { threads: options.open?.threads })
      const seconds = (performance.now() - began) / 1000
      await db.close()
      return seconds
    },
    async open() {
      db = await open(path, settings)
    },
    query: (numbers) => numbers,
    set({ ef }) {
      efSearch = ef
    },
    search: (query) => db.searchKnn(query, { k, efSearch }),
    many: (queries, { ef }) => db.searchMany(queries, { k, efSearch: ef }),
    ids: (hits) => hits.map(({ id }) => id),
    async create(all) {
      base = all
      db = await open(path, settings)
    },
    async insert(from, count) {
      const { batch } = options
      const parts = []
      for (let at = from; at < from + count; at += batch ?? 1)
        parts.push([at, rows(at, Math.min(batch ?? 1, from + count - at))])
      const ids = (at, vectors) => Array.from({ length: vectors.length / dim }, (_, i) => at + i)
      const began = performance.now()
      for (const [at, vectors] of parts) {
        if (batch) await db.insertMany({ ids: ids(at, vectors), vectors })
        else await db.insert(at, vectors)
      }
      return (performance.now() - began) / 1000
    },
    close: () => db.close(),
  }
}
