// The systems, as a page uses them: each builds and stores an index, opens it again, and searches. M 16,
// efConstruction 128, cosine.
//
// build(base, rows, dim, ef)  makes an index of all rows and stores it
// load(dim, ef, rows)         opens what was stored
// widen(index, ef)            has later searches look that wide; absent where how wide cannot be chosen
// search(index, query)        the ids of the ten nearest rows
const M = 16
const EF_CONSTRUCTION = 128
const K = 10
const NAME = 'bench'

const row = (base, dim, at) => base.subarray(at * dim, (at + 1) * dim)

/** One value in IndexedDB, for systems that leave storing to their users. */
async function keep(value) {
  const db = await new Promise((resolve, reject) => {
    const request = indexedDB.open('kept', 1)
    request.onupgradeneeded = () => request.result.createObjectStore('kept')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
  const transaction = db.transaction('kept', value === undefined ? 'readonly' : 'readwrite')
  const store = transaction.objectStore('kept')
  const request = value === undefined ? store.get(NAME) : store.put(value, NAME)
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve
    transaction.onabort = () => reject(transaction.error)
  })
  db.close()
  return request.result
}

const asteroid = (method, storage) => ({
  async build(base, _rows, dim) {
    const { open } = await import('/asteroid/index.mjs')
    const db = await open(NAME, { dim, metric: 'cosine', storage })
    await db[method](method === 'insertMany' ? { vectors: base } : base)
    await db.flush()
    return { db }
  },
  async load() {
    const { open } = await import('/asteroid/index.mjs')
    return { db: await open(NAME, { storage }) }
  },
  widen(index, ef) {
    index.ef = ef
    return index
  },
  async search({ db, ef }, query) {
    return (await db.search(query, { k: K, efSearch: ef })).map(({ id }) => id)
  },
  close: ({ db }) => db.close(),
})

/** Rows of length 1, for systems that take them so. */
function unit(base, dim) {
  const out = base.slice()
  for (let at = 0; at < out.length; at += dim) {
    const vector = out.subarray(at, at + dim)
    const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))
    for (let i = 0; i < dim; i++) vector[i] /= length
  }
  return out
}

// Version 0.9.0 cannot load what it saved (ERR_CORRUPTION), so its users have to keep the vectors and build again.
const edgevec = {
  async make(vectors, dim, ef) {
    const { default: init, EdgeVec, EdgeVecConfig } = await import('/peers/edgevec/edgevec.js')
    await init()
    const config = new EdgeVecConfig(dim)
    // Its 'cosine' and 'dot' take a product for a distance, so that the farthest rows come first. Of rows of length 1 the
    // nearest are the same under 'l2'.
    config.metric = 'l2'
    config.m = M
    config.m0 = 2 * M
    config.ef_construction = EF_CONSTRUCTION
    config.ef_search = ef
    const db = new EdgeVec(config)
    const [first] = db.insertBatchFlat(vectors, vectors.length / dim)
    return { db, first }
  },
  async build(base, _rows, dim, ef) {
    const vectors = unit(base, dim)
    const index = await this.make(vectors, dim, ef)
    await keep(vectors)
    return index
  },
  async load(dim, ef) {
    return this.make(await keep(), dim, ef)
  },
  // How wide is fixed when an index is made: asking for more rows is as wide, and then one is made for what was found.
  rebuilt: true,
  widen(index, ef) {
    index.ef = ef
    return index
  },
  search({ db, first, ef = K }, query) {
    const found = db.search(unit(query, query.length), Math.max(K, ef)).slice(0, K)
    return found.map(({ id }) => id - first)
  },
}

const hnswlib = {
  async start(dim) {
    const { loadHnswlib, syncFileSystem } = await import('/peers/hnswlib-wasm/dist/hnswlib.js')
    const lib = await loadHnswlib()
    await syncFileSystem('read')
    return { index: new lib.HierarchicalNSW('cosine', dim, ''), sync: syncFileSystem }
  },
  async build(base, rows, dim) {
    const { index, sync } = await this.start(dim)
    index.initIndex(rows, M, EF_CONSTRUCTION, 100)
    for (let at = 0; at < rows; at++) index.addPoint(row(base, dim, at), at, false)
    await index.writeIndex(NAME)
    await sync('write')
    return index
  },
  async load(dim, _ef, rows) {
    const { index } = await this.start(dim)
    await index.readIndex(NAME, rows)
    return index
  },
  widen(index, ef) {
    index.setEfSearch(ef)
    return index
  },
  search: (index, query) => index.searchKnn(query, K, undefined).neighbors,
}

const voy = {
  async start() {
    const glue = await import('/peers/voy-search/voy_search_bg.js')
    const { instance } = await WebAssembly.instantiateStreaming(
      fetch('/peers/voy-search/voy_search_bg.wasm'),
      { './voy_search_bg.js': glue },
    )
    glue.__wbg_set_wasm(instance.exports)
    return glue.Voy
  },
  async build(base, rows, dim) {
    const Voy = await this.start()
    const vectors = unit(base, dim)
    const embeddings = Array.from({ length: rows }, (_, at) => ({
      id: String(at),
      title: '',
      url: '',
      embeddings: Array.from(row(vectors, dim, at)),
    }))
    const index = new Voy({ embeddings })
    await keep(index.serialize())
    return index
  },
  async load() {
    const Voy = await this.start()
    return Voy.deserialize(await keep())
  },
  search(index, query) {
    const { neighbors } = index.search(unit(query, query.length), K)
    return neighbors.map(({ id }) => Number(id))
  },
}

const pglite = {
  async start() {
    const { PGlite } = await import('/peers/@electric-sql/pglite/dist/index.js')
    const { vector } = await import('/peers/@electric-sql/pglite-pgvector/dist/index.js')
    return PGlite.create(`idb://${NAME}`, { extensions: { vector } })
  },
  async build(base, rows, dim) {
    const db = await this.start()
    await db.exec(
      `CREATE EXTENSION vector; CREATE TABLE rows (id int PRIMARY KEY, v vector(${dim})); SET maintenance_work_mem = '256MB'`,
    )
    const lines = Array.from({ length: rows }, (_, at) => `${at}\t[${row(base, dim, at).join(',')}]\n`)
    await db.query("COPY rows FROM '/dev/blob'", [], { blob: new Blob(lines) })
    await db.exec(
      `CREATE INDEX ON rows USING hnsw (v vector_cosine_ops) WITH (m = ${M}, ef_construction = ${EF_CONSTRUCTION})`,
    )
    return db
  },
  load() {
    return this.start()
  },
  async widen(db, ef) {
    await db.exec(`SET hnsw.ef_search = ${ef}; SET enable_seqscan = off`)
    return db
  },
  async search(db, query) {
    const { rows } = await db.query(`SELECT id FROM rows ORDER BY v <=> $1 LIMIT ${K}`, [
      `[${query.join(',')}]`,
    ])
    return rows.map(({ id }) => id)
  },
  close: (db) => db.close(),
}

export const systems = {
  'ours, bulkBuild': asteroid('bulkBuild', 'opfs'),
  'ours, insertMany': asteroid('insertMany', 'opfs'),
  'ours, IndexedDB': asteroid('bulkBuild', 'indexeddb'),
  edgevec,
  'hnswlib-wasm': hnswlib,
  'voy-search': voy,
  'pglite + pgvector': pglite,
}
