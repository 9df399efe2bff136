// Builds a database of a data set through the package, closes it, opens it again, and measures what searches find.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'asteroid-db'
import { recallOf, rowIds } from './datasets.mjs'

/**
 * `{ efSearch: recall }` with default options, after reopening; prints it. `check()` must find nothing wrong before it
 * begins and after it ends.
 */
export async function recallAfterReopening(set, efs) {
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-recall-'))
  const path = join(folder, 'db')
  try {
    const began = performance.now()
    let db = await open(path, { dim: set.dim, metric: set.metric })
    const { count } = await db.insertMany({ ids: rowIds(set.rows), vectors: set.base })
    assert.equal(count, set.rows)
    await db.close()
    const seconds = (performance.now() - began) / 1000

    db = await open(path)
    try {
      assert.equal(await db.count(), set.rows)
      const report = await db.check()
      assert.ok(report.ok, `check found ${JSON.stringify(report.problems.slice(0, 5))}`)
      const recall = {}
      for (const efSearch of efs) {
        const hits = await db.searchMany(set.queries, { k: set.k, efSearch })
        recall[efSearch] = recallOf(set, hits)
      }
      const figures = efs.map((ef) => `${ef}: ${recall[ef].toFixed(4)}`).join('  ')
      const rate = Math.round(set.rows / seconds)
      console.log(
        `recall ${set.name} ${set.rows} x ${set.dim} ${set.metric}, ${rate} rows/s, by efSearch  ${figures}`,
      )
      return recall
    } finally {
      await db.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
