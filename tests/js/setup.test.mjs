// The helpers that `npm start` and `npm test` stand on.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { atLeast, rocksdb, run } from '../../scripts/lib/setup.mjs'
import { time, wrap } from '../../scripts/lib/style.mjs'
import { clusters, exactTruth, loadDataset, missing, recallOf } from './datasets.mjs'

test('versions compare by number', () => {
  assert.ok(atLeast('1.95.0', '1.90') && atLeast('1.90', '1.90.0') && atLeast('26.10.0', '20'))
  assert.ok(!atLeast('1.9.9', '1.90') && !atLeast('1.89.0-nightly', '1.90'))
})

test('a failed program rejects with its output, and none waits for input', async () => {
  const quiet = { echo: false }
  assert.equal(await run(process.execPath, ['-p', "require('fs').readFileSync(0).length"], quiet), '0\n')
  await assert.rejects(
    run(process.execPath, ['-e', "console.log('why'); process.exit(3)"], quiet),
    (error) => {
      assert.match(error.message, /ended with status 3/)
      assert.equal(error.output, 'why\n')
      return true
    },
  )
})

test('RocksDB is linked where it is kept, and never compiled where only that is asked for', async (t) => {
  const empty = mkdtempSync(join(tmpdir(), 'asteroid-cache-'))
  t.after(() => rmSync(empty, { recursive: true, force: true }))
  const none = await rocksdb({ ifKept: true, echo: false, env: { XDG_CACHE_HOME: empty } })
  assert.deepEqual(none, { variables: {}, said: '' })
  assert.deepEqual(readdirSync(empty), [])
  const { variables } = await rocksdb({ ifKept: true, echo: false })
  if (!variables.ROCKSDB_LIB_DIR) return t.diagnostic('RocksDB was not compiled on this machine')
  assert.deepEqual(Object.keys(variables), ['ROCKSDB_LIB_DIR', 'ROCKSDB_STATIC'])
  assert.ok(existsSync(join(variables.ROCKSDB_LIB_DIR, 'librocksdb.a')))
  const { said } = await rocksdb({ echo: false })
  assert.match(said, /^rocksdb: kept from before in .*, nothing to compile\n$/)
  // A compiler that is not there cannot have made what is kept.
  await assert.rejects(rocksdb({ echo: false, env: { CXX: 'no-such-compiler' } }), (error) => {
    assert.match(error.output, /no C\+\+ compiler answers to 'no-such-compiler': install one/)
    return true
  })
})

test('text and times are shown as people read them', () => {
  assert.equal(wrap('one two three', 9, '  '), '  one two\n  three')
  assert.deepEqual([0.123, 42, 1500, 61_000].map(time), ['0.12 ms', '42 ms', '1.5 s', '1 min 1 s'])
})

test('exact search agrees with the truth that comes with the data', { skip: missing('movies') }, () => {
  const set = loadDataset('movies', { count: 10 })
  assert.deepEqual(exactTruth(set), set.truth)
})

test('recall counts what was found', () => {
  const set = clusters({ rows: 50, dim: 4, metric: 'l2', seed: 1, count: 2, k: 2 })
  const [a, b, c, d] = set.truth
  assert.equal(
    recallOf(set, [
      [{ id: b }, { id: a }],
      [{ id: BigInt(c) }, { id: d }],
    ]),
    1,
  )
  assert.equal(recallOf(set, [[{ id: a }, { id: -1 }], []]), 0.25)
})
