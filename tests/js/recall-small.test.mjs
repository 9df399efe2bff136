// Recall floors that hold on cuts small enough to check often, against exact search.
import assert from 'node:assert/strict'
import test from 'node:test'
import { clusters, loadDataset, METRICS, missing } from './datasets.mjs'
import { recallAfterReopening } from './recall.mjs'

for (const name of Object.keys(METRICS)) {
  test(`20,000 rows of ${name}`, { skip: missing(name) }, async () => {
    const recall = await recallAfterReopening(loadDataset(name, { rows: 20_000, count: 200 }), [64, 100])
    assert.ok(recall[64] >= 0.95, `recall@10 at the default efSearch is ${recall[64]}`)
  })
}

for (const metric of ['l2', 'cosine', 'dot']) {
  const seed = Number(process.env.ASTEROID_SEED ?? Date.now() % 1e9)
  test(`10,000 rows in clusters under ${metric}, ASTEROID_SEED=${seed}`, async () => {
    const set = clusters({ rows: 10_000, dim: 48, metric, seed })
    const recall = await recallAfterReopening(set, [64, 100])
    assert.ok(recall[100] >= 0.95, `recall@10 at efSearch 100 is ${recall[100]} with ASTEROID_SEED=${seed}`)
  })
}
