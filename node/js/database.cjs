'use strict'

const {
  boolean,
  checkInclude,
  checkOptions,
  checkProgress,
  checkSearch,
  checkSignal,
  integer,
} = require('./arguments.cjs')
const { searchNow } = require('./at-once.cjs')
const { bulkBuild } = require('./bulk.cjs')
const { progressRelay, progressThrew, settle, withSignal } = require('./calls.cjs')
const { AsteroidError, aborted, fromNative, invalid } = require('./errors.cjs')
const { filterText } = require('./filters.cjs')
const { checkId } = require('./ids.cjs')
const { native } = require('./native.cjs')
const { checkOpen } = require('./open.cjs')
const { payloadOf, payloadText } = require('./payloads.cjs')
const { allRows, rowLists, rowsOf, someRows } = require('./results.cjs')
const { checkIds, checkQueries, checkRows, fill } = require('./stage.cjs')
const { backupTo, checkSource, exportStream, exportTo, openFrom, wantsStream } = require('./transfer.cjs')
const { toVector } = require('./vectors.cjs')
const { Writes } = require('./writes.cjs')

const FROM_OPEN = Symbol('open')
const SEARCH_KNN = ['k', 'efSearch', 'recall', 'filter', 'deadline', 'signal']
const SEARCH_MANY = [...SEARCH_KNN, 'include', 'maxDistance', 'offset']
const SEARCH = [...SEARCH_MANY, 'explain']
const MAX_BATCH = 100_000

class AsteroidDB {
  #addon
  #writes
  #path
  #closing
  #filling = new Set()

  constructor(token, addon, path) {
    if (token !== FROM_OPEN) throw new TypeError('AsteroidDB has no public constructor: use open()')
    this.#addon = addon
    this.#writes = new Writes(addon)
    this.#path = path
  }

  get dim() {
    return this.#addon.dim
  }

  get metric() {
    return this.#addon.metric
  }

  get path() {
    return this.#path
  }

  get closed() {
    return this.#closing !== undefined
  }

