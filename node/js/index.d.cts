/// <reference lib="esnext.disposable" />

/**
 * Asteroid DB: a vector database inside your process.
 *
 * Work runs on threads of its own, but for searches that take less than the way there; every call returns a promise and
 * reports every error, bad arguments included, by rejecting with an {@link AsteroidError}. Nothing here throws
 * synchronously.
 *
 * ```ts
 * import { open } from 'asteroid-db'
 *
 * const db = await open('./movies', { dim: 3, metric: 'cosine' })
 * await db.insert(1, [0.9, 0.1, 0], { title: 'Alien' })
 * const [nearest] = await db.search([1, 0, 0], { k: 1, include: ['payload'] })
 * await db.close()
 * ```
 */

/**
 * A row's id: an integer from 0, as a `number` up to 2^53 - 1 or a `bigint` up to 2^64 - 1, or a string of 1 to
 * 512 bytes of UTF-8. `7` and `7n` are the same id, `'7'` is another. Ids come back as `number` where that is
 * exact, else as `bigint`; strings as strings.
 */
export type Id = number | bigint | string

/** What a payload is unless `open` is told more: a plain JSON object of at most 1 MiB of text. */
export type Payload = { [key: string]: unknown }

/** Arrays of plain numbers that vectors are taken from. Each number must be finite as a 32-bit float. */
export type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | readonly number[]

/** A tensor, as Transformers.js and others give it: numbers and their shape. */
export interface Tensor {
  readonly data: unknown
  readonly dims: readonly number[]
}

/** One vector: `dim` finite numbers, or a tensor of dims `[dim]` or `[1, dim]`. */
export type Vector = Numbers | Tensor

/** Many vectors: `n * dim` numbers end to end in a typed array, a tensor of dims `[n, dim]`, or an array of vectors. */
export type Vectors = Exclude<Numbers, readonly number[]> | Tensor | readonly Vector[]

/** How far apart two vectors are; smaller is nearer. Euclidean, 1 - cosine, or the negative inner product. */
export type Metric = 'l2' | 'cosine' | 'dot'

/** A column that a read can bring back besides ids. */
export type Column = 'payload' | 'vector'

/**
 * A condition on payloads, as MongoDB's `find` takes it: `{ year: { $gte: 1979 }, genres: 'Horror' }`. Regular
 * expressions may be given as such. See the README for every operator.
 */
export interface Filter {
  readonly [path: string]: unknown
}

/** Every value of {@link AsteroidError.code}. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'DIMENSION_MISMATCH'
  | 'ID_EXISTS'
  | 'NOT_FOUND'
  | 'NOT_EMPTY'
  | 'FILTER_SYNTAX'
  | 'PAYLOAD_TOO_LARGE'
  | 'CLOSED'
  | 'LOCKED'
  | 'READ_ONLY'
  | 'CONFIG_MISMATCH'
  | 'UNSUPPORTED_VERSION'
  | 'CORRUPT'
  | 'STORAGE_FULL'
  | 'IO'
  | 'ABORTED'
  | 'POISONED'
  | 'UNSUPPORTED'
  | 'INTERNAL'

/**
 * What every call rejects with: a stable `code` to branch on, a message for people, and the `cause` where
 * there is one (for `ABORTED`, the signal's reason).
 *
 * ```ts
 * try {
 *   await db.insert(1, vector)
 * } catch (error) {
 *   if (!(error instanceof AsteroidError && error.code === 'ID_EXISTS')) throw error
 * }
 * ```
 */
export class AsteroidError extends Error {
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown })
  readonly name: 'AsteroidError'
  readonly code: ErrorCode
  readonly cause?: unknown
}

