// asteroid-db import: a database from a file of vectors.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { open } from '../js/index.mjs'
import { importExport, isExport } from './export.mjs'
import { objectLines, readVectorLines } from './lines.mjs'
import { megabytes, number, progressBar, storageOf, table, time, Usage, whole } from './terminal.mjs'

const require = createRequire(import.meta.url)
const { isVectorFile, openVectorFile } = require('../js/files.cjs')

const METRICS = ['l2', 'cosine', 'dot']

/** What there is to build of `file`: its dimension, and vectors, ids and payloads for `bulkBuild`. */
async function read(file, payloads) {
  if (file.toLowerCase().endsWith('.jsonl')) {
    if (payloads) throw new Usage('a .jsonl file of vectors has its payloads inside: leave --payloads out')
    return readVectorLines(file)
  }
  if (!isVectorFile(file)) throw new Usage(`'${file}' is none of .npy, .fvecs, .bvecs, .jsonl, .asteroid`)
  const opened = await openVectorFile(file)
  await opened.close()
  if (opened.dim === undefined) throw new Usage(`'${file}' is empty, so its dimension is unknown`)
  return { dim: opened.dim, vectors: file, payloads: payloads && objectLines(payloads) }
}

export async function importFile(folder, file, values) {
  if (isExport(file)) return importExport(folder, file, values)
  const { metric = 'l2', payloads } = values
  if (!METRICS.includes(metric))
    throw new Usage(`--metric must be one of ${METRICS.join(', ')}, not '${metric}'`)
  const storage = storageOf(values)
  const threads = whole(values, 'threads')
  const memory = whole(values, 'max-memory')
  const m = whole(values, 'm')
  const { dim, ...source } = await read(file, payloads)
  // Given for one that is there, the metric must agree; not given, what it has goes.
  const fixed = existsSync(folder) ? { metric: values.metric } : { metric }
  const db = await open(folder, { dim, m, storage, ...fixed })
  const controller = new AbortController()
  const interrupt = () => controller.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  const bar = progressBar()
  try {
    const report = await db.bulkBuild(source.vectors, {
      ids: source.ids,
      payloads: source.payloads,
      threads,
      maxMemoryBytes: memory && memory * 1e6,
      signal: controller.signal,
      onProgress: values.json ? undefined : bar.update,
    })
    bar.end()
    const { vectorFileBytes, kvFileBytes } = await db.stats()
    if (values.json) {
      console.log(JSON.stringify({ ...report, bytesOnDisk: vectorFileBytes + kvFileBytes }))
      return 0
    }
    console.log(
      `${number(report.n)} vectors of ${dim} numbers (${db.metric}) in ${time(report.elapsedMs)}: ` +
        `${number(report.vectorsPerSec)} per second on ${report.threads} ${report.threads === 1 ? 'thread' : 'threads'}, ` +
        `${megabytes(vectorFileBytes + kvFileBytes)} on disk`,
    )
    console.log(table(Object.entries(report.phases).map(([phase, ms]) => [phase, time(ms).padStart(12)])))
    return 0
  } catch (error) {
    // What a file of lines ran into is the better answer.
    throw error.cause instanceof Usage ? error.cause : error
  } finally {
    bar.end()
    process.removeListener('SIGINT', interrupt)
    await db.close()
  }
}
