// The command asteroid-db: what it makes, what it prints, how it ends.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { open } from 'asteroid-db'
import { place, random, vectors } from './lib/helpers.mjs'

const program = fileURLToPath(new URL('../cli/asteroid-db.mjs', import.meta.url))

/** Runs the command to its end. */
function run(...args) {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, NO_COLOR: '1' } })
  const result = { out: '', err: '' }
  child.stdout.on('data', (data) => {
    result.out += data
  })
  child.stderr.on('data', (data) => {
    result.err += data
  })
  return new Promise((resolve) => child.on('close', (status) => resolve({ ...result, status })))
}

function fvecs(data, dim) {
  const file = Buffer.alloc((data.length / dim) * (4 + dim * 4))
  for (let row = 0; row * dim < data.length; row++) {
    const at = row * (4 + dim * 4)
    file.writeInt32LE(dim, at)
    for (let i = 0; i < dim; i++) file.writeFloatLE(data[row * dim + i], at + 4 + i * 4)
  }
  return file
}

function files(t) {
  const path = place(t)
  const folder = dirname(path)
  mkdirSync(folder, { recursive: true })
  return {
    path,
    file(name, content) {
      const at = join(folder, name)
      writeFileSync(at, content)
      return at
    },
  }
}

test('import, stats and check', async (t) => {
  const { path, file } = files(t)
  const data = vectors(random(t), 3000, 8)
  const from = file('rows.fvecs', fvecs(data, 8))
  const payloads = file(
    'rows.jsonl',
    Array.from({ length: 3000 }, (_, i) => (i % 2 ? 'null' : JSON.stringify({ i }))).join('\r\n'),
  )
  const args = ['--metric', 'cosine', '--payloads', payloads, '--threads', '1']
  const made = await run('import', path, from, ...args)
  assert.equal(made.status, 0, made.err)
  assert.match(made.out, /^3,000 vectors of 8 numbers \(cosine\) in .* per second on 1 thread, .* on disk\n/)
  assert.match(made.out, /^ {2}descend +\d/m)
  assert.match(made.err, /^100 % +store +3,000 .*rows\/s$/m)
  assert.ok(made.err.split('\n').length <= 12, 'a few lines where it is no terminal')
  assert.doesNotMatch(made.out + made.err, new RegExp(String.fromCharCode(27)), 'no colours')

  const db = await open(path)
  assert.equal(db.metric, 'cosine')
  assert.deepEqual((await db.get(2)).payload, { i: 2 })
  assert.equal((await db.get(3)).payload, null)
  assert.deepEqual([...(await db.get(2999)).vector], [...data.subarray(2999 * 8)])
  await db.close()

  assert.match((await run('stats', path)).out, /^ {2}rows +3,000$/m)
  assert.equal(JSON.parse((await run('stats', path, '--json')).out).rows, 3000)
  const checked = await run('check', path)
  assert.deepEqual([checked.status, checked.err], [0, ''])
  assert.match(checked.out, /3,000 rows and .* nothing is wrong/)
  assert.equal(JSON.parse((await run('check', path, '--json')).out).ok, true)

  const again = await run('import', path, from)
  assert.deepEqual([again.status, again.out], [1, ''])
  assert.match(again.err, /NOT_EMPTY/)
})

test('convert, there and back', async (t) => {
  const { path, file } = files(t)
  const from = file('rows.fvecs', fvecs(vectors(random(t), 500, 8), 8))
  assert.equal((await run('import', path, from, '--metric', 'cosine')).status, 0)
  const there = await run('convert', path, `${path}-2`)
  assert.equal(there.status, 0, there.err)
  assert.match(there.out, /^500 rows in rocksdb after .*, .* MB on disk\n$/)
  assert.match(there.err, /^100 % +copy +\d+\.\d MB/m)
  assert.match((await run('check', `${path}-2`)).out, /500 rows .* nothing is wrong/)
  const back = await run('convert', `${path}-2`, `${path}-3`, '--storage', 'redb', '--json')
  assert.equal(back.status, 0, back.err)
  assert.deepEqual(
    { ...JSON.parse(back.out), bytesOnDisk: 0 },
    { rows: 500, storage: 'redb', bytesOnDisk: 0 },
  )
  assert.equal(JSON.parse((await run('stats', `${path}-3`, '--json')).out).storage, 'redb')
  const again = await run('convert', path, `${path}-2`)
  assert.deepEqual([again.status, again.out], [1, ''])
  assert.match(again.err, /NOT_EMPTY/)
  const made = await run('import', `${path}-4`, from, '--storage', 'rocksdb')
  assert.equal(made.status, 0, made.err)
  assert.match((await run('stats', `${path}-4`)).out, /^ {2}storage +rocksdb$/m)
})

