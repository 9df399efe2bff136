// Builds what browsers get into wasm/dist: the page's module, the worker's, the engine in two halves, and inline.mjs,
// which is all of them in one. Prints their sizes. What is downloaded is the first three, and the second half of the
// engine with the first call that needs it; or the last.
//
//   node scripts/build-wasm.mjs             all of it
//   node scripts/build-wasm.mjs --js        the JavaScript alone, around the engine that was built last
//   node scripts/build-wasm.mjs --conformance   instead a worker for tests, which runs the contracts of the stores
//
// Needs Rust with wasm32-unknown-unknown (see wasm.sh). Fetches wasm-bindgen's command line of the version in Cargo.lock
// and binaryen once into the cache folder.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { brotliCompressSync, deflateRawSync } from 'node:zlib'
import { build } from 'esbuild'
import { cacheDir, npm, root, run } from './lib/setup.mjs'
import { splitWasm } from './lib/split-wasm.mjs'

const BUDGET = 300_000
/** What wasm.sh says where it has not what it takes to build the standard library small. */
const LARGE = 'wasm: the download will be larger than it could be'
const BINARYEN = '132.0.0'

const { values } = parseArgs({
  options: {
    js: { type: 'boolean' },
    conformance: { type: 'boolean' },
    profile: { type: 'string', default: 'browser' },
  },
})
const bindings = join(root, 'target/wasm-bindings')
const dist = join(root, 'wasm/dist')
const quiet = { echo: false }

/** wasm-bindgen's command line: it must have exactly the version of the library. */
async function bindgen() {
  const lock = readFileSync(join(root, 'Cargo.lock'), 'utf8')
  const version = /name = "wasm-bindgen"\nversion = "([^"]+)"/.exec(lock)[1]
  const home = join(cacheDir, `wasm-bindgen-${version}`)
  const program = join(home, 'bin', process.platform === 'win32' ? 'wasm-bindgen.exe' : 'wasm-bindgen')
  if (existsSync(program)) return program
  console.log(`wasm: compiling wasm-bindgen ${version} once (some minutes)`)
  const args = ['install', 'wasm-bindgen-cli', '--version', version, '--root', home, '--bin', 'wasm-bindgen']
  // Quick to compile matters more than quick to run.
  const env = { CARGO_PROFILE_RELEASE_OPT_LEVEL: '1', CARGO_PROFILE_RELEASE_LTO: 'off', RUSTFLAGS: undefined }
  await run('cargo', [...args, '--locked'], { env, ...quiet }).catch(() => run('cargo', args, { env }))
  return program
}

async function wasmOpt() {
  const home = join(cacheDir, `binaryen-${BINARYEN}`)
  const program = join(home, 'node_modules/binaryen/bin/wasm-opt')
  if (!existsSync(program)) {
    mkdirSync(home, { recursive: true })
    writeFileSync(join(home, 'package.json'), '{ "private": true }\n')
    await run(npm, ['install', '--prefix', home, '--no-audit', '--no-fund', `binaryen@${BINARYEN}`], quiet)
  }
  return program
}

/** Compiles the engine and its bindings: `engine.js` and `engine_bg.wasm` in `folder`. Answers whether it is small. */
async function compile(folder, profile, options = []) {
  const cargo = ['scripts/wasm.sh', 'build', '--package', 'asteroid-wasm', '--profile', profile, ...options]
  const output = await run('bash', cargo)
  const target = /^wasm: target folder (.*)$/m.exec(output)[1]
  const built = join(root, target, 'wasm32-unknown-unknown', profile, 'asteroid_wasm.wasm')
  rmSync(folder, { recursive: true, force: true })
  const web = ['--target', 'web', '--no-typescript', '--omit-default-module-path']
  await run(await bindgen(), [...web, '--out-name', 'engine', '--out-dir', folder, built])
  return !output.includes(LARGE)
}

