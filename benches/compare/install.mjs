// Brings the peers into a cache folder and says how to run them there.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheDir, npm, run } from '../../scripts/lib/setup.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const folder = join(cacheDir, 'compare')
const FILES = ['package.json', 'requirements.txt', 'peers.mjs', 'aster.py']

/**
 * `{ npm, python, script, versions }`: the program of the npm peers, the interpreter and program of aster-vec, each
 * undefined where it cannot be had.
 */
export async function installPeers() {
  mkdirSync(folder, { recursive: true })
  const wanted = ['package.json', 'requirements.txt']
    .map((name) => readFileSync(join(here, name), 'utf8'))
    .join('')
  const mark = join(folder, 'installed')
  const fresh = existsSync(mark) && readFileSync(mark, 'utf8') === wanted
  for (const name of FILES) copyFileSync(join(here, name), join(folder, name))
  const python = join(folder, 'venv', process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
  const options = { cwd: folder, echo: false }
  if (!fresh) {
    const done = await Promise.all([
      attempt('hnswlib-node and usearch', async () => {
        await run(npm, ['install', '--no-audit', '--no-fund'], options)
      }),
      attempt('aster-vec', async () => {
        await run('python3', ['-m', 'venv', 'venv'], options)
        await run(python, ['-m', 'pip', 'install', '--quiet', '-r', 'requirements.txt'], options)
      }),
    ])
    if (done.every(Boolean)) writeFileSync(mark, wanted)
  }
  const names = ['hnswlib-node', 'usearch'].flatMap((name) => {
    const file = join(folder, 'node_modules', name, 'package.json')
    return existsSync(file) ? [`${name} ${JSON.parse(readFileSync(file, 'utf8')).version}`] : []
  })
  const hasPython = await run(python, ['-c', 'import astervec, numpy'], options).then(
    () => true,
    () => false,
  )
  if (hasPython)
    names.push(
      /^aster-vec.*$/m.exec(readFileSync(join(here, 'requirements.txt'), 'utf8'))[0].replace('==', ' '),
    )
  return {
    npm: names.some((name) => name.startsWith('hnswlib')) ? join(folder, 'peers.mjs') : undefined,
    python: hasPython ? python : undefined,
    script: join(folder, 'aster.py'),
    versions: names.join(', ') || 'none',
  }
}

async function attempt(what, install) {
  console.log(`installing ${what} into ${folder} ...`)
  try {
    await install()
    return true
  } catch (error) {
    console.log(
      `${what} cannot be installed, so it is left out: ${error.message}\n${(error.output ?? '').slice(-800)}`,
    )
    return false
  }
}
