// One client of the database: its calls, the columns it sends for them, its scans.
import { Stage } from 'asteroid-engine'
import { aborted, Failure } from './failures.mjs'

/** Queries answered between two turns of the event loop. */
const QUERIES = 16

/** Columns that come in pieces; `ready` is settled by `finish` or `giveUp`. */
class Incoming {
  complete = false
  #stage
  #error

  constructor() {
    this.ready = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.ready.catch(() => {})
  }

  take(kind, data) {
    this.complete = kind === 'finish' || kind === 'giveUp'
    if (kind === 'giveUp') {
      this.reject(new Failure('ABORTED', 'the call was given up while it started'))
      return this.drop()
    }
    if (this.#error) return
    try {
      if (kind === 'finish') return this.resolve()
      this.#stage ??= new Stage()
      this.#stage[kind](data)
    } catch (error) {
      this.#error = error
      this.reject(error)
    }
  }

  /** The columns, for good. */
  stage() {
    const stage = this.#stage ?? new Stage()
    this.#stage = undefined
    return stage
  }

  drop() {
    this.#stage?.free()
    this.#stage = undefined
  }
}

/** The buffers of a reply that its receiver may have. What is one short column is sooner copied than handed over. */
function buffersOf(value) {
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return []
  return Object.values(value)
    .filter((column) => ArrayBuffer.isView(column))
    .map((column) => column.buffer)
}

export class Session {
  #owner
  #send
  #calls = new Map()
  #incoming = new Map()
  /** Stages whose call has ended, while columns for them may still come. */
  #ended = new Set()
  #scans = new Map()
  /** Writes of this client are acknowledged when they survive power loss. */
  sync = false

  constructor(owner, send) {
    this.#owner = owner
    this.#send = send
  }

  receive(message) {
    if (message.ping) return this.#send({})
    if (message.stage !== undefined) return this.#put(message)
    if (message.abort !== undefined) {
      const call = this.#calls.get(message.abort)
      if (!call) return
      call.aborted = true
      return call.stop?.()
    }
    this.#answer(message)
  }