/** The functions with which begins what few calls need. */
const SELDOM = [
  // Bulk builds.
  /^<?asteroid_core::rnn::/,
  /Index>::bulk_build/,
  /^engine_bulkBuild$/,
  // Patterns.
  /filter::parse::Parser>::regex$/,
  /^<?asteroid_core::filter::(pattern|linear|fold)::/,
  /^<?regex_(automata|syntax)::/,
  // What is said of filters that are refused.
  /^asteroid_core::filter::names::(unknown|nearest|shorten)$/,
  // Checks, repairs, compaction, exports, imports, patches of payloads.
  /Index>::(check|repair)$/,
  /^engine_(check|repair|compact|export|mergePayload)$/,
  /Index>::each_entry/,
  // How wide to search for a recall.
  /Index>::width_for$/,
  // Sweeps of dead rows.
  /Index>::(advance|begin)$/,
  /^(importer|exporter)_/,
  /^<?asteroid_core::export::/,
  /RedbKv as .*>::compact$/,
  // What is left of a bulk build that was cut short, and databases emptied at once.
  /redb::delete_range$/,
  /^<?redb::[^ ]*relocate/,
  // What redb does after a crash, where nothing says where its free pages are.
  /Database>::(rebuild_allocator_state|verify_primary_checksums)/,
  // Savepoints, of which there are none.
  /Btree.*SerializedSavepoint/,
  // Read-only stores write to memory.
  /cow::CowBytes as .*(write_at|set_len)$/,
  // Numbers with fractions in messages.
  /^core::(num::flt2dec|fmt::float)/,
]
const FEATURES = [
  'simd',
  'bulk-memory',
  'sign-ext',
  'mutable-globals',
  'nontrapping-float-to-int',
  'reference-types',
]

/** Of LLVM's output, the first level comes out smaller in Brotli than any higher one, and these make it smaller still. */
const SMALLER = [
  '-O1',
  '--rse',
  '--vacuum',
  '--code-folding',
  '--merge-locals',
  '--coalesce-locals',
  '--reorder-locals',
  '--vacuum',
  '--strip-debug',
  '--strip-producers',
]

async function buildEngine() {
  const isSmall = await compile(bindings, values.profile)
  const optimizer = await wasmOpt()
  const enabled = [...FEATURES, 'multivalue'].map((feature) => `--enable-${feature}`)
  const optimize = (...args) => run(process.execPath, [optimizer, ...enabled, ...args])
  const at = (name) => join(bindings, name)

  await optimize('-O1', '-g', '-S', at('engine_bg.wasm'), '-o', at('engine.wat'))
  const glue = readFileSync(at('engine.js'), 'utf8')
  const [text, script] = withShortNames(readFileSync(at('engine.wat'), 'utf8'), glue)
  const build = createHash('sha256').update(text).digest('hex').slice(0, 4)
  const halves = splitWasm(text, { patterns: SELDOM, need: 'need', build })
  writeFileSync(at('engine.js'), script)
  for (const [name, half] of [
    ['asteroid', halves.first],
    ['asteroid-rest', halves.rest],
  ]) {
    writeFileSync(at(`${name}.wat`), half)
    await optimize(...SMALLER, at(`${name}.wat`), '-o', at(`${name}.wasm`))
  }
  return isSmall
}

/** The engine and its glue with short names for what each imports from the other. */
function withShortNames(...texts) {
  const long = /__wb(?:g|indgen)_\w+_[0-9a-f]{16}/g
  const names = new Map()
  for (const [name] of texts[1].matchAll(long)) {
    if (!names.has(name)) names.set(name, `_${names.size.toString(36)}`)
  }
  const [text, glue] = texts.map((text) => text.replace(long, (name) => names.get(name) ?? name))
  const short = (name) => {
    if (!names.has(name)) names.set(name, `_${names.size.toString(36)}`)
    return names.get(name)
  }
  const exported = /\(export "(?!need")(\w+)" \(func /g
  return [
    text.replace(exported, (_, name) => `(export "${short(name)}" (func `),
    glue.replace(/\bwasm\.(\w+)/g, (all, name) =>
      text.includes(`(export "${name}" (func `) ? `wasm.${short(name)}` : all,
    ),
  ]
}

/** The page's module stands on the Node package's facade, with the browser in the place of the system. */
const browserHost = {
  name: 'browser-host',
  setup({ onResolve }) {
    const page = join(root, 'wasm/js/page')
    onResolve({ filter: /\/(host|memory|files|at-once|writes)\.cjs$/ }, () => ({
      path: join(page, 'host.mjs'),
    }))
    onResolve({ filter: /\/native\.cjs$/ }, () => ({ path: join(page, 'native.mjs') }))
  },
}

