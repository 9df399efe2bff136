// `npm run bench:bulk`: bulkBuild beside insertMany, hnswlib-node, usearch and aster-vec, on real data.
//
//   npm run bench:bulk                                  both data sets, all rows, 3 rounds
//   npm run bench:bulk -- movies --rounds 5             one of them
//   npm run bench:bulk -- sift-photos --rows 50000      cut (exact neighbours are then found by comparing)
//   npm run bench:bulk -- --threads 4 --only bulk,usearch
//
// The peers are installed into a cache folder: hnswlib-node is compiled there, aster-vec needs python3 with venv. What
// cannot be had is left out and named. Every run has a process of its own; machines drift, so the systems take turns,
// and what counts are the medians of the ratios within a round. Data: see tests/js/datasets.mjs.
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bold, green, dim as grey, megabytes, number, red, time } from '../scripts/lib/style.mjs'
import { loadDataset, METRICS, missing } from '../tests/js/datasets.mjs'
import { installPeers } from './compare/install.mjs'

const EF_SEARCH = [32, 64, 128]
const OURS = fileURLToPath(new URL('bulk-stage.mjs', import.meta.url))
/** How many times the rate of each the bulk build must have, at no less recall than differs by chance. */
const TARGETS = { insertMany: 3, 'hnswlib-node': 2, usearch: 2, 'aster-vec': 2.5 }
const SCALING = 1.7
const CHANCE = 0.0005

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: String(availableParallelism()) },
    only: { type: 'string' },
  },
})
const threads = Number(values.threads)
const rounds = Number(values.rounds)
const node = (program, ...args) => ({ program: process.execPath, args: ['--expose-gc', program, ...args] })

const peers = await installPeers()
const systems = [
  { name: 'bulk', threads, ...node(OURS, 'bulk') },
  { name: 'bulk, 1 thread', threads: 1, ...node(OURS, 'bulk') },
  { name: 'insertMany', threads, ...node(OURS, 'insert') },
  // Its addPoint takes one row at a time, on the calling thread.
  peers.npm && { name: 'hnswlib-node', threads: 1, ...node(peers.npm, 'hnswlib') },
  peers.npm && { name: 'usearch', threads, ...node(peers.npm, 'usearch') },
  peers.python && { name: 'aster-vec', threads, program: peers.python, args: [peers.script] },
].filter(
  (system) => system && (!values.only || values.only.split(',').some((part) => system.name.startsWith(part))),
)

console.log(bold('Asteroid DB bulk build'))
console.log(
  `${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}, ${threads} threads`,
)
console.log(
  grey(
    `load ${loadavg()
      .map((load) => load.toFixed(1))
      .join(' ')}; peers: ${peers.versions}`,
  ),
)
for (const name of positionals.length > 0 ? positionals : Object.keys(METRICS)) {
  const reason = missing(name)
  if (reason) console.log(`\n${bold(name)} is left out: ${reason}`)
  else await bench(name)
}

