// Brings the peers into a cache folder and says how to run them there.
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheDir, npm, run } from '../../scripts/lib/setup.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
/** Programs that import the peers by name, and so must lie where those are. */
const PROGRAMS = ['peers.mjs', 'aster.py']
const PYTHON_MODULES = { 'aster-vec': 'astervec', 'faiss-cpu': 'faiss', hnswlib: 'hnswlib' }

/**
 * `{ npm, python, script, folder, versions, found, why }`: the program of the npm peers for bench:bulk, the interpreter
 * with aster-vec and its program, each undefined where it cannot be had; the folder that npm's peers are imported from,
 * the versions as one text and by name, and for what cannot be had why.
 */
export async function installPeers() {
  // A folder of its own for every set of versions: checkouts that want others do not undo each other's.
  const hash = createHash('sha256')
  for (const name of ['package.json', 'package-lock.json', 'requirements.txt'])
    hash.update(readFileSync(join(here, name)))
  const folder = join(cacheDir, 'compare', hash.digest('hex').slice(0, 12))
  mkdirSync(folder, { recursive: true })
  for (const name of ['package.json', 'package-lock.json', 'requirements.txt', ...PROGRAMS])
    copyFileSync(join(here, name), join(folder, name))
  const windows = process.platform === 'win32'
  const python = join(folder, 'venv', windows ? 'Scripts/python.exe' : 'bin/python')
  const options = { cwd: folder, echo: false }
  const requirements = readFileSync(join(here, 'requirements.txt'), 'utf8').trim().split('\n')
  const why = {}
  const mark = join(folder, 'installed')
  if (!existsSync(mark)) {
    const [node, interpreter] = await Promise.all([
      // Not `npm ci`: it wants the packages of every other system in the lockfile too.
      attempt('the peers from npm', folder, () => run(npm, ['install', '--no-audit', '--no-fund'], options)),
      attempt('the peers from PyPI', folder, () => installPython(python, requirements, options)),
    ])
    if (node) why.npm = node
    if (interpreter) why.python = interpreter
    if (!node && !interpreter) writeFileSync(mark, '')
  }
  const found = {}
  const resolve = createRequire(join(folder, 'package.json'))
  for (const name of Object.keys(
    JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).optionalDependencies,
  )) {
    const file = join(folder, 'node_modules', name, 'package.json')
    try {
      resolve.resolve(name)
      found[name] = JSON.parse(readFileSync(file, 'utf8')).version
    } catch (error) {
      why[name] = why.npm ?? firstLine(error)
    }
  }
  for (const [name, module] of Object.entries(PYTHON_MODULES)) {
    try {
      await run(python, ['-c', `import numpy, ${module}`], options)
      found[module === 'hnswlib' ? 'hnswlib (Python)' : name] = requirements
        .find((line) => line.startsWith(`${name}==`))
        .split('==')[1]
    } catch (error) {
      why[module === 'hnswlib' ? 'hnswlib (Python)' : name] = why.python ?? firstLine(error)
    }
  }
  const interpreter = 'aster-vec' in found ? python : undefined
  return {
    npm: 'hnswlib-node' in found ? join(folder, 'peers.mjs') : undefined,
    python: interpreter,
    script: join(folder, 'aster.py'),
    interpreter: python,
    folder,
    versions:
      Object.entries(found)
        .map((pair) => pair.join(' '))
        .join(', ') || 'none',
    found,
    why,
  }
}

/** One after the other, so that one that cannot be had leaves the others. */
async function installPython(python, requirements, options) {
  await run('python3', ['-m', 'venv', 'venv'], options)
  const failed = []
  for (const line of requirements) {
    try {
      await run(python, ['-m', 'pip', 'install', '--quiet', '--no-deps', line], options)
    } catch (error) {
      failed.push(`${line}: ${(error.output ?? error.message).trim().split('\n').at(-1)}`)
    }
  }
  if (failed.length > 0) throw new Error(failed.join('; '))
}

async function attempt(what, folder, install) {
  console.error(`installing ${what} into ${folder} ...`)
  try {
    await install()
  } catch (error) {
    console.error(`${what}: ${error.message}\n${(error.output ?? '').slice(-800)}`)
    return firstLine(error)
  }
}

function firstLine(error) {
  const lines = (error.output ?? '')
    .split('\n')
    .filter((line) => line.trim() && !/log of this run/.test(line))
  return lines.at(-1) ?? error.message.split('\n')[0]
}