  /** The addon's side, while the database is open. */
  #live() {
    if (this.#closing) {
      throw new AsteroidError('CLOSED', `the database ${this.#path} is closed: open it again to use it`)
    }
    return this.#addon
  }

  async insert(id, vector, payload) {
    await this.#put(false, id, vector, payload)
  }

  async upsert(id, vector, payload) {
    await this.#put(true, id, vector, payload)
  }

  #put(upsert, id, vector, payload) {
    const addon = this.#live()
    return this.#write(() =>
      addon.insert(upsert, checkId(id), toVector(vector, addon.dim), payloadText(payload)),
    )
  }

  /** Makes an addon call that writes one row, and awaits its outcome. */
  #write(call) {
    return settle(() => this.#writes.settled(call()))
  }

  async insertMany(rows, options) {
    return this.#putMany(false, 'insertMany', rows, options)
  }

  async upsertMany(rows, options) {
    return this.#putMany(true, 'upsertMany', rows, options)
  }

  async #putMany(upsert, what, rows, options) {
    const addon = this.#live()
    const given = checkOptions(options, ['signal', 'onProgress'], what)
    const signal = checkSignal(given.signal)
    const onProgress = checkProgress(given.onProgress)
    const columns = checkRows(rows, addon.dim, what)
    return withSignal(signal ?? (onProgress && new AbortController().signal), async (flag) => {
      const progress = progressRelay(onProgress, flag)
      let kept
      const stage = new (native().Stage)()
      // Queued before the rows are copied, so that writes keep the order of their calls.
      const written = addon.insertMany(upsert, stage, flag, onProgress && progress.report)
      written.catch(() => {})
      try {
        await this.#fill(stage, columns, signal)
        const result = await written
        if (onProgress) progress.report(result.count, result.count)
        kept = result
      } catch (error) {
        stage.giveUp()
        await written.catch(() => {})
        if (progress.thrown)
          throw progressThrew(progress.thrown.error, 'which aborted the call; nothing of it was kept')
        throw fromNative(error, signal)
      } finally {
        progress.end()
      }
      if (progress.thrown) throw progressThrew(progress.thrown.error, 'but all rows were already written')
      return kept
    })
  }

  #fill(stage, columns, signal) {
    return this.#track(fill(stage, columns, signal))
  }

  /** Has `close` wait for `filling`. */
  async #track(filling) {
    this.#filling.add(filling)
    try {
      return await filling
    } finally {
      this.#filling.delete(filling)
    }
  }

  async update(id, vector) {
    const addon = this.#live()
    await this.#write(() => addon.update(checkId(id), toVector(vector, addon.dim)))
  }

  async delete(id) {
    const addon = this.#live()
    return this.#write(() => addon.delete(checkId(id)))
  }

  async deleteMany(ids) {
    const addon = this.#live()
    const columns = checkIds(ids)
    const stage = new (native().Stage)()
    // Queued before the ids are copied, so that writes keep the order of their calls.
    const deleted = addon.deleteMany(stage)
    deleted.catch(() => {})
    try {
      await this.#fill(stage, columns)
      return await deleted
    } catch (error) {
      stage.giveUp()
      await deleted.catch(() => {})
      throw fromNative(error)
    }
  }

  async deleteWhere(filter, options) {
    const addon = this.#live()
    const signal = checkSignal(checkOptions(options, ['signal'], 'deleteWhere').signal)
    const text = filterText(filter)
    if (text === undefined) throw invalid('deleteWhere needs a filter; {} matches every row')
    return withSignal(signal, (flag) => settle(() => addon.deleteWhere(text, flag), signal))
  }

  async bulkBuild(vectors, options) {
    return bulkBuild(this.#live(), vectors, options, (filling) => this.#track(filling))
  }

  async compact(options) {
    const addon = this.#live()
    const given = checkOptions(options, ['signal', 'onProgress'], 'compact')
    const signal = checkSignal(given.signal)
    const onProgress = checkProgress(given.onProgress)
    return withSignal(signal ?? (onProgress && new AbortController().signal), async (flag) => {
      const progress = progressRelay(onProgress, flag)
      let end = 1
      const report = (done, total) => {
        end = total
        progress.report(done, total)
      }
      try {
        await addon.compact(flag, onProgress && report)
        if (onProgress) report(end, end)
      } catch (error) {
        if (!progress.thrown) throw fromNative(error, signal)
      } finally {
        progress.end()
      }
      if (progress.thrown)
        throw progressThrew(progress.thrown.error, 'which stopped the compaction; what it did so far stays')
    })
  }

  async has(id) {
    const addon = this.#live()
    return settle(() => addon.has(checkId(id)))
  }

  async get(id) {
    const addon = this.#live()
    const [row] = await someRows(await settle(() => addon.get(checkId(id))), addon.dim)
    return row
  }

  async getMany(ids) {
    const addon = this.#live()
    const columns = checkIds(ids)
    const stage = new (native().Stage)()
    await this.#fill(stage, columns)
    return someRows(await settle(() => addon.getMany(stage)), addon.dim)
  }

  async getPayload(id) {
    const addon = this.#live()
    const text = await settle(() => addon.getPayload(checkId(id)))
    return text === undefined ? undefined : payloadOf(text)
  }

  async setPayload(id, payload) {
    const addon = this.#live()
    await this.#write(() => addon.setPayload(checkId(id), payloadText(payload)))
  }

  async mergePayload(id, patch) {
    const addon = this.#live()
    const text = payloadText(patch ?? undefined, 'patch')
    await this.#write(() => addon.mergePayload(checkId(id), text ?? '{}'))
  }

  searchKnn(query, options) {
    return this.#search(query, options, SEARCH_KNN, 'searchKnn')
  }

  search(query, options) {
    return this.#search(query, options, SEARCH, 'search')
  }

  /** Not `async`, as its caller is not: each would make a promise of its own, and that of a short search is one already. */
  #search(query, options, known, name) {
    try {
      const { args, signal } = checkSearch(options, known, name)
      const addon = this.#live()
      const vector = toVector(query, addon.dim, 'query')
      if (signal?.aborted) throw aborted(signal)
      return searchNow(addon, vector, args, signal) ?? this.#searchElsewhere(addon, vector, args, signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #searchElsewhere(addon, vector, args, signal) {
    const columns = await withSignal(signal, (flag) => settle(() => addon.search(vector, args, flag), signal))
    const rows = await allRows(columns, addon.dim)
    if (args.explain) rows.explain = columns.explain
    return rows
  }

  async searchMany(queries, options) {
    const addon = this.#live()
    const { args, signal } = checkSearch(options, SEARCH_MANY, 'searchMany')
    const vectors = checkQueries(queries, addon.dim)
    return withSignal(signal, async (flag) => {
      const stage = new (native().Stage)()
      await this.#fill(stage, vectors, signal)
      return rowLists(await settle(() => addon.searchMany(stage, args, flag), signal), addon.dim)
    })
  }

  async count(filter, options) {
    const addon = this.#live()
    const signal = checkSignal(checkOptions(options, ['signal'], 'count').signal)
    const text = filterText(filter)
    return withSignal(signal, (flag) => settle(() => addon.count(text, flag), signal))
  }

  async *scan(options) {
    const addon = this.#live()
    const given = checkOptions(options, ['filter', 'include', 'batchSize', 'signal'], 'scan')
    const filter = filterText(given.filter)
    const batchSize = integer(given.batchSize, 'batchSize', 1, MAX_BATCH) ?? 1000
    const { payload, vector } = checkInclude(given.include)
    const signal = checkSignal(given.signal)
    if (signal?.aborted) throw aborted(signal)
    const scan = await settle(() => addon.scan(payload, vector, filter))
    try {
      for (;;) {
        this.#live()
        if (signal?.aborted) throw aborted(signal)
        const columns = await withSignal(signal, (flag) => settle(() => scan.next(batchSize, flag), signal))
        if (columns === null) return
        for (let i = 0; i < columns.ids.length; i++) {
          if (signal?.aborted) throw aborted(signal)
          yield rowsOf(columns, addon.dim, i, i + 1)[0]
        }
      }
    } finally {
      scan.release()
    }
  }

  async stats() {
    const addon = this.#live()
    return { storage: addon.storage, ...(await settle(() => addon.stats())) }
  }

  export(target, options) {
    const begin = (flag) => this.#live().export(flag)
    if (options === undefined && wantsStream(target)) return exportStream(begin, target, () => this.#live())
    return this.#track(exportTo(begin, target, options))
  }

  async backup(path, options) {
    const begin = (flag) => this.#live().export(flag)
    return this.#track(backupTo(begin, path, options))
  }

  async flush() {
    const addon = this.#live()
    return settle(() => addon.flush())
  }

  async check(options) {
    const addon = this.#live()
    const given = checkOptions(options, ['repair', 'signal'], 'check')
    const repair = boolean(given.repair, 'repair') ?? false
    const signal = checkSignal(given.signal)
    return withSignal(signal, (flag) => settle(() => addon.check(repair, flag), signal))
  }

  close() {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close() {
    // Calls made before this one may still be copying their rows: they are let in first.
    while (this.#filling.size > 0) await Promise.allSettled(this.#filling)
    await settle(() => this.#addon.close())
  }

  [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    return this.close()
  }
}

async function open(path, options) {
  const args = checkOpen(path, options)
  const { from, signal, onProgress } = options ?? {}
  const begin = (...feed) => native().open(args, ...feed)
  const addon =
    from === undefined
      ? await settle(begin)
      : await openFrom(begin, checkSource(from), {
          signal: checkSignal(signal),
          onProgress: checkProgress(onProgress),
        })
  return new AsteroidDB(FROM_OPEN, addon, args.path)
}

module.exports = { AsteroidDB, open }
