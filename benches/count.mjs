// `npm run bench:count`: instructions per insert and per search, counted under callgrind on small fixed indexes.
//
//   npm run bench:count               compared with benches/count.txt; fails where one grew by more than 3 %
//   npm run bench:count -- --save     writes what was counted into benches/count.txt
//
// Counts do not depend on what else the machine does, so a slow change shows whatever the noise. callgrind knows AVX2 and
// hides AVX-512, so that is what is counted on any x86-64 with it; elsewhere, and with another compiler, figures differ for
// that reason alone. Needs valgrind: as root on Debian and its kin it is installed where it is missing.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { requireTools, root, run } from '../scripts/lib/setup.mjs'
import { green, number, red } from '../scripts/lib/style.mjs'

const KEPT = fileURLToPath(new URL('count.txt', import.meta.url))
const SHAPES = ['l2-128', 'cosine-384']
const MOST = 0.03

const { values } = parseArgs({ options: { save: { type: 'boolean', default: false } } })
requireTools()
const quiet = { echo: false }
const valgrind = await installed()
const rustc = (await run('rustc', ['--version'], quiet)).split(' ')[1]
// The profile of benches has the names of functions, which callgrind goes by.
const cargo = ['build', '--quiet', '--locked', '--profile', 'bench', '-p', 'asteroid-tests', '--bin', 'count']
await run('cargo', [...cargo, '--target-dir', join(root, 'target')])

const counted = {}
let kernels
for (const shape of SHAPES) Object.assign(counted, await count(shape))
const by = `rustc ${rustc}, ${valgrind}, kernels ${kernels}`
if (values.save) {
  const lines = Object.entries(counted).map(([name, count]) => `${name} ${count}`)
  const head = '# Instructions per operation, by npm run bench:count -- --save'
  writeFileSync(KEPT, `${[head, `# ${by}`, ...lines].join('\n')}\n`)
  console.log(`${lines.join('\n')}\nwritten into benches/count.txt`)
} else compare()

function compare() {
  const lines = readFileSync(KEPT, 'utf8').trim().split('\n')
  const kept = Object.fromEntries(
    lines.filter((line) => !line.startsWith('#')).map((line) => line.split(' ')),
  )
  const keptBy = lines[1].slice(2)
  if (keptBy !== by) console.log(`counted with ${by}; kept are those of ${keptBy}`)
  let failed = false
  for (const [name, count] of Object.entries(counted)) {
    const before = Number(kept[name])
    const moved = count / before - 1
    const grew = !(moved <= MOST)
    failed ||= grew
    const said = Number.isNaN(moved)
      ? 'not kept yet'
      : `${moved < 0 ? '' : '+'}${(moved * 100).toFixed(2)} % of ${number(before)}`
    console.log(
      `${name.padEnd(20)} ${number(count).padStart(12)}  ${said}  ${grew ? red('GREW') : green('ok')}`,
    )
  }
  if (failed) {
    console.log(`more than ${MOST * 100} %: find out why, or keep it with npm run bench:count -- --save`)
    process.exitCode = 1
  }
}

/** `{ 'shape insert': instructions, 'shape search': ... }` for one row and one query. */
async function count(shape) {
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-count-'))
  try {
    const phases = ['insert', 'search']
    const tool = ['--tool=callgrind', `--callgrind-out-file=${join(folder, 'out')}`]
    // Whole names: of two patterns that begin alike callgrind follows one.
    const dumps = phases.flatMap((phase) => [
      `--zero-before=count::counted_${phase}`,
      `--dump-after=count::counted_${phase}`,
    ])
    const program = join(root, 'target/release/count')
    const said = await run('valgrind', [...tool, ...dumps, program, shape], quiet)
    kernels = /^kernels (.*)$/m.exec(said)[1]
    const found = {}
    for (const name of readdirSync(folder)) {
      const text = readFileSync(join(folder, name), 'utf8')
      const phase = /^desc: Trigger: --dump-after=.*counted_(\w+)/m.exec(text)?.[1]
      if (!phase) continue
      const times = Number(new RegExp(`^${phase} (\\d+)$`, 'm').exec(said)[1])
      found[`${shape}-${phase}`] = Math.round(Number(/^totals: (\d+)/m.exec(text)[1]) / times)
    }
    for (const phase of phases)
      if (!(`${shape}-${phase}` in found)) throw new Error(`callgrind left no count of ${phase}`)
    return found
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The version of valgrind, installed where that may be done. */
async function installed() {
  const version = () => spawnSync('valgrind', ['--version'], { encoding: 'utf8' }).stdout?.trim()
  if (!version() && process.getuid?.() === 0) {
    const env = { DEBIAN_FRONTEND: 'noninteractive' }
    const install = () => run('apt-get', ['install', '-y', '--no-install-recommends', 'valgrind'], { env })
    await install()
      .catch(() => run('apt-get', ['update']).then(install))
      .catch(() => {})
  }
  const found = version()
  if (found) return found
  console.error('valgrind was not found: install it with your package manager')
  return process.exit(1)
}