async function bench(name) {
  const rows = values.rows === undefined ? undefined : Number(values.rows)
  const set = loadDataset(name, { rows, count: rows === undefined ? undefined : 200 })
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-bulk-'))
  const runs = new Map(systems.map((system) => [system.name, []]))
  try {
    for (const column of ['base', 'queries', 'truth'])
      writeFileSync(join(folder, column), new Uint8Array(set[column].buffer))
    const { dim, metric, count, k } = set
    const raw = set.base.byteLength
    set.base = undefined
    console.log(`\n${bold(name)}: ${number(set.rows)} x ${dim}, ${metric}, ${rounds} rounds`)
    for (let round = 0; round < rounds; round++) {
      // Another one goes first each time.
      for (let i = 0; i < systems.length; i++) {
        const system = systems[(round + i) % systems.length]
        const place = join(folder, 'db')
        mkdirSync(place)
        const task = {
          folder,
          place,
          rows: set.rows,
          dim,
          metric,
          count,
          k,
          efs: EF_SEARCH,
          threads: system.threads,
          // Once, after all that is timed.
          churn: system.name === 'bulk' && round === rounds - 1,
        }
        try {
          const found = await run(system, task)
          runs.get(system.name).push(found)
          console.log(
            grey(
              `  round ${round + 1}  ${system.name.padEnd(16)} ${time(found.ms).padStart(9)}  recall ${EF_SEARCH.map((ef) => found.recall[ef].toFixed(4)).join(' ')}`,
            ),
          )
        } catch (error) {
          console.log(red(`  round ${round + 1}  ${system.name}: ${error.message}`))
          runs.get(system.name).push(undefined)
        }
        rmSync(place, { recursive: true, force: true })
      }
    }
    report(set.rows, raw, runs)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function report(rows, raw, runs) {
  const ours = runs.get('bulk') ?? []
  const single = runs.get('bulk, 1 thread') ?? []
  console.log(
    `\n  ${'system'.padEnd(16)} threads   rows/s   recall@10 at efSearch ${EF_SEARCH.join(', ')}   bulk is  per thread   wanted`,
  )
  for (const { name, threads } of systems) {
    const found = runs.get(name).filter(Boolean)
    if (found.length === 0) continue
    const rate = rows / (median(found.map(({ ms }) => ms)) / 1000)
    const recall = EF_SEARCH.map((ef) => median(found.map((run) => run.recall[ef])))
    const ratio = ratios(runs.get(name), ours)
    const perThread = threads === 1 && name !== 'bulk, 1 thread' ? ratios(runs.get(name), single) : undefined
    const wanted = TARGETS[name]
    const times = (x) => (x === undefined ? '' : `${x.toFixed(2)}x`).padStart(8)
    let verdict = ''
    if (wanted && ratio !== undefined) {
      const worse = recall[1] > median(ours.filter(Boolean).map((run) => run.recall[64])) + CHANCE
      const slow = ratio < wanted
      verdict =
        slow || worse
          ? red(`LOSES: ${[slow && 'rate', worse && 'recall at 64'].filter(Boolean).join(' and ')}`)
          : green('ok')
    }
    const figures = recall.map((r) => r.toFixed(4)).join(' ')
    console.log(
      `  ${name.padEnd(16)} ${String(threads).padStart(7)} ${number(rate).padStart(8)}   ${figures.padEnd(37)} ${times(name === 'bulk' ? undefined : ratio)}  ${times(perThread)}  ${(wanted ? `>= ${wanted}x` : '').padStart(8)} ${verdict}`,
    )
  }
  const scaling = ratios(single, ours)
  if (scaling !== undefined && threads > 1) {
    const judged = threads === 2 ? (scaling < SCALING ? red(`LOSES: wanted ${SCALING}x`) : green('ok')) : ''
    console.log(`\n  1 -> ${threads} threads  ${scaling.toFixed(2)}x ${judged}`)
  }
  const measured = ours.filter((run) => run?.peak)
  if (measured.length > 0) {
    const peak = median(measured.map((run) => run.peak))
    const { links } = measured[0]
    const most = 2.2 * raw + 4 * links
    console.log(
      `  peak memory      ${megabytes(peak)} above the caller's own, ${(peak / raw).toFixed(2)} times the vectors; 2.2 times and the graph are ${megabytes(most)} ${peak > most ? red('LOSES') : green('ok')}`,
    )
    console.log(
      `  memory after     ${megabytes(median(measured.map((run) => run.after)))} above the caller's own`,
    )
    const phases = Object.keys(measured[0].phases).map(
      (phase) => `${phase} ${time(median(measured.map((run) => run.phases[phase])))}`,
    )
    console.log(`  phases           ${phases.join(', ')}`)
    const { churned } = measured.at(-1)
    if (churned) {
      const recall = EF_SEARCH.map((ef) => churned[ef].toFixed(4)).join(' ')
      console.log(`  20 % churn       check clean, all rows reachable, recall ${recall}`)
    }
  }
}

/** The median over the rounds of how many times as long `theirs` took as `ours` did. */
function ratios(theirs, ours) {
  const all = theirs.flatMap((run, round) => (run && ours[round] ? [run.ms / ours[round].ms] : []))
  return all.length === 0 ? undefined : median(all)
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/** Runs a system on a task, in a process of its own; its last line of output is what it found. */
function run({ program, args }, task) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...args, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.on('data', (data) => {
      out += data
    })
    child.stderr.on('data', (data) => {
      err += data
    })
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status !== 0)
        return reject(new Error(`ended with ${signal ?? status}: ${err.trim().split('\n').at(-1)}`))
      resolve(JSON.parse(out.trim().split('\n').at(-1)))
    })
  })
}
