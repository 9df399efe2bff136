// `npm run bench:churn`: what months of inserts and deletes do to an index, beside one built anew of the same rows, and
// to aster-vec's on the same trace.
//
//   npm run bench:churn                                both protocols, 100,000 rows of sift-photos
//   npm run bench:churn -- --rows 20000 --only grow    fewer, one of them
//   npm run bench:churn -- --plot churn.svg            where the drawing goes
//
// The trace and our figures come from the program `churn` of the tests, which says what the protocols are. aster-vec is
// installed into a cache folder and needs python3 with venv; where it cannot be had it is left out and named.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { root } from '../scripts/lib/setup.mjs'
import { bold, dim as grey } from '../scripts/lib/style.mjs'
import { installPeers } from './compare/install.mjs'
import { drawCharts } from './lib/charts.mjs'

const PEER = fileURLToPath(new URL('compare/aster_churn.py', import.meta.url))
const TARGETS = { recall: -0.01, us: 1.2, memory: 1.3, disk: 1.3 }

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '100000' },
    queries: { type: 'string', default: '500' },
    epochs: { type: 'string', default: '50' },
    only: { type: 'string' },
    plot: { type: 'string', default: 'target/churn.svg' },
  },
})
const { plot, ...forProgram } = values
const folder = mkdtempSync(join(tmpdir(), 'asteroid-churn-'))
try {
  const args = Object.entries(forProgram).flatMap(([name, value]) => (value ? [`--${name}`, value] : []))
  const cargo = ['run', '--quiet', '--release', '--locked', '-p', 'asteroid-tests', '--bin', 'churn', '--']
  await run('cargo', [...cargo, ...args, '--out', folder])
  const { python, versions } = await installPeers()
  const panels = []
  for (const name of ['grow', 'replace']) {
    if (!existsSync(join(folder, name, 'ours'))) continue
    const ours = lines(readFileSync(join(folder, name, 'ours'), 'utf8'))
    let peer = []
    if (python) {
      console.log(`\n${bold(`${name}: aster-vec`)} ${grey(versions)}`)
      const task = {
        folder,
        trace: join(folder, name),
        place: join(folder, 'aster'),
        dim: 128,
        k: 10,
        ef: 64,
      }
      const said = await run(python, [PEER, JSON.stringify(task)])
      peer = lines([...said.matchAll(/^look (.*)$/gm)].map(([, line]) => line).join('\n'))
      rmSync(task.place, { recursive: true, force: true })
    }
    judge(name, ours)
    panels.push(...charts(name, ours, peer))
  }
  if (panels.length > 0) {
    const file = resolve(root, plot)
    const title = `sift-photos, ${Number(values.rows).toLocaleString('en')} rows to begin with, efSearch 64`
    writeFileSync(file, drawCharts(title, panels))
    console.log(`\ndrawn into ${file}`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function lines(text) {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

/** Says what the churned index keeps of what is wanted of it, at its worst. */
function judge(name, ours) {
  const worst = {
    recall: Math.min(...ours.map(({ churned, fresh }) => churned.recall - fresh.recall)),
    ...Object.fromEntries(
      ['us', 'memory', 'disk'].map((what) => [
        what,
        Math.max(...ours.map(({ churned, fresh }) => churned[what] / fresh[what])),
      ]),
    ),
  }
  const said = Object.entries(worst).map(([what, value]) => {
    const kept = what === 'recall' ? value >= TARGETS.recall : value <= TARGETS[what]
    return `${what === 'us' ? 'latency' : what} ${value.toFixed(3)} (${kept ? 'ok' : 'LOSES'})`
  })
  console.log(`${bold(name)}, at worst against a fresh index: ${said.join(', ')}`)
}

function charts(name, ours, peer) {
  const kinds = [
    ['recall@10', 'recall', 1],
    ['search, microseconds', 'us', 1],
    ['memory, MB', 'memory', 1e6],
    ['disk, MB', 'disk', 1e6],
  ]
  return kinds.map(([title, key, unit]) => ({
    title: `${name}: ${title}`,
    from: key === 'recall' ? undefined : 0,
    series: [
      ['Asteroid DB, churned', ours.map(({ epoch, churned }) => [epoch, churned[key] / unit])],
      ['Asteroid DB, fresh', ours.map(({ epoch, fresh }) => [epoch, fresh[key] / unit])],
      ['aster-vec', peer.map((look) => [look.epoch, look[key] / unit])],
    ].filter(([, points]) => points.length > 0),
  }))
}

/** Runs a program, shows what it says as it comes, and answers it. */
function run(program, args) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    child.stdout.on('data', (data) => {
      said += data
      process.stdout.write(data)
    })
    child.on('error', fail)
    child.on('close', (code) => (code === 0 ? done(said) : fail(new Error(`${program} ended with ${code}`))))
  })
}
