// `npm test`: sets everything up, then checks everything, quick steps first, stopping at the first failure.
//
//   npm test                     all of it
//   npm test -- --only rust      the steps whose names contain "rust"
//   npm test -- --list           the names of the steps
//
// CI=1                 nothing may be left out: no Node version, and no test for want of data that is there
// ASTEROID_SHARED      where the large test data lie (default: the folder "shared" beside the repository)
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  buildAddon,
  cacheDir,
  installPackages,
  npm,
  requireTools,
  rocksdb,
  root,
  run,
  SetupError,
} from './lib/setup.mjs'
import { bold, dim, green, number, red, time } from './lib/style.mjs'

const NEWER_NODES = ['22', '24', 'latest']
const STEP_TIMEOUT_MS = 40 * 60_000
const COMPILE_TIMEOUT_MS = 3 * STEP_TIMEOUT_MS
const MONTH_MS = 30 * 24 * 3600_000

const WASM_LINT = [
  'clippy',
  '--package=asteroid-wasm',
  '--features=asteroid-wasm/conformance',
  '--profile=browser',
  '--',
  '--deny=warnings',
]

const ci = Boolean(process.env.CI)
const logs = join(root, 'target/test-logs')
const shared = process.env.ASTEROID_SHARED || join(dirname(root), 'shared')
const env = { CARGO_TERM_COLOR: 'never', NO_COLOR: '1', FORCE_COLOR: undefined }
if (existsSync(shared)) env.ASTEROID_SHARED = shared

// The same everywhere, so that the workspace is built once.
const FEATURES = ['--features', 'asteroid-node/rocksdb,asteroid-tests/rocksdb']

const cargo = (args, extra) => () => command('cargo', args, extra)
/** Cargo over the whole workspace, with RocksDB. */
const cargoWithAll = (command, args, extra) => async () => {
  await prepareRocksdb()
  return cargo([command, '--workspace', ...FEATURES, '--locked', ...args], extra)()
}
// How long the parser and evaluator of filters are fuzzed, beside the other tests.
const FUZZ = { ASTEROID_FUZZ_SECONDS: process.env.ASTEROID_FUZZ_SECONDS || '60' }
const KERNELS = join(root, 'benches/kernels/Cargo.toml')
const LOCKED_KERNELS = ['update', '--workspace', '--locked', '--quiet', '--manifest-path', KERNELS]
const nodeTests = (files, program) => () => runNodeTests(files(), program)
const addonTests = () => testFiles('node/test')
const jsTest = (name) => () => [join(root, 'tests/js', `${name}.test.mjs`)]

const steps = [
  ['npm packages', () => installPackages({ env, echo: false })],
  ['rust format', cargo(['fmt', '--all', '--check'])],
  // Its packages are not compiled here, so nothing else would tell that its lock file is of an earlier engine.
  ['lock file of kernel benches', cargo(LOCKED_KERNELS)],
  ['js lint and format', () => command(npm, ['run', '--silent', 'lint'])],
  ['js types', () => command(npm, ['run', '--silent', 'test:types'])],
  ['rust core for wasm32', () => command('bash', ['scripts/wasm.sh'])],
  ['rust lint for wasm32', () => command('bash', ['scripts/wasm.sh', ...WASM_LINT])],
  ['rocksdb', () => prepareRocksdb()],
  ['rust lint', cargoWithAll('clippy', ['--all-targets', '--', '-D', 'warnings'])],
  ['rust tests', cargoWithAll('test', ['--no-fail-fast', '--', '--show-output'], FUZZ)],
  ['sequence locks under loom', () => command(npm, ['run', '--silent', 'test:loom'])],
  ['rust docs', cargoWithAll('doc', ['--no-deps'], { RUSTDOCFLAGS: '-D warnings' })],
  ['addon build', () => buildAddon({ env, echo: false, timeoutMs: STEP_TIMEOUT_MS })],
  [
    'js tooling tests',
    nodeTests(() => ['npy', 'setup', 'readme', 'example'].flatMap((name) => jsTest(name)())),
  ],
  ['filters against mingo', nodeTests(jsTest('mingo'))],
  ['node tests', nodeTests(addonTests)],
  ['shared specification in node', nodeTests(jsTest('spec'))],
  ['browser build', () => command('node', ['scripts/build-wasm.mjs'])],
  [
    'browser tests',
    nodeTests(() =>
      ['browser', 'browser-halves', 'browser-storage', 'browser-tabs', 'browser-move', 'demo'].flatMap(
        (name) => jsTest(name)(),
      ),
    ),
  ],
  ['store contracts for browsers', () => command('node', ['scripts/build-wasm.mjs', '--conformance'])],
  ['store contracts in the browser', nodeTests(jsTest('browser-stores'))],
  ['recall in the browser', nodeTests(jsTest('browser-recall'))],
  ['js recall, small cuts', nodeTests(jsTest('recall-small'))],
  ...NEWER_NODES.map((version) => [`node tests on node ${version}`, () => testOnNode(version)]),
  ['licences', () => command('node', ['scripts/licenses.mjs'])],
  ['js package', nodeTests(() => ['pack', 'quickstart', 'bundlers'].flatMap((name) => jsTest(name)()))],
  ['js recall, all rows', nodeTests(jsTest('recall'))],
]

