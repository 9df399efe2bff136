// Builds the addon with cargo and copies it to where node/js/native.cjs looks for it.
//
//   node scripts/build-addon.mjs                    optimised, with RocksDB: what is published
//   node scripts/build-addon.mjs --debug            faster to build, with overflow checks and debug assertions
//   node scripts/build-addon.mjs --rocksdb kept     with RocksDB only where its C++ was compiled before
//   node scripts/build-addon.mjs --rocksdb never    without RocksDB
//
// The choice by what is kept never compiles C++, and after a build with RocksDB gives the same one again: the two kinds
// do not take turns in the one place that cargo and Node look at.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { rocksdb, root } from './lib/setup.mjs'

const CHOICES = ['always', 'kept', 'never']
const { values } = parseArgs({
  options: {
    debug: { type: 'boolean', default: false },
    rocksdb: { type: 'string', default: 'always' },
  },
})
if (!CHOICES.includes(values.rocksdb)) {
  console.error(`--rocksdb must be one of ${CHOICES.join(', ')}, not '${values.rocksdb}'`)
  process.exit(2)
}

const LIBRARY = { win32: 'asteroid_node.dll', darwin: 'libasteroid_node.dylib' }[process.platform]

/** The platform, processor and C library this Node runs on: the same name native.cjs looks for. */
function target() {
  const { platform, arch } = process
  if (platform === 'win32') return `win32-${arch}-msvc`
  if (platform !== 'linux') return `${platform}-${arch}`
  process.report.excludeNetwork = true
  const glibc = process.report.getReport().header.glibcVersionRuntime
  return `linux-${arch}-${glibc ? 'gnu' : 'musl'}`
}

/** Where cargo puts what it builds; asked of cargo, for settings may move it. */
function targetDirectory() {
  const { stdout, status } = spawnSync(
    'cargo',
    ['metadata', '--format-version', '1', '--no-deps', '--offline'],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    },
  )
  return status === 0 ? JSON.parse(stdout).target_directory : join(root, 'target')
}

/** The variables for a build with RocksDB; none for one without. */
async function rocksdbVariables() {
  if (values.rocksdb === 'never') return {}
  try {
    const { variables } = await rocksdb({ ifKept: values.rocksdb === 'kept', echo: 'errors' })
    return variables
  } catch (error) {
    const without = 'node scripts/build-addon.mjs --rocksdb never builds the addon without it'
    if (error.code !== 'ENOENT') console.error(`RocksDB cannot be had (see above); ${without}`)
    else if (values.rocksdb === 'kept') return {}
    else console.error(`RocksDB is built by a script for bash, which was not found; ${without}`)
    return process.exit(1)
  }
}

/** Flags that keep this machine's folders out of the messages in a published addon. */
function withoutPaths() {
  const folders = { cargo: process.env.CARGO_HOME || join(homedir(), '.cargo'), 'asteroid-db': root }
  const flags = Object.entries(folders).map(([name, folder]) => `--remap-path-prefix=${folder}=${name}`)
  // A unit separator between flags lets folders have spaces in their names.
  const others = process.env.CARGO_ENCODED_RUSTFLAGS?.split('\x1f') ?? process.env.RUSTFLAGS?.split(' ') ?? []
  return [...others.filter(Boolean), ...flags].join('\x1f')
}

const variables = await rocksdbVariables()
if (!values.debug) variables.CARGO_ENCODED_RUSTFLAGS = withoutPaths()
const args = ['build', '--locked', '-p', 'asteroid-node']
if (!values.debug) args.push('--release')
if ('ROCKSDB_LIB_DIR' in variables) args.push('--features', 'rocksdb')
const { status, error } = spawnSync('cargo', args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, ...variables },
})
if (error) {
  console.error(`cargo could not be started (${error.message}): install Rust from https://rustup.rs`)
  process.exit(1)
}
if (status !== 0) process.exit(status ?? 1)

const built = join(targetDirectory(), values.debug ? 'debug' : 'release', LIBRARY ?? 'libasteroid_node.so')
const addon = join(root, 'node', `asteroid.${target()}.node`)
if (
  existsSync(addon) &&
  statSync(addon).mtimeMs > statSync(built).mtimeMs &&
  statSync(addon).size === statSync(built).size
) {
  process.exit(0)
}
// A running process may have the old file mapped: it keeps that one, the name gets a new one.
const fresh = `${addon}.${process.pid}`
try {
  copyFileSync(built, fresh)
  renameSync(fresh, addon)
} finally {
  rmSync(fresh, { force: true })
}
