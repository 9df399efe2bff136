// asteroid-db export, and import of what it wrote: a whole database as one file.
import { open } from '../js/index.mjs'
import { megabytes, number, progressBar, time, Usage } from './terminal.mjs'

/** Whether the name is that of an exported database. */
export function isExport(file) {
  return file.toLowerCase().endsWith('.asteroid')
}

/** Runs `work` with a signal that an interrupt fires and a bar that follows bytes; prints what it did. */
async function transfer(values, phase, did, work) {
  const controller = new AbortController()
  const interrupt = () => controller.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  const bar = progressBar('bytes')
  const began = performance.now()
  const onProgress = ({ done, total }) =>
    bar.update({ phase, fraction: total === 0 ? 1 : done / total, done, total })
  try {
    const { rows, bytes } = await work({
      signal: controller.signal,
      onProgress: values.json ? undefined : onProgress,
    })
    bar.end()
    const elapsedMs = performance.now() - began
    if (values.json) console.log(JSON.stringify({ rows, bytes, elapsedMs }))
    else console.log(`${number(rows)} rows ${did} in ${time(elapsedMs)}: ${megabytes(bytes)}`)
    return 0
  } finally {
    bar.end()
    process.removeListener('SIGINT', interrupt)
  }
}

export async function exportTo(folder, file, values) {
  if (!isExport(file)) throw new Usage(`'${file}' must end in .asteroid, by which import knows it`)
  const db = await open(folder, { readOnly: true })
  try {
    return await transfer(values, 'export', 'exported', (options) => db.export(file, options))
  } finally {
    await db.close()
  }
}

export async function importExport(folder, file, values) {
  const given = Object.keys(values).find((name) => name !== 'json')
  if (given) throw new Usage(`--${given} is for files of vectors: '${file}' is a whole database`)
  return transfer(values, 'import', 'imported', async (options) => {
    const db = await open(folder, { ...options, from: file })
    try {
      const { vectorFileBytes, kvFileBytes } = await db.stats()
      return { rows: await db.count(), bytes: vectorFileBytes + kvFileBytes }
    } finally {
      await db.close()
    }
  })
}