/** The part of an `AbortSignal` that is used. */
export interface Signal {
  readonly aborted: boolean
  readonly reason?: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** How to open a database. Options marked "fixed" are decided at creation; given again, they must agree. */
export interface OpenOptions {
  /** Fixed. Numbers per vector, 1 to 65,535. Required to create a database. */
  dim?: number | undefined
  /** Fixed. Default `'l2'`. */
  metric?: Metric | undefined
  /** Fixed. Graph links chosen per row at insert, 2 to 128. Default 16. */
  m?: number | undefined
  /** Fixed. Most links of a row on an upper layer, `m` to 256. Default 1.5 m. */
  mMax?: number | undefined
  /** Fixed. Most links of a row on the lowest layer, `m` to 512. Default 2 m. */
  mMax0?: number | undefined
  /** Candidates considered when a row is linked in, `m` to 4,096. Default 128. */
  efConstruction?: number | undefined
  /** Fixed. 0: one flat file, memory-mapped. 1 (default): pages of 4 KB behind the cache. */
  vectorStorageType?: 0 | 1 | undefined
  /** Most 4 KB vector pages to cache, where that is less than `cacheBytes` allows. */
  pagedMaxCachedPages?: number | undefined
  /** Delete the database that is there and start a new one. Default false. */
  reinit?: boolean | undefined
  /** Where the vector file lies, if not in the database's directory. Remembered from creation on. */
  vectorFilePath?: string | undefined
  /** One budget, in bytes, for everything cached; at least 4 MiB. Default 256 MiB. */
  cacheBytes?: number | undefined
  /** `'buffered'` (default): writes survive the death of the process. `'sync'`: they survive power loss. */
  durability?: 'buffered' | 'sync' | undefined
  /**
   * Fixed. The key-value store below. On disk `'redb'` (default), one file, written in place, with the cheapest reads; or
   * `'rocksdb'`, a folder of sorted files, where small changes are written as such and folded in the background. Both
   * behave the same otherwise; {@link convert} makes one of the other. `'memory'` belongs to `':memory:'`. In a browser
   * `'opfs'` or `'indexeddb'`, where left out the first of them that there is. `'rocksdb'` is `UNSUPPORTED` in an addon
   * that was built without it.
   */
  storage?: 'redb' | 'rocksdb' | 'opfs' | 'indexeddb' | 'memory' | undefined
  /**
   * How changed links reach the store at a checkpoint: `'eager'` whole lists, for fewest reads later; `'lazy'` only
   * what changed, for fewest bytes written; `'adaptive'` for each list whichever is expected to cost less, from its
   * length and the mix of reads and writes. Found rows are the same with each, and it may differ from opening to
   * opening. Default: `'eager'` on redb, which folds on writing anyway, `'adaptive'` on RocksDB.
   */
  linkPolicy?: 'eager' | 'lazy' | 'adaptive' | undefined
  /**
   * What walks over the graph go by, within `cacheBytes`; answers are by the vectors in any case. May differ from one `open`
   * to the next. Vectors of less than 8 numbers have no codes. Default `'sq8'`.
   *
   * - `'sq8'`: a byte per number and 20 per row are measured in place of vectors. The fastest, where it fits.
   * - `'rabitq'`: a bit per number and 12 bytes per row tell which vectors need not be read. For little memory, best with
   *   `vectorStorageType: 0`.
   * - `'none'`: the vectors themselves.
   */
  quantization?: 'sq8' | 'rabitq' | 'none' | undefined
  /** Refuse writes. Needs a database that exists and that nobody has open for writing. Default false. */
  readOnly?: boolean | undefined
  /** Open although links above the lowest layer cannot be read, for `check({ repair: true })`. Default false. */
  repair?: boolean | undefined
  /** Fixed. Seed of every random choice, so that builds replay: an integer up to 2^64 - 1. */
  seed?: number | bigint | undefined
  /** Threads for reads and for the parallel part of writes, 1 to 1,024. Default: all cores. One set of threads serves the whole process: the first `open` decides. */
  threads?: number | undefined
  /**
   * Which payload paths are indexed: those at or under `include` (all, if empty or left out), less those at or under
   * `exclude`. Kept with the database; another choice makes the index anew while opening.
   */
  indexes?: { include?: readonly string[] | undefined; exclude?: readonly string[] | undefined } | undefined
  /**
   * Browser: where `worker.mjs` of this package is served, for pages whose policy or bundler wants it named. May lie on
   * another origin. Without `wasmUrl`, `asteroid.wasm` is looked for next to it. In Node it changes nothing.
   */
  workerUrl?: string | { readonly href: string } | undefined
  /** Browser: where `asteroid.wasm` of this package is served. In Node it changes nothing. */
  wasmUrl?: string | { readonly href: string } | undefined
  /**
   * Browser: where `asteroid-rest.wasm` of this package is served, which is loaded when it is first needed. Without it,
   * it is looked for next to `wasmUrl`, if that is given. In Node it changes nothing.
   */
  restUrl?: string | { readonly href: string } | undefined
  /**
   * Make the database of a file that `export` wrote, while it is read or downloaded. There must be none yet, else
   * `NOT_EMPTY`; with `reinit` the one there is deleted, once the file has shown what it is. Fixed options are the
   * file's and may be left out; given, they must agree, but for `storage`, `vectorStorageType` and `vectorFilePath`,
   * which are the new database's own. A file that is damaged or ends early is `CORRUPT`, one by a newer version
   * `UNSUPPORTED_VERSION`; then, as after an abort or a crash, there is no database.
   */
  from?: ExportSource | undefined
  /** With `from`: ends the import with `ABORTED`. */
  signal?: Signal | undefined
  /**
   * With `from`: told of the bytes taken in, as for {@link ExportOptions.onProgress}; the last time before the database
   * is finished, so that none is left where it throws.
   */
  onProgress?: ((progress: Progress) => void) | undefined
}

/** Bytes in one piece. */
export type Bytes = ArrayBuffer | ArrayBufferView

/**
 * Where `open` takes an exported file from: the path or `file:` URL of one, an `http(s):` URL, the bytes, a `Blob` or
 * `File`, a stream, or an iterable of pieces of any size, the stream that `export()` gives among them.
 */
export type ExportSource =
  | string
  | { readonly href: string; readonly protocol: string }
  | Bytes
  | { readonly size: number; stream(): unknown }
  | { getReader(): unknown }
  | Iterable<Bytes>
  | AsyncIterable<Bytes>

/** Where `export` writes to: the path or `file:` URL of a file, a `WritableStream`, or one of Node's streams. */
export type ExportTarget =
  | string
  | { readonly href: string; readonly protocol: string }
  | { getWriter(): unknown }
  | { write(piece: Uint8Array): unknown; end(): unknown }

/** Options of an export. */
export interface ExportOptions extends SignalOptions {
  /**
   * Told of bytes done and in all, at most 20 times a second and once at the end. If it throws, the call is aborted
   * and rejects with `ABORTED` and the thrown value as `cause`.
   */
  onProgress?: ((progress: Progress) => void) | undefined
}

/** What an export wrote. */
export interface Exported {
  /** Rows in it. */
  rows: number
  /** Bytes of the file. */
  bytes: number
}

/** A `ReadableStream` of bytes where the host has such, as an iterable everywhere. */
export type ExportStream = (typeof globalThis extends { ReadableStream: { prototype: infer S } }
  ? S
  : unknown) &
  AsyncIterable<Uint8Array>

/** Options of a call that can be stopped. */
export interface SignalOptions {
  /** Ends the call at its next safe point with `ABORTED`. */
  signal?: Signal | undefined
}

/** How far a call has come: in rows, or in bytes where a file is moved. */
export interface Progress {
  /** Rows or bytes done. */
  done: number
  /** Rows or bytes in all. */
  total: number
}

/** Options of a call that writes many rows. */
export interface WriteManyOptions extends SignalOptions {
  /**
   * Told at most 20 times a second, and once with `done === total` before the promise resolves. If it throws,
   * the call is aborted and rejects with `ABORTED` and the thrown value as `cause`.
   */
  onProgress?: ((progress: Progress) => void) | undefined
}

/** Rows as columns, all of the same length. */
export interface Rows<P extends object = Payload> {
  /** One id per vector. Left out, the database gives consecutive numbers: see {@link Written.firstId}. */
  ids?: readonly Id[] | BigUint64Array | Uint32Array | undefined
  vectors: Vectors
  /** One payload, or `null`, per vector. Left out: none. */
  payloads?: readonly (P | null | undefined)[] | undefined
}

/** What `insertMany` and `upsertMany` did. */
export interface Written {
  /** Rows written. */
  count: number
  /** The first of the consecutive ids given, where the call brought none. */
  firstId?: number | bigint
}

/** Where `bulkBuild` takes vectors from: rows at hand, chunks of rows to come, or the path of a file. */
export type BulkVectors =
  | Vectors
  | Iterable<Vectors | Promise<Vectors>>
  | AsyncIterable<Vectors>
  | string
  | { readonly href: string; readonly protocol: string }

/** The steps of a bulk build, in their order. */
export type BulkPhase =
  | 'validate'
  | 'prepare'
  | 'descend'
  | 'connect'
  | 'upper'
  | 'order'
  | 'vectors'
  | 'store'

/** How far a bulk build has come. */
export interface BulkProgress extends Progress {
  /** What is going on: reading `vectors` in, then the steps of the build. */
  phase: 'read' | BulkPhase
  /** The share of the whole that is done, from 0 to 1; never falls. */
  fraction: number
  /** While reading, rows read; afterwards the rows that `fraction` of all come to. */
  done: number
  /** Rows in all; while an iterable is read, whose end is not known, rows so far. */
  total: number
}

/** Options of a bulk build. */
export interface BulkBuildOptions<P extends object = Payload> extends SignalOptions {
  /** Threads to build with, the database's writer among them. 0 (default): one per core. */
  threads?: number | undefined
  /** One id per vector. Default: 0, 1, 2, ... */
  ids?: readonly Id[] | BigUint64Array | Uint32Array | undefined
  /** One payload, or `null`, per vector. Default: none. */
  payloads?: Iterable<P | null | undefined> | AsyncIterable<P | null | undefined> | undefined
  /** As for `insertMany`; also told as each step begins. */
  onProgress?: ((progress: BulkProgress) => void) | undefined
  /** Most memory, in bytes, that the build may need. Default: what the system says is free. */
  maxMemoryBytes?: number | undefined
}

/** What a bulk build did. */
export interface BulkBuilt {
  /** Rows written. */
  n: number
  /** Milliseconds from the call to the end, reading `vectors` in included. */
  elapsedMs: number
  /** `n` by `elapsedMs`. */
  vectorsPerSec: number
  /** Threads it was built with. */
  threads: number
  /** Milliseconds of each step. */
  phases: Record<BulkPhase, number>
}

/** A whole row. */
export interface Row<P extends object = Payload> {
  id: Id
  vector: Float32Array
  /** `null` for a row without one. */
  payload: P | null
}

/** A row with the columns that were asked for. */
export type Scanned<P extends object, C extends Column> = { id: Id } & Pick<Row<P>, C>

/** A row found by a search, with its exact distance and the columns that were asked for. */
export type Hit<P extends object = Payload, C extends Column = never> = {
  id: Id
  distance: number
} & Pick<Row<P>, C>

/** How wide to search. */
export interface SearchKnnOptions extends SignalOptions {
  /** Rows wanted, 1 to 1,000,000. Default 10. Fewer come back only where there are fewer. */
  k?: number | undefined
  /** Candidates kept while walking the graph, 1 to 1,000,000. More find more of the true nearest. Default 64. */
  efSearch?: number | undefined
  /**
   * In the place of `efSearch`: the part of the true nearest to be found on average, 0.5 to 0.999. The database takes the
   * least `efSearch` that finds it for rows of its own, searched for as if they were not there; queries that resemble no
   * row may need more. The first search that asks learns it, and again when a fifth of the rows came or went, which takes
   * 0.05 to 0.15 s with `'sq8'`, twice as much otherwise, where the database is in memory; separately for `k + offset` up
   * to 4, 16, 128 and beyond.
   */
  recall?: number | undefined
  /** Only rows whose payload matches: still `k` of them, if there are so many. */
  filter?: Filter | undefined
  /**
   * Milliseconds, more than 0, after which the search answers with the nearest found so far, which may be fewer than `k`,
   * instead of going on; `explain.complete` tells. Counted from the call, time in queues included; in `searchMany` for each
   * query from when it begins. However late, a search looks around for some microseconds. What is not cut short: looking
   * up a filter, reading what is answered, and one wait for a disk. Default: none.
   */
  deadline?: number | undefined
}

/** How to search. */
export interface SearchOptions<C extends Column = never> extends SearchKnnOptions {
  /** Columns to bring back. Default: none. */
  include?: readonly C[] | undefined
  /** Leave out rows farther away than this. */
  maxDistance?: number | undefined
  /** Nearest rows to leave out first, for paging. Default 0; `k + offset` at most 1,000,000. */
  offset?: number | undefined
}

/** Options of a single search. */
export interface SearchOneOptions<C extends Column = never> extends SearchOptions<C> {
  /** Tell how it was done, in the property `explain` of the result. Default false. */
  explain?: boolean | undefined
}

/** How a search was done. */
export interface Explain {
  /**
   * `'walk'`: no filter. `'none'`: nothing matches. `'scan'`: every match was measured. `'bridge'`: a walk over the
   * matches. `'sweep'`: a walk over all rows that kept the matches.
   */
  plan: 'walk' | 'none' | 'scan' | 'bridge' | 'sweep'
  /** Whether a walk found too little and a surer plan followed. */
  fellBack: boolean
  /** Rows in the database. */
  rows: number
  /** Rows that match; an estimate unless `exact`. */
  matches: number
  /** Whether `matches` was counted. */
  exact: boolean
  /** Rows that the index could not decide on. */
  undecided: number
  /** Vectors measured. */
  measured: number
  /** Lists of links read. */
  lists: number
  /** Payloads read to see whether they match. */
  checked: number
  /** What each plan was expected to cost, in vectors measured, rounded up. */
  costs: { scan: number; bridge: number; sweep: number }
  /** The `efSearch` asked for, or that the recall asked for took, or the default; at least `k + offset`. */
  efSearch: number
  /**
   * The part of the true nearest that searches without a filter find with it, by the sample that it was learnt from;
   * `null` where no recall was asked for, or the deadline left no time to learn.
   */
  recall: number | null
  /** Whether the search came to its end: false where its deadline passed. */
  complete: boolean
  /** Milliseconds spent on the filter's lookups. */
  selectMs: number
  /** Milliseconds spent on the search. */
  searchMs: number
}

/** How to scan. */
export interface ScanOptions<C extends Column = never> extends SignalOptions {
  /** Columns to bring back. Default: none. */
  include?: readonly C[] | undefined
  /** Only rows whose payload matches. */
  filter?: Filter | undefined
  /** Rows read at a time, 1 to 100,000. Default 1,000. */
  batchSize?: number | undefined
}

/** Figures about a database, in rows and bytes. */
export interface Stats {
  /** The key-value store in use; in a browser where it keeps its files. */
  storage: 'redb' | 'rocksdb' | 'opfs' | 'indexeddb' | 'memory'
  /** Rows that a search can return. */
  rows: number
  /** Deleted or replaced rows that still take space; the database takes them out of its graph by itself. */
  tombstones: number
  /** Places of deleted rows that new rows take. */
  freeSlots: number
  /** The one cache budget. */
  cacheBytes: number
  /** Memory of cached graph links. */
  adjacencyBytes: number
  /** Memory of cached vector pages and of the sketches that filtered searches scan. */
  vectorBytes: number
  /** Memory of the codes that walks measure: see `quantization`. */
  codeBytes: number
  /** Memory of the store's own cache. */
  kvBytes: number
  /** Memory of the graph's upper layers. */
  upperBytes: number
  /** Memory of per-row tables, of writes not yet brought to the store and of what recent filters matched. */
  tableBytes: number
  /** Size of the vector file. */
  vectorFileBytes: number
  /** Size of the store's files. */
  kvFileBytes: number
  /** Size of the journal. */
  journalBytes: number
}

/** One thing that `check` found wrong. */
export interface Problem {
  /** A short stable name of the kind of damage. */
  kind: string
  /** What exactly, for people. */
  detail: string
  /** The row it concerns, where it concerns one. */
  id?: Id
}

/** The result of `check`. */
export interface CheckReport {
  /** Whether nothing is wrong. */
  ok: boolean
  /** Rows walked. */
  rows: number
  /** Links of the lowest graph layer walked. */
  links: number
  /** Everything found wrong; after a repair what is left of it. */
  problems: Problem[]
}

/** Options of `check`. */
export interface CheckOptions extends SignalOptions {
  /** Mend what can be mended. Default false. */
  repair?: boolean | undefined
}

/** The result of `check` with `repair`. */
export interface Repaired extends CheckReport {
  /** What was wrong before. */
  repaired: Problem[]
  /** Rows and payloads that could not be kept: `lost_row` and `lost_payload`, with the id where it is known. */
  lost: Problem[]
}

/**
 * Opens a database, creating it where there is none, and brings back what a crash left in its journal.
 *
 * `path` is a directory, as a string or a `file:` URL, or `':memory:'` for a database that ends with its
 * handle. Give the payload's type as a type argument to have it everywhere.
 *
 * Rejects with `INVALID_ARGUMENT` (unknown or impossible options, no `dim` for a new database), `LOCKED` (open
 * elsewhere, in this process or another), `CONFIG_MISMATCH` (a fixed option differs), `CORRUPT`, `IO`,
 * `STORAGE_FULL`, `NOT_EMPTY` and `ABORTED` (with `from`), `UNSUPPORTED` (no binary for this system, or a feature to come), `UNSUPPORTED_VERSION`.
 *
 * ```ts
 * const db = await open<{ title: string }>('./movies', { dim: 384, metric: 'cosine' })
 * ```
 */
export function open<P extends object = Payload>(
  path: string | { readonly href: string; readonly protocol: string },
  options?: OpenOptions,
): Promise<AsteroidDB<P>>

/** How far a conversion has come, in bytes. */
export interface ConvertProgress {
  /** Bytes copied. */
  done: number
  /** Bytes in all; an estimate, for a store may pack what it holds. */
  total: number
}

/** Options of {@link convert}. */
export interface ConvertOptions extends SignalOptions {
  /** The store of the new database. Default: the one that the old database does not have. */
  storage?: 'redb' | 'rocksdb' | undefined
  /** Where the vector file of the new database lies, if not in its directory. */
  vectorFilePath?: string | undefined
  /** As for `insertMany`, in bytes. */
  onProgress?: ((progress: ConvertProgress) => void) | undefined
}

/** Options of `backup`. */
export interface BackupOptions extends SignalOptions {
  /** The store of the copy. Default: the one that the database has, `redb` for one in memory. */
  storage?: 'redb' | 'rocksdb' | undefined
  /** Where the vector file of the copy lies, if not in its folder. */
  vectorFilePath?: string | undefined
  /** As for `insertMany`, in bytes. */
  onProgress?: ((progress: Progress) => void) | undefined
}

/** What `convert` or `backup` made. */
export interface Converted {
  /** Rows that a search can return. */
  rows: number
  /** The store of the new database. */
  storage: 'redb' | 'rocksdb'
  /** Bytes that the new database takes on disk. */
  bytesOnDisk: number
}

/**
 * Makes a database in the directory `to` that holds what the one in `from` does, in another store: the same rows, ids,
 * payloads, graph, index and options fixed at creation, so that every search gives the same.
 *
 * `from` must not be open for writing and stays as it is, also where a killed process left writes in its journal: the
 * new database has them. `to` must be absent or empty. A crash half-way leaves no database there, an error or an abort
 * nothing but the directory; the call can simply be made again. Takes one pass over all bytes, in little memory.
 *
 * Rejects with `NOT_FOUND` (nothing at `from`), `NOT_EMPTY` (a database at `to`), `LOCKED`, `INVALID_ARGUMENT`,
 * `ABORTED`, `CORRUPT`, `STORAGE_FULL`, `IO`, `UNSUPPORTED`.
 *
 * ```ts
 * const { rows, bytesOnDisk } = await convert('./movies', './movies-rocksdb', { storage: 'rocksdb' })
 * ```
 */
export function convert(
  from: string | { readonly href: string; readonly protocol: string },
  to: string | { readonly href: string; readonly protocol: string },
  options?: ConvertOptions,
): Promise<Converted>

/**
 * An open database, made by {@link open}.
 *
 * Reads see everything whose write has resolved; they never wait for writes. Writes take effect in the order
 * of their calls. Arguments are copied: small ones during the call, large arrays (over 4 MB) in slices right
 * after it, so leave those alone until the promise settles. Beside what each method lists, every call may reject
 * with `CLOSED`, `CORRUPT`, `IO` or `INTERNAL`, and every write with `READ_ONLY`, `STORAGE_FULL` or `POISONED`.
 */
export class AsteroidDB<P extends object = Payload> {
  private constructor()

