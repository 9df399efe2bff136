// `npm run bench`: what inserting, searching and keeping real data costs on this machine.
//
//   npm run bench                              both data sets, all rows
//   npm run bench -- movies --rows 10000       one of them, cut (exact neighbours are then found by comparing)
//   npm run bench -- clusters --rows 50000     made-up clusters, where there are no real data
//
// Every stage runs in a process of its own, so that memory is that of the stage. Data: see tests/js/datasets.mjs.
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bold, dim, megabytes, number, time } from '../scripts/lib/style.mjs'
import { METRICS, missing } from '../tests/js/datasets.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rows: { type: 'string' }, open: { type: 'string', default: '{}' } },
})
const names = positionals.length > 0 ? positionals : Object.keys(METRICS)
// Options for `open`, as JSON: --open '{"m":24}'
const options = JSON.parse(values.open)

console.log(bold('Asteroid DB bench'))
console.log(
  `${cpus()[0].model}, ${availableParallelism()} threads, ${number(totalmem() / 1e9)} GB, Node ${process.version}`,
)
if (values.open !== '{}') console.log(`open options ${values.open}`)
for (const name of names) {
  const reason = name === 'clusters' ? false : missing(name)
  if (reason) console.log(`\n${bold(name)} is left out: ${reason}`)
  else await bench({ name, rows: values.rows === undefined ? undefined : Number(values.rows), options })
}

async function bench(set) {
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-bench-'))
  const path = join(folder, 'db')
  try {
    const loop = await stage('loop', { ...set, path: join(folder, 'loop') })
    const built = await stage('build', { ...set, path })
    console.log(`\n${bold(set.name)}: ${number(built.rows)} x ${built.dim}, ${built.metric}`)
    console.log('\nInserting')
    const ratio = loop.manyPerSecond / loop.loopPerSecond
    console.log(
      `  insert, awaited one by one  ${number(loop.loopPerSecond).padStart(9)} rows/s  (${number(loop.rows)} rows)`,
    )
    console.log(
      `  insertMany, the same rows   ${number(loop.manyPerSecond).padStart(9)} rows/s  (${ratio.toFixed(1)} times as fast)`,
    )
    console.log(
      `  insertMany, all rows        ${number(built.perSecond).padStart(9)} rows/s  (${time(built.ms)})`,
    )

    console.log('\nMemory while inserting (resident, above the process before open)')
    for (const { rows, rss, ms } of built.curve) {
      console.log(
        `  ${number(rows).padStart(9)} rows  ${megabytes(rss).padStart(10)}  ${time(ms).padStart(12)}`,
      )
    }
    console.log('\nOn disk')
    const raw = built.rows * built.dim * 4
    console.log(
      `  ${megabytes(built.disk)}, ${(built.disk / built.rows).toFixed(0)} bytes per row, ${(built.disk / raw).toFixed(2)} times the vectors`,
    )

    const queries = await stage('queries', set)
    report('reopened, cacheBytes by default', await stage('search', { set: queries, path, options: {} }))
    const cacheBytes = Math.max(4 << 20, Math.ceil(built.disk / 10))
    report(
      `reopened, cacheBytes ${megabytes(cacheBytes)}`,
      await stage('search', { set: queries, path, options: { cacheBytes } }),
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function report(title, { opened, baseline, rss, stats, runs }) {
  console.log(`\nSearching, k 10, ${title} ${dim(`(opened in ${time(opened)})`)}`)
  console.log('  efSearch  recall@10  one by one        p50        p99  searchMany')
  for (const { efSearch, recall, perSecond, p50, p99, manyPerSecond } of runs) {
    const cells = [
      String(efSearch).padStart(8),
      recall.toFixed(4).padStart(9),
      `${number(perSecond)}/s`.padStart(10),
      time(p50).padStart(9),
      time(p99).padStart(9),
      `${number(manyPerSecond)}/s`.padStart(10),
    ]
    console.log(`  ${cells.join('  ')}`)
  }
  console.log(
    `  resident memory ${megabytes(rss - baseline)} above the ${megabytes(baseline)} of the process before open`,
  )
  if (stats) console.log(dim(`  stats ${JSON.stringify(stats)}`))
}

/** Runs one stage of stages.mjs in a process of its own and resolves to what it found. */
function stage(name, settings) {
  return new Promise((resolve, reject) => {
    const program = fileURLToPath(new URL('stages.mjs', import.meta.url))
    const child = fork(program, [], { execArgv: ['--expose-gc'], serialization: 'advanced' })
    let found
    child.on('message', (message) => {
      found = message
    })
    child.on('error', reject)
    child.on('close', (status) => {
      if (status === 0 && found) resolve(found)
      else reject(new Error(`the stage ${name} ended with status ${status}`))
    })
    child.send({ name, settings })
  })
}
