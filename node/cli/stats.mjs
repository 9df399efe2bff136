// asteroid-db stats: what a database holds.
import { open } from '../js/index.mjs'
import { megabytes, number, table } from './terminal.mjs'

export async function stats(folder, values) {
  const db = await open(folder, { readOnly: true })
  try {
    const figures = { dim: db.dim, metric: db.metric, ...(await db.stats()) }
    if (values.json) {
      console.log(JSON.stringify(figures))
      return 0
    }
    const show = (name, value) => {
      if (name.endsWith('Bytes')) return megabytes(value).padStart(14)
      return (typeof value === 'number' ? number(value) : value).padStart(14)
    }
    console.log(table(Object.entries(figures).map(([name, value]) => [name, show(name, value)])))
    return 0
  } finally {
    await db.close()
  }
}