  async #answer({ id, op, args, url }) {
    const call = { id, url, sync: this.sync, aborted: false, send: this.#send }
    this.#calls.set(id, call)
    try {
      const work = OPERATIONS[op]
      if (!work) throw new Failure('INTERNAL', `the worker knows no call ${op}`)
      const ok = await work(this, this.#owner, call, args)
      this.#send({ id, ok }, buffersOf(ok))
    } catch (error) {
      this.#send({ id, error: textOf(error) })
    } finally {
      this.#calls.delete(id)
    }
  }

  #put({ stage, kind, data }) {
    if (!this.#ended.has(stage)) return this.#column(stage).take(kind, data)
    if (kind === 'finish' || kind === 'giveUp') this.#ended.delete(stage)
  }

  #column(id) {
    if (!this.#incoming.has(id)) this.#incoming.set(id, new Incoming())
    return this.#incoming.get(id)
  }

  /** Waits for the columns of a call, unless it is aborted, and hands them to `use`. */
  async columns(call, id, use) {
    const incoming = this.#column(id)
    try {
      await Promise.race([
        incoming.ready,
        new Promise((_, reject) => {
          call.stop = () => reject(aborted())
          if (call.aborted) call.stop()
        }),
      ])
      return await use(() => incoming.stage())
    } finally {
      call.stop = undefined
      incoming.drop()
      this.#incoming.delete(id)
      if (!incoming.complete) this.#ended.add(id)
    }
  }

  /** The calls that will be answered. */
  underWay() {
    return [...this.#calls.keys()]
  }

  /** The client is gone: stops its calls and lets go of what it holds. */
  end() {
    for (const call of this.#calls.values()) {
      call.aborted = true
      call.stop?.()
    }
    for (const scan of this.#scans.values()) this.#owner.drop(scan)
    for (const incoming of this.#incoming.values()) incoming.drop()
    this.#scans.clear()
    this.#incoming.clear()
  }

  addScan(call, scan) {
    this.#scans.set(call.id, scan)
    return call.id
  }

  scan(id) {
    return this.#scans.get(id)
  }

  takeScan(id) {
    const scan = this.#scans.get(id)
    this.#scans.delete(id)
    return scan
  }
}

export function textOf(error) {
  const text = String(error?.message ?? error)
  return /^[A-Z_]+\n/.test(text) ? text : `INTERNAL\na bug in asteroid-db stopped this call: ${text}`
}

function check(call) {
  if (call.aborted) throw aborted()
}

/** The calls of the engine that need the rest of it. */
const SELDOM = new Set(['check', 'compact', 'mergePayload', 'repair'])

/** Whether a filter in there may have a pattern. */
const patterned = (args) => args.some((arg) => typeof arg === 'string' && arg.includes('"$regex"'))

/** Whether the numbers of how to search ask for a recall. */
const recalling = (how) => how.at(-2) > 0

/** A call of the engine that changes no rows. */
const read = (name, more) => (_session, owner, call, args) =>
  owner.run(
    call,
    (engine) => {
      check(call)
      return engine[name](...args)
    },
    SELDOM.has(name) || patterned(args) || more?.(args[0]),
  )

/** A call of the engine that changes some. */
const write = (name) => (session, owner, call, args) =>
  owner.write(call, () => read(name)(session, owner, call, args))

/** A call of an export that has begun. */
const exporting =
  (use) =>
  (session, owner, call, [id]) =>
    owner.run(call, () => {
      const exporter = session.scan(id)
      if (!exporter?.__wbg_ptr)
        throw new Failure('IO', 'the export ended when a write failed: begin it again')
      return use(exporter)
    })

/** The calls, by name: (session, owner, call, args). */
const OPERATIONS = {
  /** Of a follower: the database stays open, with all that the follower did in it. */
  close: (_session, owner, call) => owner.flush(call),
  flush: (_session, owner, call) => owner.flush(call),
  insert: write('insert'),
  update: write('update'),
  delete: write('delete'),
  deleteWhere: write('deleteWhere'),
  setPayload: write('setPayload'),
  mergePayload: write('mergePayload'),
  bulkReady: write('bulkReady'),
  compact: write('compact'),
  repair: write('repair'),
  has: read('has'),
  get: read('get'),
  getPayload: read('getPayload'),
  search: read('search', recalling),
  count: read('count'),
  stats: read('stats'),
  check: read('check'),

  insertMany: (session, owner, call, [stage, upsert]) =>
    owner.write(call, () =>
      session.columns(call, stage, async (take) => {
        const job = await owner.run(call, (engine) => owner.keep(engine.beginInsert(upsert, take())))
        return owner.steps(call, job, (job) => job.step())
      }),
    ),
  deleteMany: (session, owner, call, [stage]) =>
    owner.write(call, () =>
      session.columns(call, stage, (take) => owner.run(call, (engine) => engine.deleteMany(take()))),
    ),
  bulkBuild: (session, owner, call, [stage]) =>
    owner.write(call, () =>
      session.columns(call, stage, (take) => owner.run(call, (engine) => engine.bulkBuild(take()), true)),
    ),
  getMany: (session, owner, call, [stage]) =>
    session.columns(call, stage, (take) => owner.run(call, (engine) => engine.getMany(take()))),
  searchMany: (session, owner, call, [stage, how, filter]) =>
    session.columns(call, stage, async (take) => {
      const searches = await owner.run(
        call,
        (engine) => owner.keep(engine.beginSearches(take(), how, filter)),
        patterned([filter]) || recalling(how),
      )
      return owner.steps(call, searches, (searches) => searches.step(QUERIES))
    }),

  scan: (session, owner, call, args) =>
    owner.run(call, (engine) => session.addScan(call, owner.keep(engine.scan(...args))), patterned(args)),
  scanNext: (session, owner, call, [id, limit]) =>
    owner.run(call, () => {
      const scan = session.scan(id)
      if (!scan?.__wbg_ptr) throw new Failure('IO', 'the scan ended when a write failed: begin it again')
      return scan.next(limit)
    }),
  scanRelease: async (session, owner, _call, [id]) => owner.drop(session.takeScan(id)),

  export: (session, owner, call) =>
    owner.write(call, () =>
      owner.run(
        call,
        (engine) => {
          check(call)
          const exporter = owner.keep(engine.export())
          return { id: session.addScan(call, exporter), rows: exporter.rows }
        },
        true,
      ),
    ),
  exportMeasure: exporting((exporter) => exporter.measure()),
  exportNext: exporting((exporter) => ({ piece: exporter.next() })),
}