/** Puts `path` in the place of what `filter` imports. */
const replacing = (filter, path) => ({
  name: 'replacing',
  setup: ({ onResolve }) => onResolve({ filter }, () => ({ path: join(root, path) })),
})

/** A module whose default is the text that `make` gives. */
const textModule = (name, make) => ({
  name,
  setup({ onLoad, onResolve }) {
    onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: name, namespace: 'text' }))
    onLoad({ filter: new RegExp(`^${name}$`), namespace: 'text' }, async () => ({
      contents: await make(),
      loader: 'text',
    }))
  },
})

const common = {
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: ['chrome111', 'firefox114', 'safari16.4'],
  minify: true,
  legalComments: 'none',
  absWorkingDir: root,
  logLevel: 'warning',
  // wasm-bindgen names a module of imports once per use.
  logOverride: { 'duplicate-object-key': 'silent' },
}
// Bundlers look for calls as they are written in start.mjs: their syntax stays.
const page = { ...common, entryPoints: ['wasm/js/page/index.mjs'], minifySyntax: false }
const engineIn = (folder) => ({
  'asteroid-engine': join(folder, 'engine.js'),
  'asteroid-host': './wasm/js/worker/host.mjs',
})
const worker = { ...common, entryPoints: ['wasm/js/worker/worker.mjs'], alias: engineIn(bindings) }

/** For tests, with assertions. */
async function buildConformance() {
  const folder = join(root, 'target/wasm-conformance')
  await compile(folder, 'conformance', ['--features', 'asteroid-wasm/conformance'])
  const entryPoints = ['tests/js/browser/conformance.worker.mjs']
  await build({ ...common, entryPoints, alias: engineIn(folder), outfile: join(folder, 'worker.mjs') })
}

async function buildScripts() {
  await build({ ...page, outfile: join(dist, 'index.mjs'), plugins: [browserHost] })
  await build({ ...worker, outfile: join(dist, 'worker.mjs'), plugins: [browserHost] })
}

/** The whole of it in one module, for places that serve no further files. */
async function buildInline() {
  const packed = (name) => () =>
    deflateRawSync(readFileSync(join(bindings, name)), { level: 9 }).toString('base64')
  const workerText = async () => {
    const carrying = replacing(/\/binary\.mjs$/, 'wasm/js/worker/carried.mjs')
    const plugins = [carrying, textModule('asteroid-packed', packed('asteroid.wasm'))]
    plugins.push(textModule('asteroid-packed-rest', packed('asteroid-rest.wasm')), browserHost)
    const { outputFiles } = await build({ ...worker, write: false, plugins })
    return outputFiles[0].text
  }
  const inline = replacing(/\/start\.mjs$/, 'wasm/js/page/inline.mjs')
  const plugins = [inline, textModule('asteroid-worker-source', workerText), browserHost]
  await build({ ...page, outfile: join(dist, 'inline.mjs'), plugins })
}

if (values.conformance) await buildConformance()
else await buildPackage()

async function buildPackage() {
  mkdirSync(dist, { recursive: true })
  const isSmall = values.js || (await buildEngine())
  await buildScripts()
  await buildInline()
  for (const name of ['asteroid.wasm', 'asteroid-rest.wasm'])
    writeFileSync(join(dist, name), readFileSync(join(bindings, name)))

  let total = 0
  for (const name of ['asteroid.wasm', 'index.mjs', 'worker.mjs', 'asteroid-rest.wasm', 'inline.mjs']) {
    const content = readFileSync(join(dist, name))
    const small = brotliCompressSync(content).length
    if (['asteroid.wasm', 'index.mjs', 'worker.mjs'].includes(name)) total += small
    console.log(
      `wasm: ${name.padEnd(18)} ${String(content.length).padStart(9)} bytes ${String(small).padStart(8)} brotli`,
    )
  }
  console.log(
    `wasm: download           ${' '.repeat(9)}       ${String(total).padStart(8)} brotli, of ${BUDGET}`,
  )
  if (total > BUDGET) {
    const why = isSmall ? '' : ', for want of the source of the standard library: not to be published'
    console.error(`wasm: the download is ${total - BUDGET} bytes over its budget${why}`)
    if (isSmall) process.exitCode = 1
  }
}
