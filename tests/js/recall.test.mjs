// The promise on real data, all of it: recall@10 of at least 0.95 at efSearch 100 or less with the defaults.
import assert from 'node:assert/strict'
import test from 'node:test'
import { loadDataset, METRICS, missing } from './datasets.mjs'
import { recallAfterReopening } from './recall.mjs'

for (const name of Object.keys(METRICS)) {
  test(`all rows of ${name}`, { skip: missing(name), timeout: 30 * 60_000 }, async () => {
    const recall = await recallAfterReopening(loadDataset(name), [32, 64, 100, 128, 200])
    assert.ok(recall[100] >= 0.95, `recall@10 at efSearch 100 is ${recall[100]}`)
    assert.ok(recall[200] >= recall[32], 'a wider search found less')
  })
}
