// README.md agrees with the source: options with defaults and ranges, error codes, methods.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { repository } from './packed.mjs'
import { section, table } from './readme.mjs'

const source = (path) => readFileSync(join(repository, path), 'utf8')
const bare = (text) => text.replace(/[_,]/g, '')

test('every error code is explained, in the order of the source', () => {
  const codes = [...source('core/src/error.rs').matchAll(/Code::\w+ => "([A-Z_]+)"/g)].map(([, code]) => code)
  assert.ok(codes.length >= 19)
  const rows = table(section('Error codes'))
  assert.deepEqual(
    rows.map(([code]) => code),
    codes,
  )
  for (const [code, meaning, advice] of rows) assert.ok(meaning && advice, `${code} is not explained`)
})

test('the option table has the names, ranges and defaults of the source', () => {
  const rows = new Map(
    table(section('Options')).map(([name, fallback, range]) => [name.replace(' *', ''), { fallback, range }]),
  )
  const rust = source('core/src/options.rs')
  const ranges = [...rust.matchAll(/in_range\("(\w+)", self\.\w+, ([\w.]+), (\w+)\)/g)]
  assert.equal(ranges.length, 5)
  const show = (bound) => (bound === 'self.m' ? 'm' : bound === 'MAX_DIM' ? '65535' : bare(bound))
  for (const [, name, low, high] of ranges) {
    assert.ok(rows.has(name), `${name} is not in the table`)
    assert.equal(bare(rows.get(name).range), `${show(low)} to ${show(high)}`, name)
  }
  const defaults = /pub fn new\(dim: u32[\s\S]*?\n {4}\}\n/.exec(rust)[0]
  for (const [name, field] of [
    ['m', 'm'],
    ['efConstruction', 'ef_construction'],
    ['seed', 'seed'],
  ]) {
    const value = new RegExp(`\\b${field}: ([\\d_]+),`).exec(defaults)[1]
    assert.equal(bare(rows.get(name).fallback), bare(value), name)
  }
  const cache = /cache_bytes: (\d+) << 20/.exec(rust)[1]
  assert.equal(rows.get('cacheBytes').fallback, `${cache} MiB`)
  const least = /MIN_CACHE_BYTES: u64 = (\d+) << 20/.exec(rust)[1]
  assert.equal(rows.get('cacheBytes').range, `${least} MiB or more`)
})

test('the search option table has the default of the source', () => {
  const rows = new Map(table(section('Searching')).map(([name, fallback]) => [name, fallback]))
  const ef = /DEFAULT_EF_SEARCH: usize = (\d+)/.exec(source('core/src/index/mod.rs'))[1]
  assert.equal(rows.get('efSearch'), ef)
  assert.equal(rows.get('k'), /\bk: (\d+),/.exec(source('core/src/index/types.rs'))[1])
})

test('every method in README.md exists, and every method is in README.md', async () => {
  const asteroid = await import('asteroid-db')
  const db = await asteroid.open(':memory:', { dim: 2 })
  try {
    const named = new Set([...section('Methods').matchAll(/`(\w+)\(/g)].map(([, name]) => name))
    // What the package exports beside classes is called on nothing.
    for (const name of Object.keys(asteroid).filter((name) => /^[a-z]/.test(name) && name !== 'default')) {
      assert.ok(named.delete(name), `README.md does not show ${name}()`)
    }
    for (const name of named)
      assert.equal(typeof db[name], 'function', `README.md shows ${name}(), which is not there`)
    const later = new Set([...section('Not there yet').matchAll(/`(\w+)\(/g)].map(([, name]) => name))
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(db)).filter(
      (name) => typeof Object.getOwnPropertyDescriptor(Object.getPrototypeOf(db), name).value === 'function',
    )
    for (const name of methods) {
      if (name === 'constructor') continue
      assert.ok(named.has(name) || later.has(name), `README.md does not show ${name}()`)
    }
  } finally {
    await db.close()
  }
})

test('every file and script that README.md names is there', () => {
  const text = source('README.md')
  for (const [, path] of text.matchAll(/\]\(((?!https?:|#)[^)]+)\)/g)) {
    assert.ok(existsSync(join(repository, path)), `${path} is not there`)
  }
  const { scripts } = JSON.parse(source('package.json'))
  for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g))
    assert.ok(scripts[name], `npm run ${name} is not there`)
})
