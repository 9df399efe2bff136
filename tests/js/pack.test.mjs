// The package works for a stranger: what is in the tarball, and four kinds of project that install it.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { pack, project, repository, sh } from './packed.mjs'

const USE = `
const db = await open('./movies', { dim: 3, metric: 'cosine' })
await db.insert(1, new Float32Array([1, 0, 0]), { title: 'Alien' })
await db.insert('two', [0, 1, 0])
const [hit] = await db.search([0.9, 0.1, 0], { k: 1, include: ['payload'] })
await db.close()
if (hit.id !== 1 || hit.payload.title !== 'Alien') throw new Error(JSON.stringify(hit))
const again = await open('./movies')
const count = await again.count()
const refused = await again.insert(1, [1, 0, 0]).then(() => 'taken', (error) => error.code)
await again.close()
const other = await open('./movies-rocksdb', { dim: 3, storage: 'rocksdb' })
await other.insert(1, [1, 0, 0])
const { storage } = await other.stats()
await other.close()
console.log('rows', count, refused, storage)
`

test('the tarball holds what is needed to run, and nothing else', (t) => {
  const { files, size, unpackedSize } = pack()
  t.diagnostic(
    `package size: ${(size / 1e6).toFixed(2)} MB packed, ${(unpackedSize / 1e6).toFixed(2)} MB unpacked`,
  )
  for (const wanted of ['package.json', 'README.md', 'LICENSE', 'THIRD-PARTY-LICENSES.txt'])
    assert.ok(files.includes(wanted), `${wanted} is missing`)
  const addons = files.filter((name) => name.endsWith('.node'))
  const here = `${process.platform}-${process.arch}`
  assert.ok(
    addons.some((name) => name.includes(here)),
    `no addon for ${here} among ${files.join(', ')}`,
  )
  assert.ok(
    files.some((name) => /\.d\.[cm]ts$/.test(name)),
    'no type declarations',
  )
  const strays = files.filter((name) =>
    /\.rs$|\.test\.|^(tests|benches|scripts|examples|core|target|\.ci)\/|Cargo/.test(name),
  )
  assert.deepEqual(strays, [])
})

test('an ESM project', (t) => {
  const folder = project(t, { type: 'module' }, { 'main.js': `import { open } from 'asteroid-db'\n${USE}` })
  assert.equal(sh(process.execPath, ['main.js'], folder), 'rows 2 ID_EXISTS rocksdb\n')
})

test('a CommonJS project', (t) => {
  const main = `const { open } = require('asteroid-db')\nasync function main() {${USE}}\nmain()\n`
  const folder = project(t, { type: 'commonjs' }, { 'main.js': main })
  assert.equal(sh(process.execPath, ['main.js'], folder), 'rows 2 ID_EXISTS rocksdb\n')
})

const TYPED = `import { open, AsteroidError } from 'asteroid-db'
import { open as inline, type AsteroidDB } from 'asteroid-db/inline'

export const inBrowser: () => Promise<AsteroidDB> = () =>
  inline('movies', { dim: 3, wasmUrl: '/asteroid.wasm', workerUrl: new URL('https://localhost/worker.mjs') })

export async function main(): Promise<number> {
  const db = await open('./movies', { dim: 3, metric: 'cosine' })
  await db.insert(1, new Float32Array([1, 0, 0]), { title: 'Alien', tags: ['space'], year: 1979 })
  await db.insertMany({ ids: ['a', 'b'], vectors: new Float32Array(6).fill(1) })
  const hits = await db.search([1, 0, 0], { k: 3, include: ['payload'] })
  const first = hits[0]
  const distance: number = first ? first.distance : 0
  const row = await db.get(1)
  const vector: Float32Array | undefined = row?.vector
  for await (const { id } of db.scan()) console.log(id)
  try {
    await db.close()
  } catch (error) {
    if (error instanceof AsteroidError && error.code === 'CLOSED') return 0
    throw error
  }
  return distance + (vector?.length ?? 0)
}
`
const WRONG = `import { open } from 'asteroid-db'

export const wrong = open('./movies', { dim: 'three', metric: 'cosine' })
`

for (const [module, moduleResolution, type] of [
  ['nodenext', 'nodenext', 'module'],
  ['nodenext', 'nodenext', 'commonjs'],
  ['esnext', 'bundler', 'module'],
]) {
  test(`a TypeScript project, moduleResolution ${moduleResolution}, ${type}`, (t) => {
    const compilerOptions = {
      module,
      moduleResolution,
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      target: 'es2022',
      lib: ['es2022', 'dom'],
      types: [],
      skipLibCheck: false,
      outDir: 'out',
    }
    const config = (file) => JSON.stringify({ compilerOptions, files: [file] })
    const folder = project(
      t,
      { type },
      {
        'main.ts': TYPED,
        'wrong.ts': WRONG,
        'tsconfig.json': config('main.ts'),
        'wrong.json': config('wrong.ts'),
      },
    )
    const tsc = join(repository, 'node_modules/typescript/bin/tsc')
    sh(process.execPath, [tsc, '-p', 'tsconfig.json'], folder)
    assert.throws(
      () => sh(process.execPath, [tsc, '-p', 'wrong.json'], folder),
      /wrong\.ts.*'?string'? is not assignable/,
    )
  })
}
