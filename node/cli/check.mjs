// asteroid-db check: whether a database is sound.
import { open } from '../js/index.mjs'
import { number, time } from './terminal.mjs'

const SHOWN = 20

export async function check(folder, values) {
  const db = await open(folder, { readOnly: true })
  try {
    const began = performance.now()
    const report = await db.check()
    if (values.json) {
      console.log(
        JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? value.toString() : value)),
      )
      return report.ok ? 0 : 1
    }
    const walked = `${number(report.rows)} rows and ${number(report.links)} links in ${time(performance.now() - began)}`
    if (report.ok) {
      console.log(`${walked}: nothing is wrong`)
      return 0
    }
    console.log(`${walked}: ${number(report.problems.length)} problems`)
    for (const { kind, detail, id } of report.problems.slice(0, SHOWN)) {
      console.log(`  ${kind}${id === undefined ? '' : ` (id ${id})`}: ${detail}`)
    }
    if (report.problems.length > SHOWN)
      console.log(`  and ${number(report.problems.length - SHOWN)} more: see --json`)
    return 1
  } finally {
    await db.close()
  }
}