  /** Numbers per vector. */
  readonly dim: number
  /** How distance is measured. */
  readonly metric: Metric
  /** The absolute path it was opened at, or `':memory:'`. */
  readonly path: string
  /** Whether `close` has been called. */
  readonly closed: boolean

  /**
   * Adds a row. Committed when the promise resolves.
   *
   * Rejects with `ID_EXISTS`, `DIMENSION_MISMATCH`, `PAYLOAD_TOO_LARGE`, or `INVALID_ARGUMENT` (not an id, a
   * number that is not finite, the zero vector under cosine, a payload that is not a JSON object).
   *
   * ```ts
   * await db.insert(1, vector, { title: 'Alien', year: 1979 })
   * ```
   */
  insert(id: Id, vector: Vector, payload?: P | null): Promise<void>

  /**
   * Adds a row, or replaces its vector and, if one is given, its payload. Rejects as `insert` does, save `ID_EXISTS`.
   *
   * ```ts
   * await db.upsert('note-1', await embed('call the plumber'))
   * ```
   */
  upsert(id: Id, vector: Vector, payload?: P | null): Promise<void>

  /**
   * Adds many rows, all or none, on all threads: much faster than a loop of `insert`.
   *
   * Rejects as `insert` does, naming the row, and with `ABORTED`. A repeated id among `ids` is `ID_EXISTS`.
   *
   * ```ts
   * const { count, firstId } = await db.insertMany({ vectors: new Float32Array(1000 * db.dim).fill(1) })
   * ```
   */
  insertMany(rows: Rows<P>, options?: WriteManyOptions): Promise<Written>