test('vectors, ids and payloads from JSON lines', async (t) => {
  const { path, file } = files(t)
  const lines = Array.from({ length: 2500 }, (_, i) =>
    JSON.stringify({ id: i % 2 ? `r${i}` : i, vector: [i, 1, 2], ...(i % 3 ? { payload: { i } } : {}) }),
  )
  const made = await run('import', path, file('rows.jsonl', `${lines.join('\n')}\n\n`), '--json')
  assert.equal(made.status, 0, made.err)
  const report = JSON.parse(made.out)
  assert.equal(report.n, 2500)
  assert.ok(report.bytesOnDisk > 0)
  const db = await open(path)
  assert.deepEqual(await db.get('r2005'), {
    id: 'r2005',
    vector: Float32Array.of(2005, 1, 2),
    payload: { i: 2005 },
  })
  assert.equal((await db.get(3 * 800)).payload, null)
  await db.close()
})

test('mistakes are named', async (t) => {
  const { path, file } = files(t)
  const good = file('good.fvecs', fvecs(Float32Array.of(1, 2, 3, 4), 2))
  const cases = [
    [[], 2, /./],
    [['imprt', path, good], 2, /no command 'imprt'/],
    [['import', path], 2, /import takes <folder> <file>/],
    [['import', path, good, '--metrics', 'l2'], 2, /metrics/],
    [['import', path, good, '--metric', 'euclid'], 2, /l2, cosine, dot/],
    [['import', path, good, '--threads', 'two'], 2, /--threads/],
    [['stats', path, '--metric', 'l2'], 2, /stats has no --metric/],
    [['import', path, file('a.txt', '')], 2, /\.npy, \.fvecs, \.bvecs, \.jsonl/],
    [['import', path, file('empty.fvecs', '')], 2, /empty/],
    [['import', path, file('empty.jsonl', '')], 2, /empty/],
    [['import', path, join(path, 'absent.npy')], 1, /absent\.npy.*IO/],
    [['import', path, join(path, 'absent.jsonl')], 2, /absent\.jsonl/],
    [['import', path, file('bad.jsonl', '{"vector":[1]}\n{"vector":[1,2]}')], 2, /line 2.*2 numbers/],
    [['import', path, file('no.jsonl', '{"vector":[1]}\n{')], 2, /line 2.*not JSON/],
    [['stats', join(path, 'nowhere')], 1, /nowhere/],
    [['convert', path], 2, /convert takes <from> <to>/],
    [['convert', path, `${path}-2`, '--storage', 'lmdb'], 2, /redb, rocksdb/],
    [['convert', `${path}-0`, `${path}-2`], 1, /NOT_FOUND/],
  ]
  for (const [args, status, message] of cases) {
    const result = await run(...args)
    assert.equal(result.status, status, `${args}: ${result.err}`)
    if (args.length > 0) assert.match(result.err, message)
    assert.doesNotMatch(result.err, /\n\s+at /, 'no stack')
  }
  assert.match((await run('--help')).out, /asteroid-db import/)
  assert.match((await run('--version')).out, /^\d+\.\d+\.\d+\n$/)
  const tooLarge = await run('import', `${path}2`, good, '--max-memory', '1')
  assert.equal(tooLarge.status, 1)
  assert.match(tooLarge.err, /INVALID_ARGUMENT/)
  assert.ok(existsSync(`${path}2`))
})

test('export, and import of what it wrote', async (t) => {
  const { path, file } = files(t)
  const from = file('rows.fvecs', fvecs(vectors(random(t), 3000, 8), 8))
  assert.equal((await run('import', path, from, '--metric', 'dot')).status, 0)
  const moved = `${path}.asteroid`
  const done = await run('export', path, moved)
  assert.equal(done.status, 0, done.err)
  assert.match(done.out, /^3,000 rows exported in .*: \d+\.\d MB\n$/)
  assert.match(done.err, /^100 % +export +\d+\.\d MB .*MB\/s$/m)
  const made = await run('import', `${path}2`, moved, '--json')
  assert.equal(made.status, 0, made.err)
  assert.equal(JSON.parse(made.out).rows, 3000)
  assert.equal((await run('check', `${path}2`)).status, 0)
  for (const [args, status, message] of [
    [['export', path, `${path}.other`], 2, /must end in \.asteroid/],
    [['export', `${path}3`, moved], 1, /NOT_FOUND/],
    [['import', `${path}2`, moved], 1, /NOT_EMPTY/],
    [['import', `${path}3`, moved, '--metric', 'l2'], 2, /--metric/],
    [['import', `${path}3`, file('bad.asteroid', 'bad')], 1, /CORRUPT/],
  ]) {
    const failed = await run(...args)
    assert.equal(failed.status, status, failed.out + failed.err)
    assert.match(failed.err, message)
  }
})
