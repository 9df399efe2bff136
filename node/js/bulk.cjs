'use strict'

const { checkOptions, checkProgress, checkSignal, integer } = require('./arguments.cjs')
const { progressThrew, settle, withSignal } = require('./calls.cjs')
const { AsteroidError, aborted, fromNative, invalid, show } = require('./errors.cjs')
const { fileError, openVectorFile } = require('./files.cjs')
const { checkIdColumn, idFiller } = require('./ids.cjs')
const { untilAborted } = require('./iterate.cjs')
const { freeMemory } = require('./memory.cjs')
const { native } = require('./native.cjs')
const { checkPath } = require('./open.cjs')
const { payloadText } = require('./payloads.cjs')
const { copy, payloadFiller } = require('./stage.cjs')
const { isNumeric, isTensor, vectorColumn } = require('./vectors.cjs')

const OPTIONS = ['threads', 'ids', 'payloads', 'signal', 'onProgress', 'maxMemoryBytes']
const REPORT_MS = 50
/** The steps in the addon's order, each with the share of the work that is done when it begins. */
const GRAPH_BEGINS = 0.02
const STORING_BEGINS = { vectors: 0.9, store: 0.92 }
const PHASES = ['validate', 'prepare', 'descend', 'connect', 'upper', 'order', 'vectors', 'store']

const isIterable = (value) =>
  typeof value?.[Symbol.asyncIterator] === 'function' || typeof value?.[Symbol.iterator] === 'function'

/** What `vectors` is: rows at hand, a file, or chunks to come. */
function sourceOf(vectors, dim) {
  if (typeof vectors === 'string' || vectors instanceof URL) return { path: checkPath(vectors, 'vectors') }
  const atHand = isNumeric(vectors) || Array.isArray(vectors) || isTensor(vectors)
  if (!atHand && isIterable(vectors)) return { chunks: vectors }
  if (atHand) return { column: vectorColumn(vectors, dim, 'vectors') }
  throw invalid(
    `vectors must be a Float32Array of n * ${dim} numbers, an array of vectors, a tensor, an iterable of such, or the path of a .npy, .fvecs or .bvecs file, not ${show(vectors)}`,
  )
}

function checkPayloads(payloads) {
  if (payloads === undefined || payloads === null) return undefined
  if (typeof payloads === 'string' || !isIterable(payloads)) {
    throw invalid(`payloads must be an array or an iterable of objects and nulls, not ${show(payloads)}`)
  }
  return payloads
}

function checkCount(name, length, rows) {
  if (length !== rows) {
    throw invalid(`${name} has ${length} entries for ${rows} vectors: give one per vector, or none`)
  }
}

/** Refuses a build that the system has no memory for, before it begins. */
function checkMemory(addon, rows, limit, given) {
  const needed = addon.bulkMemory(rows)
  if (needed <= limit) return
  const mb = (bytes) => `${Math.ceil(bytes / 1e6)} MB`
  throw invalid(
    `building ${rows} rows at once takes up to ${mb(needed)} of memory, ${given ? 'maxMemoryBytes allows' : 'the system has'} ${mb(limit)}${given ? '' : ' free'}: ` +
      'raise maxMemoryBytes, or use insertMany in batches, which takes little memory and more time',
  )
}

/** Tells `onProgress`, rising and not too often. What it throws is kept, and stops the build. */
class Progress {
  constructor(onProgress, stop) {
    this.onProgress = onProgress
    this.stop = stop
    this.fraction = 0
    this.at = Number.NEGATIVE_INFINITY
    this.phase = -2
  }

  tell(step, fraction, done, total) {
    if (!this.onProgress || this.thrown || step < this.phase) return
    if (step === this.phase && fraction <= this.fraction && step !== -1) return
    this.phase = step
    this.fraction = Math.max(fraction, this.fraction)
    try {
      this.onProgress({ phase: PHASES[step] ?? 'read', fraction: this.fraction, done, total })
    } catch (error) {
      this.thrown = { error }
      this.stop()
    }
  }

  /** While the rows are read; `total` where it is known. */
  reading(done, total) {
    const now = performance.now()
    if (now - this.at < REPORT_MS) return
    this.at = now
    if (total === undefined) return this.tell(-1, 0, done, done)
    const fraction = total === 0 ? 0 : (GRAPH_BEGINS * done) / total
    this.tell(-1, fraction, done, total)
  }

  /** From the addon: `done` of `total` rows' worth of graph. */
  building(done, total, step) {
    const graph = GRAPH_BEGINS + (STORING_BEGINS.vectors - GRAPH_BEGINS) * (total === 0 ? 1 : done / total)
    const fraction = STORING_BEGINS[PHASES[step]] ?? graph
    this.tell(step, fraction, Math.floor(fraction * total), total)
  }

  end(rows) {
    this.tell(PHASES.length - 1, 1, rows, rows)
    this.phase = Number.POSITIVE_INFINITY
  }
}

/** Brings the rows onto a stage. */
class Loader {
  constructor(addon, stage, { limit, given, signal, progress, refused }) {
    Object.assign(this, { addon, stage, limit, given, signal, progress, refused })
  }

  /** Between slices: tells of progress, and ends the reading where there is no more use in it. */
  turn(done, total) {
    if (this.signal?.aborted) throw aborted(this.signal)
    this.progress.reading(done, total)
    if (this.progress.thrown || this.refused()) throw new AsteroidError('ABORTED', 'the reading was stopped')
  }

  checkMemory(rows) {
    checkMemory(this.addon, rows, this.limit, this.given)
  }

