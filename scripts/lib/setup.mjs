// What `npm start`, `npm test` and `npm run bench` need before they can begin, on a machine with only Rust,
// Node and the registries. Uses nothing but Node itself: it runs before node_modules exists.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '')

/** Where things built or fetched once are kept, outside the repository. */
export const cacheDir = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'asteroid-db')

/** A problem that the person at the keyboard can solve; its message says how. */
export class SetupError extends Error {}

/** True where version `have` ("1.95.0") is at least `need` ("1.90"). */
export function atLeast(have, need) {
  const parts = (text) => text.split(/[.-]/).map((part) => Number.parseInt(part, 10) || 0)
  const [a, b] = [parts(have), parts(need)]
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0)
  }
  return true
}

/** Checks Node and Rust and makes cargo reachable; throws a SetupError that says what to install. */
export function requireTools() {
  const wantNode = /\d+(\.\d+)*/.exec(readJson('package.json').engines.node)[0]
  if (!atLeast(process.versions.node, wantNode)) {
    throw new SetupError(
      `Node ${wantNode} or newer is needed, this is ${process.versions.node}.\n` +
        'Install it from https://nodejs.org or with your package manager.',
    )
  }
  const cargoBin = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin')
  let version = rustVersion()
  if (!version && existsSync(cargoBin)) {
    process.env.PATH = `${cargoBin}${delimiter}${process.env.PATH}`
    version = rustVersion()
  }
  const wantRust = /^rust-version = "([^"]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))[1]
  if (!version) {
    throw new SetupError(
      `Rust ${wantRust} or newer is needed to build the database engine, and neither cargo nor rustc was found.\n` +
        'Install it from https://rustup.rs, open a new terminal, and run this command again.',
    )
  }
  if (!atLeast(version, wantRust)) {
    throw new SetupError(
      `Rust ${wantRust} or newer is needed, this is ${version}.\nRun: rustup update stable`,
    )
  }
}

function rustVersion() {
  const options = { cwd: root, encoding: 'utf8' }
  if (spawnSync('cargo', ['--version'], options).status !== 0) return undefined
  return /^rustc (\S+)/.exec(spawnSync('rustc', ['--version'], options).stdout ?? '')?.[1]
}

/** True where node_modules holds what package-lock.json asks for. */
export function packagesAreFresh() {
  const hidden = join(root, 'node_modules/.package-lock.json')
  if (!existsSync(hidden)) return false
  const installed = JSON.parse(readFileSync(hidden, 'utf8')).packages
  return Object.entries(readJson('package-lock.json').packages).every(
    ([path, wanted]) =>
      path === '' || wanted.optional || wanted.link || installed[path]?.version === wanted.version,
  )
}

/** Installs the npm packages of the lockfile where they are missing or other versions; true if it had to. */
export async function installPackages(options) {
  if (packagesAreFresh()) return false
  await run(npm, ['ci', '--no-audit', '--no-fund'], options)
  return true
}

/**
 * Builds the addon in release mode; cargo decides whether there is anything to do. `rocksdb` is `always` (compiled
 * first where no earlier build kept it) or `kept` (left out where none did).
 */
export function buildAddon({ rocksdb = 'always', ...options } = {}) {
  return run(process.execPath, ['scripts/build-addon.mjs', '--rocksdb', rocksdb], options)
}

/**
 * The variables that have cargo link RocksDB, with what was said on the way: `compiled` or `kept` among it. Compiles its
 * C++ where no earlier call kept it, which takes long; `ifKept` then gives no variables instead.
 */
export async function rocksdb({ ifKept = false, ...options } = {}) {
  const said = await run('bash', ['scripts/rocksdb.sh', ...(ifKept ? ['--if-kept'] : [])], options)
  const exports = [...said.matchAll(/^export (\w+)='(.*)'$/gm)]
  const variables = Object.fromEntries(exports.map(([, name, value]) => [name, value]))
  return { variables, said: said.replace(/^export .*\n/gm, '') }
}

/** Builds what browsers get where it is missing or older than what it is made of. */
export async function buildWasm(options) {
  const built = join(root, 'wasm/dist/inline.mjs')
  const sources = [
    'Cargo.lock',
    'Cargo.toml',
    'core/src',
    'native-storage/src',
    'node/js',
    'wasm/js',
    'wasm/src',
  ]
  const newest = Math.max(...sources.map((name) => newestUnder(join(root, name))))
  if (existsSync(built) && statSync(built).mtimeMs > newest) return
  await run(process.execPath, ['scripts/build-wasm.mjs'], options)
}

function newestUnder(path) {
  if (!statSync(path).isDirectory()) return statSync(path).mtimeMs
  const names = readdirSync(path, { recursive: true })
  return Math.max(...names.map((name) => statSync(join(path, String(name))).mtimeMs))
}

export const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'

export function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'))
}

/**
 * Runs a program to its end with nothing on its standard input. Resolves to its output; rejects, with the output
 * in the error, where it fails. `echo` shows the output as it comes, or with 'errors' only what goes to standard error;
 * `quietMs` holds it back for so long, so that a program with nothing to do says nothing.
 */
export function run(program, args, { cwd = root, env, echo = true, quietMs = 0, timeoutMs } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: program.endsWith('.cmd'),
      timeout: timeoutMs,
    })
    let output = ''
    let showing = echo && quietMs === 0
    const timer = setTimeout(() => {
      if (!echo || showing) return
      showing = true
      process.stdout.write(output)
    }, quietMs)
    const take = (stream) => (chunk) => {
      output += chunk
      if (showing && (echo !== 'errors' || stream === process.stderr)) stream.write(chunk)
    }
    child.stdout.setEncoding('utf8').on('data', take(process.stdout))
    child.stderr.setEncoding('utf8').on('data', take(process.stderr))
    child.on('error', (cause) => reject(Object.assign(cause, { output })))
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      if (status === 0) return resolve(output)
      const how = signal ? `was ended by ${signal}` : `ended with status ${status}`
      reject(Object.assign(new Error(`${program} ${args.join(' ')} ${how}`), { output }))
    })
  })
}