  /** `insertMany` for rows that may be there already: replaces vectors, and payloads where given. */
  upsertMany(rows: Rows<P>, options?: WriteManyOptions): Promise<Written>

  /**
   * Replaces a row's vector and keeps its payload. Rejects with `NOT_FOUND`, and as `insert` does for the vector.
   *
   * ```ts
   * await db.update(1, betterVector)
   * ```
   */
  update(id: Id, vector: Vector): Promise<void>

  /**
   * Removes a row. Resolves to whether it was there.
   *
   * ```ts
   * if (!(await db.delete(1))) console.log('was not there')
   * ```
   */
  delete(id: Id): Promise<boolean>

  /** Removes rows in one commit. Resolves to how many of them were there. */
  deleteMany(ids: readonly Id[] | BigUint64Array | Uint32Array): Promise<number>

  /**
   * Removes every row that matches, all or none of them. Resolves to how many there were. Rejects with
   * `FILTER_SYNTAX` and `ABORTED`.
   *
   * ```ts
   * await db.deleteWhere({ year: { $lt: 1950 } })
   * ```
   */
  deleteWhere(filter: Filter, options?: SignalOptions): Promise<number>

  /**
   * Builds the whole graph of a first load at once, in memory, and writes it in one pass: several times as fast as
   * `insertMany`, and the graph finds as much. The database must be empty. All rows or none: after an abort, a crash
   * or a full disk it is empty. The same vectors and seed give the same graph, whatever the number of threads.
   *
   * `vectors` are at hand (a `Float32Array` of `n * dim` numbers end to end, an array of vectors, a tensor), or come
   * in chunks from an iterable, each a whole number of vectors, or lie in a file: the path of a `.npy` (rows x dim,
   * C order; float32, float16, float64, uint8, int8), `.fvecs` or `.bvecs`. Files and chunks are read straight into
   * the one buffer that the build works on. A call with an iterable takes its place among the writes when the
   * iterable has ended, any other at once.
   *
   * Memory: about `9 * dim + 500` bytes per row at the peak, `vectors` as one copy included; afterwards it falls back
   * to what `cacheBytes` allows. A build that needs more than there is is refused before it begins.
   *
   * Rejects with `NOT_EMPTY`, `ABORTED` (also where an iterable throws, which is then the `cause`), `IO` (the file
   * cannot be read), and as `insertMany` does, naming the row.
   *
   * ```ts
   * const { n, vectorsPerSec } = await db.bulkBuild('./embeddings.npy', { onProgress: (p) => console.log(p.fraction) })
   * ```
   */
  bulkBuild(vectors: BulkVectors, options?: BulkBuildOptions<P>): Promise<BulkBuilt>

