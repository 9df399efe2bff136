// What the tests build browser projects with: pinned in package.json beside this, installed once into the cache folder.
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { cacheDir, npm, run } from '../../../scripts/lib/setup.mjs'

const wanted = fileURLToPath(new URL('./package.json', import.meta.url))
const folder = join(cacheDir, 'bundlers')

let installed
async function install() {
  const { dependencies } = JSON.parse(readFileSync(wanted, 'utf8'))
  const fresh = Object.entries(dependencies).every(([name, version]) => {
    const file = join(folder, 'node_modules', name, 'package.json')
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version
  })
  if (fresh) return
  mkdirSync(folder, { recursive: true })
  copyFileSync(wanted, join(folder, 'package.json'))
  await run(npm, ['install', '--no-audit', '--no-fund'], { cwd: folder, echo: false })
}

/** The path of a file in one of the tools. */
export async function tool(path) {
  installed ??= install()
  await installed
  return join(folder, 'node_modules', path)
}

/** A module of one of the tools. */
export async function load(path) {
  return import(pathToFileURL(await tool(path)).href)
}
