// Compiled by `npm run typecheck`, never run: what must be allowed is, and what must not be is an error.
import {
  AsteroidDB,
  AsteroidError,
  type BulkBuilt,
  type Converted,
  convert,
  type Hit,
  type Id,
  open,
  type Row,
} from 'asteroid-db'

interface Film {
  title: string
  year?: number
}

const db = await open<Film>('./movies', { dim: 3, metric: 'cosine', seed: 5n, cacheBytes: 64 << 20 })
const plain: AsteroidDB = await open(new URL('file:///tmp/x'))

await db.insert(1, [1, 2, 3], { title: 'Alien' })
await db.insert(1n, new Float32Array(3), null)
await db.upsert('a', { data: new Float32Array(3), dims: [1, 3] })
await plain.insert(1, new Float64Array(3), { anything: [1, { deep: true }] })
const { count, firstId } = await db.insertMany(
  { ids: [1, 'b', 3n], vectors: [[1, 2, 3], new Float32Array(3)], payloads: [{ title: 'x' }, null] },
  { signal: AbortSignal.timeout(5), onProgress: ({ done, total }) => console.log(done / total) },
)
await db.insertMany({ ids: new BigUint64Array(2), vectors: new Float32Array(6) })
const next: number | bigint | undefined = firstId
const rows: number = count

const hits: Hit<Film>[] = await db.searchKnn([1, 2, 3], { k: 5, efSearch: 50 })
const enough: Hit<Film>[] = await db.searchKnn([1, 2, 3], { recall: 0.95, deadline: 20 })
const { explain } = await db.search([1, 2, 3], { recall: 0.9, explain: true })
const [efSearch, reached, complete]: [number, number | null, boolean] = [
  explain.efSearch,
  explain.recall,
  explain.complete,
]
const withPayload = await db.search([1, 2, 3], { include: ['payload'], offset: 3, maxDistance: 0.5 })
const title: string | undefined = withPayload[0]?.payload?.title
const both = await db.searchMany(new Float32Array(6), { include: ['payload', 'vector'] })
const vector: Float32Array | undefined = both[0]?.[0]?.vector
const row: Row<Film> | undefined = await db.get(1)
const some: (Row<Film> | undefined)[] = await db.getMany([1, 'a'])
const payload: Film | null | undefined = await db.getPayload(1)
for await (const scanned of db.scan({ include: ['vector'] })) {
  const id: Id = scanned.id
  console.log(id, scanned.vector.length)
  // @ts-expect-error: the payload was not asked for
  console.log(scanned.payload)
}
const { ok, problems } = await db.check()
console.log(
  next,
  rows,
  hits,
  enough,
  efSearch,
  reached,
  complete,
  title,
  vector,
  row,
  some,
  payload,
  ok,
  problems[0]?.kind,
  (await db.stats()).rows,
)
await db.mergePayload(1, { title: null })
const converted: Converted = await convert('./movies', new URL('file:///tmp/y'), {
  storage: 'rocksdb',
  signal: AbortSignal.timeout(5),
  onProgress: ({ done, total }) => console.log(done / total),
})
console.log(converted.rows, converted.storage, converted.bytesOnDisk)
const backup: Converted = await db.backup(new URL('file:///tmp/z'), { storage: 'redb' })
await db.compact({ onProgress: ({ done, total }) => console.log(backup.rows, done / total) })
const built: BulkBuilt = await db.bulkBuild(new Float32Array(6), {
  threads: 2,
  ids: ['a', 2],
  payloads: [{ title: 'x' }, null],
  maxMemoryBytes: 1e9,
  signal: AbortSignal.timeout(5),
  onProgress: ({ phase, fraction, done, total }) => console.log(phase, fraction, done / total),
})
console.log(built.vectorsPerSec, built.phases.descend)
await plain.bulkBuild('./x.npy')
await plain.bulkBuild(new URL('file:///x.npy'))
await plain.bulkBuild([[1, 2, 3]])
async function* chunks() {
  yield new Float32Array(3)
}
await plain.bulkBuild(chunks())

const exported: number = (await db.export('./x.asteroid', { onProgress: ({ done }) => console.log(done) }))
  .bytes
await db.export(new URL('file:///x'))
await db.export(new WritableStream())
await db.export(process.stdout)
for await (const piece of db.export({ signal: AbortSignal.timeout(5) }))
  console.log(piece.byteLength, exported)
await new Response(db.export()).blob()
await open(':memory:', { from: './x.asteroid', onProgress: ({ total }) => console.log(total) })
await open(':memory:', { from: new URL('https://example.com/x') })
await open(':memory:', { from: new Uint8Array(3) })
await open(':memory:', { from: new Blob([]) })
await open(':memory:', { from: (await fetch('https://example.com/x')).body ?? [] })
await open(':memory:', { from: db.export() })
// @ts-expect-error: numbers are no source
await open(':memory:', { from: 7 })
// @ts-expect-error: a number is no target
await db.export(7)

try {
  await db.close()
} catch (error) {
  if (error instanceof AsteroidError && error.code === 'CLOSED') console.log(error.message, error.cause)
}
await using scoped = await open(':memory:', { dim: 2 })
console.log(scoped.dim)

// @ts-expect-error: dim is a number
await open('./x', { dim: '3' })
// @ts-expect-error: no such metric
await open('./x', { metric: 'euclid' })
// @ts-expect-error: no such option
await open('./x', { dimension: 3 })
// @ts-expect-error: only 0 and 1
await open('./x', { vectorStorageType: 2 })
// @ts-expect-error: a path is needed
await open()
// @ts-expect-error: made by open() only
new AsteroidDB()
// @ts-expect-error: not a Film
await db.insert(1, [1, 2, 3], { name: 'Alien' })
// @ts-expect-error: arrays are not payloads
await plain.insert(1, [1, 2, 3], ['a'])
// @ts-expect-error: an id is needed
await db.insert([1, 2, 3])
// @ts-expect-error: booleans are not ids
await db.get(true)
// @ts-expect-error: strings are not vectors
await db.search('alien')
// @ts-expect-error: bigint arrays are not vectors
await db.search(new BigInt64Array(3))
// @ts-expect-error: vectors are needed
await db.insertMany({ ids: [1] })
// @ts-expect-error: no such column
await db.search([1, 2, 3], { include: ['payloads'] })
// @ts-expect-error: searchKnn brings ids and distances only
await db.searchKnn([1, 2, 3], { include: ['payload'] })
// @ts-expect-error: the vector was not asked for
console.log(withPayload[0]?.vector)
// @ts-expect-error: a row may be absent
console.log((await db.get(1)).payload)
// @ts-expect-error: no such code
if (new AsteroidError('CLOSED', '').code === 'CLOSE') console.log()
// @ts-expect-error: not Films
await db.bulkBuild(new Float32Array(3), { payloads: [{ name: 'Alien' }] })
// @ts-expect-error: nothing converts to memory
await convert('./a', './b', { storage: 'memory' })
// @ts-expect-error: numbers are not vectors
await db.bulkBuild(7)
// @ts-expect-error: dim cannot be set
db.dim = 5