  /**
   * Does at once what the database does by itself while no write waits: takes deleted and replaced rows out of the
   * graph, frees their places for new rows, and brings the files up to date. Never needed; `stats().tombstones` tells
   * how much there is to do. Rows that a running scan still shows are left for later.
   *
   * Searches go on meanwhile, writes wait. `signal` stops it: it then rejects with `ABORTED`, and what was done stays.
   * `onProgress` is told of steps done and steps in all.
   *
   * ```ts
   * await db.compact({ onProgress: ({ done, total }) => console.log(Math.round((100 * done) / total), '%') })
   * ```
   */
  compact(options?: WriteManyOptions): Promise<void>

  /** Whether a row is there. */
  has(id: Id): Promise<boolean>

  /**
   * A whole row, `undefined` where there is none. The vector holds exactly the 32-bit floats that went in.
   *
   * ```ts
   * const row = await db.get(1)
   * console.log(row?.payload?.title)
   * ```
   */
  get(id: Id): Promise<Row<P> | undefined>

  /** Whole rows in the order of `ids`, `undefined` for each that is not there. */
  getMany(ids: readonly Id[] | BigUint64Array | Uint32Array): Promise<(Row<P> | undefined)[]>

  /** A row's payload: `null` for a row without one, `undefined` for no such row. */
  getPayload(id: Id): Promise<P | null | undefined>