  async column(column) {
    const { dim } = this.addon
    this.stage.gatherVectors(column.rows * dim)
    await copy(this.stage, { rows: column.rows, dim, columns: [column] }, (done) =>
      this.turn(done, column.rows),
    )
    return column.rows
  }

  async file(path) {
    const { dim } = this.addon
    const file = await openVectorFile(path)
    try {
      if (file.rows > 0 && file.dim !== dim) {
        throw new AsteroidError(
          'DIMENSION_MISMATCH',
          `${show(path)} holds vectors of ${file.dim} numbers, the database's dimension is ${dim}`,
        )
      }
      this.checkMemory(file.rows)
      this.stage.gatherVectors(file.rows * dim)
      let done = 0
      for await (const slice of file.slices()) {
        this.stage.vectors(slice)
        done += slice.length / dim
        this.turn(done, file.rows)
      }
      return file.rows
    } catch (error) {
      throw error?.syscall ? fileError(path, error) : error
    } finally {
      await file.close()
    }
  }

  async chunks(chunks) {
    const { dim } = this.addon
    this.stage.gatherVectors(0)
    let rows = 0
    let number = 0
    for await (const chunk of untilAborted(chunks, this.signal)) {
      const column = vectorColumn(chunk, dim, `chunk ${number}`)
      this.checkMemory(rows + column.rows)
      await copy(this.stage, { rows: column.rows, dim, columns: [column] }, (done) => this.turn(rows + done))
      rows += column.rows
      number++
      this.turn(rows)
    }
    return rows
  }

  async ids(ids, rows) {
    checkCount('ids', ids.length, rows)
    const column = { costly: true, fill: idFiller(ids) }
    await copy(this.stage, { rows, dim: 2, columns: [column] }, () => this.turn(rows, rows))
  }

  async payloads(payloads, rows) {
    if (Array.isArray(payloads)) {
      checkCount('payloads', payloads.length, rows)
      const column = { costly: true, fill: payloadFiller(payloads) }
      return copy(this.stage, { rows, dim: 2, columns: [column] }, () => this.turn(rows, rows))
    }
    let texts = []
    let count = 0
    for await (const payload of untilAborted(payloads, this.signal)) {
      texts.push(payloadText(payload, `payloads[${count}]`) ?? '')
      count++
      if (count > rows) throw invalid(`payloads gives more than ${rows} entries for ${rows} vectors`)
      if (texts.length === 64) {
        this.stage.payloads(texts.join('\n'))
        texts = []
        this.turn(rows, rows)
      }
    }
    checkCount('payloads', count, rows)
    if (texts.length > 0) this.stage.payloads(texts.join('\n'))
  }

  async load({ column, path, chunks }, ids, payloads) {
    let rows
    if (column) rows = await this.column(column)
    else rows = path === undefined ? await this.chunks(chunks) : await this.file(path)
    if (ids) await this.ids(ids, rows)
    if (payloads) await this.payloads(payloads, rows)
    this.stage.finish()
    return rows
  }
}

/** `db.bulkBuild`: `track` has `close` wait while rows are still being read. */
async function bulkBuild(addon, vectors, options, track) {
  const began = performance.now()
  const given = checkOptions(options, OPTIONS, 'bulkBuild')
  const threads = integer(given.threads, 'threads', 0, 1024) ?? 0
  const maxMemory = integer(given.maxMemoryBytes, 'maxMemoryBytes', 0, Number.MAX_SAFE_INTEGER)
  const onProgress = checkProgress(given.onProgress)
  const signal = checkSignal(given.signal)
  const ids = given.ids === undefined ? undefined : checkIdColumn(given.ids)
  const payloads = checkPayloads(given.payloads)
  const source = sourceOf(vectors, addon.dim)
  const limit = maxMemory ?? freeMemory()
  if (source.column) {
    if (ids) checkCount('ids', ids.length, source.column.rows)
    if (Array.isArray(payloads)) checkCount('payloads', payloads.length, source.column.rows)
    checkMemory(addon, source.column.rows, limit, maxMemory !== undefined)
  }
  return withSignal(signal ?? (onProgress && new AbortController().signal), async (flag) => {
    const progress = new Progress(onProgress, () => flag.abort())
    const stage = new (native().Stage)()
    let refused = false
    let built
    const queue = () => {
      built = addon.bulkBuild(stage, threads, flag, onProgress && ((...told) => progress.building(...told)))
      built.catch(() => {
        refused = true
      })
    }
    const loader = new Loader(addon, stage, {
      limit,
      given: maxMemory !== undefined,
      signal,
      progress,
      refused: () => refused,
    })
    // Code of the caller's that runs meanwhile may write and wait for it: only then must the queue not be held.
    const foreign = source.chunks !== undefined || (payloads && !Array.isArray(payloads))
    if (!foreign) queue()
    const load = async () => {
      if (foreign) await settle(() => addon.bulkReady(), signal)
      await loader.load(source, ids, payloads)
      if (foreign) queue()
    }
    let report
    try {
      await track(load())
      report = await built
    } catch (error) {
      const early = refused
      stage.giveUp()
      const cause = await built?.then(
        () => error,
        (failure) => failure,
      )
      if (progress.thrown) {
        throw progressThrew(progress.thrown.error, 'which aborted the call; nothing of it was kept')
      }
      throw fromNative(early ? cause : error, signal)
    }
    progress.end(report.n)
    if (progress.thrown) throw progressThrew(progress.thrown.error, 'but all rows were already written')
    const elapsedMs = performance.now() - began
    const { n, phases } = report
    return { n, elapsedMs, vectorsPerSec: n / (elapsedMs / 1000), threads: report.threads, phases }
  })
}

module.exports = { PHASES, bulkBuild }
