// asteroid-db convert: the same database in another store.
import { convert } from '../js/index.mjs'
import { megabytes, number, progressBar, storageOf, time } from './terminal.mjs'

export async function convertDatabase(from, to, values) {
  const storage = storageOf(values)
  const controller = new AbortController()
  const interrupt = () => controller.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  const bar = progressBar('bytes')
  const began = performance.now()
  const update = ({ done, total }) =>
    bar.update({ phase: 'copy', fraction: total === 0 ? 1 : done / total, done, total })
  try {
    const converted = await convert(from, to, {
      storage,
      signal: controller.signal,
      onProgress: values.json ? undefined : update,
    })
    bar.end()
    if (values.json) {
      console.log(JSON.stringify(converted))
      return 0
    }
    const took = time(performance.now() - began)
    console.log(
      `${number(converted.rows)} rows in ${converted.storage} after ${took}, ${megabytes(converted.bytesOnDisk)} on disk`,
    )
    return 0
  } finally {
    bar.end()
    process.removeListener('SIGINT', interrupt)
  }
}