  /**
   * Replaces a row's payload; `null` removes it. Rejects with `NOT_FOUND`, `PAYLOAD_TOO_LARGE`, `INVALID_ARGUMENT`.
   *
   * ```ts
   * await db.setPayload(1, { title: 'Alien', seen: true })
   * ```
   */
  setPayload(id: Id, payload: P | null): Promise<void>

  /**
   * Merges a patch into a row's payload (RFC 7396): members replace, `null` removes, objects merge deeply.
   * Rejects as `setPayload` does.
   *
   * ```ts
   * await db.mergePayload(1, { seen: true, draft: null })
   * ```
   */
  mergePayload(id: Id, patch: { [K in keyof P]?: unknown } | Payload): Promise<void>

  /**
   * The `k` nearest rows, nearest first: ids and exact distances.
   *
   * In Node, one that is expected to take at most 0.3 ms, by what the database's last searches took, and has neither a
   * filter nor a width to learn for its `recall`, is done on the calling thread where no other read waits or runs; any
   * other on the threads for reads. Either way the promise is settled in a later turn of the event loop.
   *
   * Rejects with `DIMENSION_MISMATCH`, `INVALID_ARGUMENT`, `ABORTED`.
   *
   * ```ts
   * const hits = await db.searchKnn(query, { k: 10, efSearch: 128 })
   * const most = await db.searchKnn(query, { k: 10, recall: 0.95, deadline: 20 })
   * ```
   */
  searchKnn(query: Vector, options?: SearchKnnOptions): Promise<Hit<P>[]>

