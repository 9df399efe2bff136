// What the facade calls its addon, by messages to a worker: takes the place of node/js/native.cjs.
import { AsteroidError } from '../../../node/js/errors.cjs'
import { Connection } from './connection.mjs'
import { start } from './start.mjs'

const CLOSED = 'CLOSED\nthe database is closed: open it again to use it'

/** Set when a call's `AbortSignal` fires. */
class AbortFlag {
  aborted = false
  heard = new Set()

  abort() {
    if (this.aborted) return
    this.aborted = true
    for (const hear of this.heard) hear()
  }
}

/** Columns on their way to the worker. What is put here before a call takes the stage waits for it. */
class Stage {
  #waiting = []
  #connection
  #id

  /** The worker's name for it: from now on columns go there as they come. */
  bind(connection) {
    this.#connection = connection
    this.#id = connection.nextId()
    for (const [message, transfer] of this.#waiting)
      connection.post({ stage: this.#id, ...message }, transfer)
    this.#waiting = []
    return this.#id
  }

  #send(kind, data, transfer) {
    const message = { kind, data }
    if (this.#connection) this.#connection.post({ stage: this.#id, ...message }, transfer)
    else this.#waiting.push([message, transfer])
  }

  expect(numbers) {
    this.#send('expect', numbers)
  }

  gatherVectors(numbers) {
    this.expect(numbers)
  }

  vectors(slice, ours) {
    const numbers = ours ? slice : slice.slice()
    this.#send('vectors', numbers, [numbers.buffer])
  }

  numberIds(ids) {
    this.#send('numberIds', ids, [ids.buffer])
  }

  bigintIds(ids) {
    this.#send('bigintIds', ids, [ids.buffer])
  }

  anyIds(ids) {
    this.#send('anyIds', ids)
  }

  payloads(joined) {
    this.#send('payloads', joined)
  }

  finish() {
    this.#send('finish')
  }

  giveUp() {
    this.#send('giveUp')
  }
}

class Scan {
  #call
  #id

  constructor(call, id) {
    this.#call = call
    this.#id = id
  }

  next(limit, flag) {
    return this.#call('scanNext', [this.#id, limit], { flag })
  }

  release() {
    this.#call('scanRelease', [this.#id]).catch(() => {})
  }
}

/** The pieces of an exported file on their way to the worker. */
class Feed {
  #connection

  bind(connection) {
    this.#connection = connection
  }

  /** Resolves once the piece is used: to false where none is wanted. */
  async push(piece) {
    const own = piece.slice()
    return this.#connection?.call('feed', [own], { transfer: [own.buffer] }).catch(() => false) ?? false
  }

  end() {
    this.#connection?.post({ feed: 'end' })
  }

  giveUp() {
    this.#connection?.post({ feed: 'giveUp' })
  }
}

class Exporter {
  #call
  #id

  constructor(call, { id, rows }) {
    this.#call = call
    this.#id = id
    this.rows = rows
  }

  measure(flag) {
    return this.#call('exportMeasure', [this.#id], { flag, alone: true })
  }

  async next() {
    return (await this.#call('exportNext', [this.#id])).piece
  }

  release() {
    this.#call('scanRelease', [this.#id]).catch(() => {})
  }
}

/** How many numbers say how to search. */
const HOW = 9

/** How to search, in numbers; `How` in wasm/src/convert.rs reads them. */
const numbersOf = ({ k, efSearch = 0, offset, maxDistance = Number.POSITIVE_INFINITY, ...wants }) => [
  k,
  efSearch,
  offset,
  maxDistance,
  ...[wants.payload, wants.vector, wants.explain].map(Number),
  wants.recall ?? 0,
  wants.deadline ? Math.max(wants.deadline, 1e-9) : 0,
]

/** An open database: one method per call of the facade, each returning a promise. */
class Database {
  #connection
  #bulk
  /** A query and how to search, in one piece: messages copy it, which for so little is quicker than to hand it over. */
  #desk

  constructor(connection, { dim, metric, storage, bulk }) {
    this.#connection = connection
    this.#bulk = bulk
    this.#desk = new Float32Array(dim + HOW)
    Object.assign(this, { dim, metric, storage })
  }

  #call = (op, args, options) => this.#connection.call(op, args, options)

  /** A call with a vector, which is copied: the caller may go on using it. */
  #withVector(op, before, vector, after, options) {
    const own = vector.slice()
    return this.#call(op, [...before, own, ...after], { ...options, transfer: [own.buffer] })
  }

  #withStage(op, stage, args, options) {
    return this.#call(op, [stage.bind(this.#connection), ...args], options)
  }

  insert(upsert, id, vector, payload) {
    return this.#withVector('insert', [upsert, id], vector, [payload])
  }

  insertMany(upsert, stage, flag, report) {
    return this.#withStage('insertMany', stage, [upsert], { flag, report })
  }

  update(id, vector) {
    return this.#withVector('update', [id], vector, [])
  }

  delete(id) {
    return this.#call('delete', [id])
  }

  deleteMany(stage) {
    return this.#withStage('deleteMany', stage, [])
  }

  deleteWhere(filter, flag) {
    return this.#call('deleteWhere', [filter], { flag, alone: true })
  }

  setPayload(id, payload) {
    return this.#call('setPayload', [id, payload])
  }

  mergePayload(id, patch) {
    return this.#call('mergePayload', [id, patch])
  }

  getPayload(id) {
    return this.#call('getPayload', [id])
  }

  has(id) {
    return this.#call('has', [id])
  }

  get(id) {
    return this.#call('get', [id])
  }

  getMany(stage) {
    return this.#withStage('getMany', stage, [])
  }

  async search(query, args, flag) {
    this.#desk.set(query)
    this.#desk.set(numbersOf(args), query.length)
    // A deadline counts from here, however long the worker is busy with others.
    const called = args.deadline ? performance.timeOrigin + performance.now() : undefined
    const found = await this.#call('search', [this.#desk, args.filter, called], { flag })
    if (!ArrayBuffer.isView(found)) return found
    const count = found.length / 2
    return { ids: found.subarray(0, count), distances: found.subarray(count) }
  }

  searchMany(stage, args, flag) {
    return this.#withStage('searchMany', stage, [numbersOf(args), args.filter], { flag })
  }

  count(filter, flag) {
    return this.#call('count', [filter], { flag, alone: filter !== undefined })
  }

  async scan(payload, vector, filter) {
    return new Scan(this.#call, await this.#call('scan', [payload, vector, filter]))
  }

  async export(flag) {
    return new Exporter(this.#call, await this.#call('export', [], { flag }))
  }

  stats() {
    return this.#call('stats', [])
  }

  flush() {
    return this.#call('flush', [])
  }

  compact(flag, report) {
    return this.#call('compact', [], { flag, report, alone: true })
  }

  check(repair, flag) {
    return this.#call(repair ? 'repair' : 'check', [], { flag, alone: true })
  }

  bulkReady() {
    return this.#call('bulkReady', [])
  }

  bulkMemory(rows) {
    return this.#bulk.base + rows * this.#bulk.perRow
  }

  bulkBuild(stage, _threads, flag, report) {
    return this.#withStage('bulkBuild', stage, [], { flag, report, alone: true })
  }

  async close() {
    try {
      await this.#call('close', [])
    } finally {
      this.#connection.fail(CLOSED)
    }
  }
}

function unsupported(what) {
  return new AsteroidError('UNSUPPORTED', what)
}

/** A page that the browser puts to sleep must not keep a database from those that are awake. */
function watchSleep(connection) {
  if (typeof document === 'undefined') return
  const away = () => connection.post({ away: true })
  const back = () => connection.post({ back: true })
  const events = [
    [window, 'pagehide', away],
    [document, 'freeze', away],
    [window, 'pageshow', back],
    [document, 'resume', back],
  ]
  for (const [target, event, hear] of events) target.addEventListener(event, hear)
  connection.ended = () => {
    for (const [target, event, hear] of events) target.removeEventListener(event, hear)
  }
}

async function open({ workerUrl, wasmUrl, restUrl, ...args }, feed, flag, report) {
  if (typeof Worker === 'undefined') {
    throw unsupported(
      'this build of asteroid-db is for browsers: there is no Worker here to run the engine in',
    )
  }
  if (args.storage === 'rocksdb')
    throw unsupported("storage 'rocksdb' is for Node: leave storage out in a browser")
  if (args.vectorFilePath !== undefined)
    throw unsupported('vectorFilePath is for Node: leave it out in a browser')
  const { worker, ...urls } = start(workerUrl, wasmUrl, restUrl)
  const connection = new Connection(worker)
  try {
    watchSleep(connection)
    feed?.bind(connection)
    const opening = connection.call('open', [args, urls, feed !== undefined], { flag, report })
    return new Database(connection, await opening)
  } catch (error) {
    connection.fail(CLOSED)
    throw error
  }
}

const addon = { AbortFlag, Feed, Stage, open }

export function native() {
  return addon
}
