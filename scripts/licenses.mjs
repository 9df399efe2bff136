// Writes THIRD-PARTY-LICENSES.txt, which goes into the package: every library that is compiled into the addon or the
// browser's engine, with the licences it came under. Made from what Cargo.lock names, so it cannot fall behind.
//
//   node scripts/licenses.mjs
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { root } from './lib/setup.mjs'

const PRODUCTS = [
  { crate: 'asteroid-node', features: 'asteroid-node/rocksdb' },
  { crate: 'asteroid-wasm', target: 'wasm32-unknown-unknown' },
]
const LICENCE = /^(licen[cs]e|copying|copyright|notice|unlicense)/i
// Sources of other projects inside a crate, beside which their licences lie.
const DEPTH = 2

/** The libraries that are linked into `crate`: what runs while it is built is not among them. */
function linked({ crate, features, target }) {
  const args = ['metadata', '--format-version', '1', '--locked']
  if (features) args.push('--features', features)
  if (target) args.push('--filter-platform', target)
  const { stdout, stderr, status, error } = spawnSync('cargo', args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 256 << 20,
  })
  if (error || status !== 0) throw new Error(`cargo metadata failed: ${error?.message ?? stderr}`)
  const { packages, resolve } = JSON.parse(stdout)
  const byId = new Map(packages.map((found) => [found.id, found]))
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
  const isMacro = (found) => found.targets.some(({ kind }) => kind.includes('proc-macro'))
  const reached = new Set()
  const walk = (id) => {
    if (reached.has(id) || isMacro(byId.get(id))) return
    reached.add(id)
    for (const { pkg, dep_kinds } of nodes.get(id).deps) {
      if (dep_kinds.some(({ kind }) => kind === null)) walk(pkg)
    }
  }
  walk(packages.find(({ name, source }) => name === crate && source === null).id)
  return [...reached].map((id) => byId.get(id)).filter(({ source }) => source !== null)
}

/** The files of licences in `folder` and a little below it. */
function licences(folder, depth = DEPTH) {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  const here = entries.filter((entry) => entry.isFile() && LICENCE.test(entry.name))
  const below = depth > 0 ? entries.filter((entry) => entry.isDirectory()) : []
  return [
    ...here.map(({ name }) => join(folder, name)),
    ...below.flatMap(({ name }) => licences(join(folder, name), depth - 1)),
  ]
}

const libraries = new Map()
for (const product of PRODUCTS) {
  for (const found of linked(product)) libraries.set(`${found.name} ${found.version}`, found)
}
const texts = new Map()
const lines = [
  'Asteroid DB is under the Apache License 2.0. Compiled into it are these libraries, with their licences:',
  '',
]
for (const [name, found] of [...libraries].sort(([a], [b]) => (a < b ? -1 : 1))) {
  const folder = dirname(found.manifest_path)
  lines.push(`${name}: ${found.license ?? 'see below'}`, `  ${found.repository ?? found.homepage ?? ''}`)
  const files = licences(folder)
  if (files.length === 0) lines.push(`  ${found.authors.join(', ')} (no text of its own)`)
  for (const file of files) {
    const text = readFileSync(file, 'utf8').replaceAll('\r\n', '\n').trim()
    if (!texts.has(text)) texts.set(text, texts.size + 1)
    lines.push(`  ${relative(folder, file).replaceAll('\\', '/')}: text ${texts.get(text)}`)
  }
}
for (const [text, number] of texts) lines.push('', `===== text ${number} =====`, '', text)

const file = join(root, 'THIRD-PARTY-LICENSES.txt')
const whole = `${lines.join('\n')}\n`
if (!existsSync(file) || readFileSync(file, 'utf8') !== whole) writeFileSync(file, whole)
console.log(
  `licences: ${libraries.size} libraries, ${texts.size} texts, ${(whole.length / 1000).toFixed(0)} kB`,
)