  /**
   * The `k` nearest rows, nearest first, with the columns of `include`. Rejects as `searchKnn` does.
   *
   * ```ts
   * const page2 = await db.search(query, { k: 10, offset: 10, include: ['payload'], maxDistance: 0.4 })
   * ```
   */
  search<C extends Column = never>(
    query: Vector,
    options: SearchOneOptions<C> & { explain: true },
  ): Promise<Hit<P, C>[] & { explain: Explain }>
  search<C extends Column = never>(query: Vector, options?: SearchOneOptions<C>): Promise<Hit<P, C>[]>

  /**
   * One list of hits per query, on all threads. Rejects as `searchKnn` does.
   *
   * ```ts
   * const lists = await db.searchMany(queries, { k: 5 }) // queries: Float32Array of q * dim
   * ```
   */
  searchMany<C extends Column = never>(queries: Vectors, options?: SearchOptions<C>): Promise<Hit<P, C>[][]>

  /** How many rows there are. */
  count(filter?: Filter, options?: SignalOptions): Promise<number>

  /**
   * All rows, in no set order, as they were when the iteration began: rows deleted since still come, rows added
   * since do not. Leaving the loop early lets go of the snapshot. Ends with `CLOSED` if the database is closed
   * meanwhile, with `ABORTED` by its signal.
   *
   * ```ts
   * for await (const { id, payload } of db.scan({ include: ['payload'] })) console.log(id, payload)
   * ```
   */
  scan<C extends Column = never>(options?: ScanOptions<C>): AsyncGenerator<Scanned<P, C>, void, undefined>

