'use strict'

// Databases on their way out and in. What needs a file system lies in files.cjs.
const { checkOptions, checkProgress, checkSignal, oneOf } = require('./arguments.cjs')
const { copying, progressThrew, settle, withSignal } = require('./calls.cjs')
const { AsteroidError, aborted, invalid, show } = require('./errors.cjs')
const files = require('./files.cjs')
const { untilAborted } = require('./iterate.cjs')
const { native } = require('./native.cjs')
const { checkPlace } = require('./open.cjs')

const OPTIONS = ['signal', 'onProgress']
const REPORT_MS = 50
/** Bytes copied for the engine at a time. */
const SLICE_BYTES = 1 << 20

function checkTransfer(options) {
  const given = checkOptions(options, OPTIONS, 'export')
  return { signal: checkSignal(given.signal), onProgress: checkProgress(given.onProgress) }
}

/** Tells `onProgress` now and then, and of the end. What it throws stops the call. */
function reporter(onProgress) {
  let at = Number.NEGATIVE_INFINITY
  return (done, total) => {
    const now = performance.now()
    if (!onProgress || (done < total && now - at < REPORT_MS)) return
    at = now
    try {
      onProgress({ done, total })
    } catch (error) {
      throw progressThrew(error, 'which aborted the call; nothing of it was kept')
    }
  }
}

/** What `promise` comes to, unless `signal` fires first. */
function unlessAborted(promise, signal) {
  if (!signal) return promise
  return new Promise((resolve, reject) => {
    const stop = () => reject(aborted(signal))
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    const done = () => signal.removeEventListener('abort', stop)
    promise.then(resolve, reject).then(done)
  })
}

/** The pieces of an export, one of them fetched ahead. */
async function* piecesOf(exporter, total, live, signal, onProgress) {
  const report = reporter(onProgress)
  const fetch = () => {
    const coming = exporter.next()
    coming.catch(() => {})
    return coming
  }
  let coming = fetch()
  let done = 0
  for (;;) {
    live()
    const piece = await settle(() => unlessAborted(coming, signal), signal)
    if (piece === null) return
    coming = fetch()
    yield piece
    done += piece.length
    if (signal?.aborted) throw aborted(signal)
    report(done, total)
  }
}

function isStream(target) {
  return typeof target?.getWriter === 'function'
}

function isNodeStream(target) {
  return typeof target?.write === 'function' && typeof target.end === 'function'
}

/** A way to write to `target`, or `undefined` where it is no target. */
function writerFor(target, signal) {
  if (isStream(target)) return (pieces) => intoStream(target, pieces, signal)
  if (isNodeStream(target) && files.intoNodeStream)
    return (pieces) => files.intoNodeStream(target, pieces, signal)
  if (typeof target === 'string' || target instanceof URL) {
    if (!files.intoFile) {
      throw new AsteroidError(
        'UNSUPPORTED',
        'browsers cannot write files by path: give a WritableStream, or take the stream that export() gives',
      )
    }
    return files.intoFile(target)
  }
  return undefined
}

async function intoStream(stream, pieces, signal) {
  let writer
  try {
    writer = stream.getWriter()
  } catch (cause) {
    throw new AsteroidError('INVALID_ARGUMENT', 'the stream to export to is locked: give one that is free', {
      cause,
    })
  }
  try {
    for await (const piece of pieces) await unlessAborted(writer.write(piece), signal)
    await unlessAborted(writer.close(), signal)
  } catch (error) {
    // Not awaited: a sink that hangs would never answer.
    writer.abort(error).catch(() => {})
    if (error instanceof AsteroidError) throw error
    throw new AsteroidError('IO', `the stream to export to failed: ${error?.message ?? error}`, {
      cause: error,
    })
  } finally {
    writer.releaseLock()
  }
}

/** `db.export(target, options)`: `begin` makes the addon's exporter, at its place among the writes. */
async function exportTo(begin, target, options) {
  const { signal, onProgress } = checkTransfer(options)
  const write = writerFor(target, signal)
  if (!write) {
    throw invalid(`export needs a path, a WritableStream or a Node stream to write to, not ${show(target)}`)
  }
  return withSignal(signal, async (flag) => {
    const exporter = await settle(() => begin(flag), signal)
    try {
      const bytes = await settle(() => exporter.measure(flag), signal)
      await write(piecesOf(exporter, bytes, () => {}, signal, onProgress))
      return { rows: exporter.rows, bytes }
    } finally {
      exporter.release()
    }
  })
}

/** `db.backup(to, options)`: a database of its own, of the state that `begin` takes. */
async function backupTo(begin, to, options) {
  const given = checkOptions(options, ['storage', 'vectorFilePath', 'signal', 'onProgress'], 'backup')
  if (!files.intoFile)
    throw new AsteroidError('UNSUPPORTED', 'browsers have no folders to back up to: use export()')
  const { vectorFilePath } = given
  const args = {
    to: checkPlace(to, 'the path to back up to'),
    storage: oneOf(given.storage, 'storage', ['redb', 'rocksdb']),
    vectorFilePath: vectorFilePath === undefined ? undefined : checkPlace(vectorFilePath, 'vectorFilePath'),
  }
  const watching = { signal: checkSignal(given.signal), onProgress: checkProgress(given.onProgress) }
  return copying(watching, 'backup', async (flag, report) => {
    const exporter = await begin(flag)
    try {
      return await exporter.backup(args, flag, report)
    } finally {
      exporter.release()
    }
  })
}

