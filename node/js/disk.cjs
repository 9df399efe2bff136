'use strict'

// Exported files on disk and Node's streams.
const { randomBytes } = require('node:crypto')
const { open, rename, rm, stat } = require('node:fs/promises')
const { dirname, resolve } = require('node:path')
const { pipeline } = require('node:stream/promises')
const { AsteroidError, aborted, invalid, show } = require('./errors.cjs')
const { checkPath } = require('./open.cjs')

const PIECE_BYTES = 1 << 20
const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG']

function writeError(where, cause) {
  const code = FULL.includes(cause?.code) ? 'STORAGE_FULL' : 'IO'
  return new AsteroidError(code, `${where} cannot be written: ${cause?.message ?? cause}`, { cause })
}

/** The pieces of a file, as a function that reads it anew. */
function fileChunks(from) {
  const path = resolve(checkPath(from, 'from'))
  return async function* () {
    let file
    try {
      file = await open(path, 'r')
      for (;;) {
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(PIECE_BYTES), 0, PIECE_BYTES)
        if (bytesRead === 0) return
        yield buffer.subarray(0, bytesRead)
      }
    } catch (cause) {
      throw new AsteroidError('IO', `${show(path)} cannot be read: ${cause.message}`, { cause })
    } finally {
      await file?.close()
    }
  }
}

async function writeWhole(file, bytes) {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten
}

/** Makes names in a folder survive power loss, where the system has a way. */
async function syncFolder(path) {
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Writes pieces to a file that has its name only once it is whole and safe. */
function intoFile(target) {
  const path = resolve(checkPath(target, 'the path to export to'))
  return async (pieces) => {
    const partial = `${path}.${randomBytes(6).toString('hex')}.partial`
    let file
    try {
      const there = await stat(path).catch(() => undefined)
      if (there && !there.isFile())
        throw invalid(`${show(path)} is no file: give the path of one, or of none yet`)
      file = await open(partial, 'wx')
      for await (const piece of pieces) await writeWhole(file, piece)
      await file.sync()
      await file.close()
      await rename(partial, path)
      await syncFolder(dirname(path))
    } catch (error) {
      await file?.close().catch(() => {})
      await rm(partial, { force: true }).catch(() => {})
      throw error instanceof AsteroidError ? error : writeError(show(path), error)
    }
  }
}

/** Writes pieces to one of Node's streams and ends it. */
async function intoNodeStream(stream, pieces, signal) {
  try {
    await pipeline(pieces, stream, { signal })
  } catch (error) {
    if (error instanceof AsteroidError) throw error
    throw signal?.aborted ? aborted(signal) : writeError('the stream to export to', error)
  }
}

module.exports = { fileChunks, intoFile, intoNodeStream }