const { values } = parseArgs({ options: { only: { type: 'string' }, list: { type: 'boolean' } } })
const chosen = steps.filter(([name]) => !values.only || name.includes(values.only))
if (values.list || chosen.length === 0) {
  for (const [name] of steps) console.log(name)
  process.exit(values.list ? 0 : 1)
}

const began = performance.now()
let passed = 0
let failed = 0
try {
  requireTools()
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
mkdirSync(logs, { recursive: true })
for (const [at, [name, job]] of chosen.entries()) {
  if (!(await step(`${String(at + 1).padStart(2)}/${chosen.length}`, name, job))) break
}
const done = passed > 0 && failed === 0
console.log(
  `\n${done ? green('All is well') : red('Stopped at the first failure')} after ${time(performance.now() - began)}.`,
)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = done ? 0 : 1

async function step(place, name, job) {
  const start = performance.now()
  console.log(`${dim(place)} ${bold(name)} ...`)
  const log = join(logs, `${name.replace(/[^a-z0-9]+/gi, '-')}.log`)
  try {
    const output = String((await job()) || '')
    writeFileSync(log, output)
    const counts = countTests(output)
    refuseHiddenSkips(output)
    passed += counts.passed || 1
    for (const [, line] of output.matchAll(
      /^(?:# )?((?:recall|wasm: download|proof:) .*|rocksdb: (?:.*compiled|kept) .*)$/gm,
    ))
      console.log(`      ${line}`)
    const tests = counts.passed ? `, ${number(counts.passed)} tests` : ''
    const skips = counts.skipped ? `, ${counts.skipped} skipped` : ''
    console.log(`      ${green('ok')} in ${time(performance.now() - start)}${tests}${skips}`)
    return true
  } catch (error) {
    const output = error.output ?? ''
    writeFileSync(log, output)
    const counts = countTests(output)
    passed += counts.passed
    failed += counts.failed || 1
    console.log(
      `${output}\n      ${red('failed')} after ${time(performance.now() - start)}: ${error.message}`,
    )
    return false
  }
}

/** Has every later step link RocksDB, whose C++ is compiled here where it is not kept; tells which it was. */
async function prepareRocksdb() {
  const { variables, said } = await rocksdb({ env, echo: false, timeoutMs: COMPILE_TIMEOUT_MS })
  Object.assign(env, variables)
  return said
}

/** Adds up what cargo and Node's test runner say at the end of each run. */
function countTests(output) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const [, ok, bad, ignored] of output.matchAll(
    /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm,
  )) {
    counts.passed += Number(ok)
    counts.failed += Number(bad)
    counts.skipped += Number(ignored)
  }
  const kinds = { pass: 'passed', fail: 'failed', skipped: 'skipped' }
  for (const [, kind, count] of output.matchAll(/^# (pass|fail|skipped) (\d+)$/gm))
    counts[kinds[kind]] += Number(count)
  return counts
}

function refuseHiddenSkips(output) {
  const plain = /^.*# SKIP.*without RocksDB.*$/m.exec(output)
  if (plain)
    throw Object.assign(new Error(`the addon is not what is published: ${plain[0].trim()}`), { output })
  if (!ci || !env.ASTEROID_SHARED) return
  const skip = /^.*(?:# SKIP|skipped:).*ASTEROID_SHARED.*$/m.exec(output)
  if (skip)
    throw Object.assign(new Error(`a test was left out although ${shared} exists: ${skip[0].trim()}`), {
      output,
    })
}

function command(program, args, extra) {
  return run(program, args, { env: { ...env, ...extra }, echo: false, timeoutMs: STEP_TIMEOUT_MS })
}

function testFiles(folder) {
  const files = readdirSync(join(root, folder), { recursive: true }).filter((name) =>
    /\.test\.m?[jt]s$/.test(name),
  )
  if (files.length === 0) throw new SetupError(`no test files were found under ${folder}`)
  return files.sort().map((name) => join(root, folder, name))
}

function runNodeTests(files, program = process.execPath) {
  return command(program, ['--test', '--test-reporter=tap', ...files])
}

async function testOnNode(version) {
  const program = await nodeProgram(version)
  if (!program) return `node ${version} could not be had`
  const found = (await command(program, ['--version'])).trim()
  console.log(`      ${dim(found)}`)
  return runNodeTests(addonTests(), program)
}

/** The npm package `node` is a small script around one package per platform: this takes that package directly. */
async function nodeProgram(version) {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(cacheDir, 'node', version)
  const program = join(
    folder,
    'node_modules',
    name,
    'bin',
    process.platform === 'win32' ? 'node.exe' : 'node',
  )
  const fetched = join(folder, 'fetched')
  if (existsSync(fetched) && Date.now() - statSync(fetched).mtimeMs < MONTH_MS) return program
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  try {
    await command(npm, ['install', '--prefix', folder, '--no-audit', '--no-fund', `${name}@${version}`])
    writeFileSync(fetched, '')
    return program
  } catch (error) {
    if (existsSync(program)) return program
    if (ci)
      throw Object.assign(new Error(`node ${version} could not be had from npm (${name})`), {
        output: error.output,
      })
    console.log(`      node ${version} could not be had from npm (${name}): left out`)
    return undefined
  }
}