/** `db.export(options)`: a stream of the pieces. `live` throws once the database is closed. */
function exportStream(begin, options, live) {
  let exporter
  let pieces
  let ended = false
  const end = () => {
    ended = true
    exporter?.release()
  }
  return new ReadableStream(
    {
      async start() {
        const { signal, onProgress } = checkTransfer(options)
        await withSignal(signal, async (flag) => {
          exporter = await settle(() => begin(flag), signal)
          if (ended) return end()
          try {
            const bytes = await settle(() => exporter.measure(flag), signal)
            pieces = piecesOf(exporter, bytes, live, signal, onProgress)
          } catch (error) {
            end()
            throw error
          }
        })
      },
      async pull(controller) {
        try {
          const { done, value } = await pieces.next()
          if (!done) return controller.enqueue(value)
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        end()
      },
      cancel: end,
    },
    { highWaterMark: 1 },
  )
}

/** Whether the one argument of `export` is options rather than a target. */
function wantsStream(target) {
  const plain = target !== null && typeof target === 'object' && !(target instanceof URL)
  return (
    target === undefined || (plain && !Array.isArray(target) && !isStream(target) && !isNodeStream(target))
  )
}

async function* readStream(stream) {
  const reader = stream.getReader()
  let ended = false
  try {
    for (;;) {
      const { done, value } = await reader.read()
      ended = done
      if (done) return
      yield value
    }
  } finally {
    if (!ended) reader.cancel().catch(() => {})
  }
}

async function* fetched(url, signal) {
  const failed = (why, cause) =>
    new AsteroidError('IO', `${show(String(url))} cannot be fetched: ${why}`, { cause })
  try {
    const response = await fetch(url, { signal })
    if (!response.ok || !response.body)
      throw failed(`the server answers ${response.status} ${response.statusText}`)
    yield* readStream(response.body)
  } catch (cause) {
    throw cause instanceof AsteroidError
      ? cause
      : failed(cause?.cause?.message ?? cause?.message ?? cause, cause)
  }
}

/** What `from` is, as a function that gives an iterable of its pieces. */
function checkSource(from) {
  if (from instanceof ArrayBuffer || ArrayBuffer.isView(from)) return () => [from]
  if (typeof from === 'string' || from instanceof URL) {
    if (/^https?:/i.test(String(from)) || !files.fileChunks) return (signal) => fetched(from, signal)
    return files.fileChunks(from)
  }
  if (typeof from?.getReader === 'function') return () => readStream(from)
  if (typeof from?.stream === 'function' && typeof from.size === 'number')
    return () => readStream(from.stream())
  if (typeof (from?.[Symbol.asyncIterator] ?? from?.[Symbol.iterator]) === 'function') return () => from
  throw invalid(
    `from must be a path, a URL, bytes, a Blob, a ReadableStream or an iterable of bytes, not ${show(from)}`,
  )
}

function bytesOf(piece) {
  if (piece instanceof Uint8Array) return piece
  if (piece instanceof ArrayBuffer) return new Uint8Array(piece)
  if (ArrayBuffer.isView(piece)) return new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength)
  throw invalid(`from must give bytes, such as Uint8Array, not ${show(piece)}`)
}

/** `open` of a file: `begin` starts the addon's part. Gives what it resolves to. */
async function openFrom(begin, source, { signal, onProgress }) {
  return withSignal(signal ?? new AbortController().signal, async (flag) => {
    let thrown
    let told = -1
    let size = 0
    const report = (done, total) => {
      size = total
      if (thrown || done <= told) return
      told = done
      try {
        onProgress({ done, total })
      } catch (error) {
        thrown = { error }
        flag.abort()
      }
    }
    const feed = new (native().Feed)()
    const stop = new AbortController()
    const abort = () => stop.abort(signal.reason)
    signal?.addEventListener('abort', abort, { once: true })
    const opened = settle(() => begin(feed, flag, onProgress && report), signal)
    // A refused file is not read to its end.
    opened.catch(() => stop.abort())
    let pushed = 0
    let failure
    try {
      for await (const piece of untilAborted(source(stop.signal), stop.signal)) {
        const bytes = bytesOf(piece)
        for (let at = 0; at < bytes.length && !stop.signal.aborted; at += SLICE_BYTES) {
          await feed.push(bytes.subarray(at, at + SLICE_BYTES))
        }
        pushed += bytes.length
      }
      // The last report comes before the end of the file, with which the database is finished and stays. Of a file that
      // is cut short there is none.
      if (onProgress && pushed >= size && !stop.signal.aborted) report(pushed, pushed)
      if (thrown) feed.giveUp()
      else feed.end()
    } catch (error) {
      failure = error
      feed.giveUp()
    } finally {
      signal?.removeEventListener('abort', abort)
    }
    try {
      return await opened
    } catch (error) {
      if (thrown) throw progressThrew(thrown.error, 'which aborted the call; nothing of it was kept')
      throw error.code === 'ABORTED' && failure ? failure : error
    }
  })
}

module.exports = { backupTo, checkSource, exportStream, exportTo, openFrom, wantsStream }
