// The package as a user gets it: packed once per process, installed into throw-away projects.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '')
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'

let packed
/** `{ tarball, files, size, unpackedSize }`; the addon must have been built. */
export function pack() {
  if (packed) return packed
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-pack-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const text = sh(npm, ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], repository)
  const answer = JSON.parse(text)
  // npm 12 answers with an object keyed by package name, older ones with an array.
  const report = Array.isArray(answer) ? answer[0] : Object.values(answer)[0]
  packed = {
    tarball: join(folder, report.filename),
    files: report.files.map(({ path }) => path),
    size: report.size,
    unpackedSize: report.unpackedSize,
  }
  return packed
}

/** A new project that has the package installed from its tarball, and `files` (name to text). */
export function project(t, settings, files) {
  const { tarball } = pack()
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-user-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true, ...settings }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  sh(npm, ['install', '--no-audit', '--no-fund', '--no-package-lock', tarball], folder)
  return folder
}

/** The standard output of a program; its whole output is in the error where it fails. */
export function sh(program, args, cwd, env) {
  try {
    return execFileSync(program, args, {
      cwd,
      encoding: 'utf8',
      shell: program.endsWith('.cmd'),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined, ...env },
    })
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')} failed:\n${error.stdout}${error.stderr}`, { cause: error })
  }
}