  /** Rows, memory by use, bytes on disk. */
  stats(): Promise<Stats>

  /**
   * Writes the whole database, as it is when the call's turn among the writes comes, to one file that
   * `open(path, { from })` takes anywhere: in Node and in browsers, whatever the storage. Searches there answer
   * exactly as here. Reads and writes go on meanwhile; what they replace keeps its space on disk until the end.
   *
   * A path gets its file only once that is whole and on disk; a file that is there is replaced then. Streams are
   * ended, on failure aborted. Rejects with `ABORTED`, `IO`, `STORAGE_FULL`.
   *
   * ```ts
   * const { rows, bytes } = await db.export('./movies.asteroid')
   * const copy = await open('./copy', { from: './movies.asteroid' })
   * ```
   */
  export(target: ExportTarget, options?: ExportOptions): Promise<Exported>
  /**
   * The same as a stream, to be read piece by piece: leaving or cancelling it lets go of the state it holds. Ends with
   * `CLOSED` if the database is closed meanwhile.
   *
   * ```ts
   * const response = new Response(db.export())
   * ```
   */
  export(options?: ExportOptions): ExportStream

  /**
   * Makes a database in the folder `path`, which must be absent or empty, that holds what this one does when the call's
   * turn among the writes comes. Reads and writes go on meanwhile; what they replace keeps its space on disk until the
   * end. The copy has the same rows, ids, payloads, graph and options, and is on disk when the call resolves. A crash
   * half-way leaves no database there, an error or an abort nothing but the folder. In a browser use `export`.
   *
   * Rejects with `NOT_EMPTY` (a database at `path`), `INVALID_ARGUMENT`, `ABORTED`, `STORAGE_FULL`, `IO`, `UNSUPPORTED`.
   *
   * ```ts
   * const { rows, bytesOnDisk } = await db.backup('./movies-monday')
   * ```
   */
  backup(
    path: string | { readonly href: string; readonly protocol: string },
    options?: BackupOptions,
  ): Promise<Converted>

  /** Makes all earlier writes survive power loss. */
  flush(): Promise<void>

  /**
   * Reads everything and reports what is damaged. Takes time in proportion to the database. Rejects with `ABORTED`.
   *
   * ```ts
   * const { ok, problems } = await db.check()
   * ```
   */
  check(options: CheckOptions & { repair: true }): Promise<Repaired>
  /**
   * With `repair`, makes anew what follows from ids, vectors and payloads where it is damaged: links, upper layers, the
   * index of payloads, names, counters. A row whose id or vector cannot be read is deleted, a payload that cannot be is
   * removed, and `lost` names them. Takes the time and memory of a bulk build; writes wait. Where a database does not
   * open for such damage, `open` it with `repair: true` first. Damaged blocks of the key-value store stay `CORRUPT`:
   * restore a backup.
   *
   * ```ts
   * const { ok, repaired, lost } = await db.check({ repair: true })
   * ```
   */
  check(options?: CheckOptions): Promise<CheckReport>

  /**
   * Finishes all calls made so far, flushes, and lets the files go. Later calls reject with `CLOSED`; closing
   * again gives the same promise. Leaving the process without it loses nothing.
   */
  close(): Promise<void>

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}
