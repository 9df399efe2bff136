// Searches within a tenth of the index, beside aster-vec within the same bytes: rate at equal recall, memory over time.
import { writeFileSync } from 'node:fs'
import { drawCharts } from '../../lib/charts.mjs'
import { Child } from '../child.mjs'
import { built, dataset, taskOf } from '../data.mjs'
import { cannotLimit, dropPages, limit, residentOf, unlimit } from '../pressure.mjs'
import { alternate, median, medianRatio, quantile, recallAt } from '../rounds.mjs'
import { smallestEf } from '../systems.mjs'
import { micros, orDash, table, times } from '../table.mjs'

const TARGET = 0.95
const WANTED = 3
const LEAST = 4 << 20
const EVERY_MS = 100
/** A cached list of 32 links in aster-vec: ids of eight bytes and the entry around them. */
const LIST_BYTES = 32 * 8 + 96
/** How aster-vec may share its bytes out: to pages of vectors, to lists of links, the rest to RocksDB's blocks. */
const SPLITS = [
  [0.5, 0.25],
  [0.7, 0.15],
  [0.25, 0.5],
]

/** Runs the part on each data set of `names`. */
export async function memoryPart(context, names) {
  for (const name of names) await compare(context, dataset(name, { rows: context.rows }))
}

async function compare(context, set) {
  const { systems, peers, threads, say, print, count, mega } = context
  const ours = systems.filter(({ adapter, options }) => adapter === 'asteroid' && !options.build)
  const aster = systems.find(({ adapter }) => adapter === 'aster')
  const lines = []
  const contenders = []
  let bytes
  for (const system of [...ours, aster].filter(Boolean)) {
    try {
      if (system.why) throw new Error(system.why)
      const kept = await built(system, set, peers, { threads, say })
      // The same for all: a tenth of ours as it lies on disk.
      bytes ??= Math.max(LEAST, Math.round(kept.disk / 10))
      contenders.push(await tuned(context, system, set, kept, bytes))
    } catch (error) {
      lines.push(`- ${system.name} is left out: ${error.message}`)
    }
  }
  print(
    `\n### ${set.name}, ${count(set.rows)} x ${set.dim}: within ${orDash(bytes, mega)}, a tenth of the index on disk, recall@10 at least ${TARGET}\n`,
  )
  const rows = []
  const panels = []
  for (const kind of await kinds(contenders)) {
    if (kind.why) {
      lines.push(`- ${kind.name}: ${kind.why}`)
      continue
    }
    say(`  ${set.name}, ${kind.name} ...`)
    const { runs, memory } = await measured(context, set, contenders, kind)
    for (const [i, contender] of contenders.entries()) {
      const [run, points] = [runs[i], memory[i]]
      rows.push([
        kind.name,
        contender.system.name,
        contender.said,
        run?.failed ?? run?.recall.toFixed(4) ?? '-',
        orDash(run && !run.failed ? median(run.rates) : undefined, count),
        orDash(run && !run.failed ? quantile(run.latencies, 0.99) : undefined, micros),
        orDash(points.at(-1)?.anon, mega),
        orDash(points.length > 0 ? Math.max(...points.map(({ rss }) => rss)) : undefined, mega),
      ])
    }
    lines.push(...verdicts(contenders, runs, kind))
    const series = contenders.map(({ system }, i) => [
      system.name,
      memory[i].map(({ at, rss }) => [at, rss / 1e6]),
    ])
    panels.push({
      title: `${kind.name}: resident MB by seconds`,
      from: 0,
      series: series.filter(([, points]) => points.length > 0),
    })
  }
  print(
    table(
      [
        'page cache',
        'system',
        'setting',
        'recall:',
        'searches/s:',
        'p99:',
        'anonymous, at the end:',
        'resident, most:',
      ],
      rows,
    ),
  )
  print(`\n${lines.join('\n')}`)
  if (panels.some(({ series }) => series.length > 0)) {
    const file = context.target(`compare-memory-${set.name}.svg`)
    writeFileSync(
      file,
      drawCharts(`${set.name} within ${mega(bytes)}: memory above the process before loading`, panels),
    )
    print(`\ndrawn into ${file}`)
  }
}

/** A system whose caches are cut to `bytes`, at the setting that reaches the recall quickest. */
async function tuned({ peers, threads }, system, set, kept, bytes) {
  const tasks =
    system.adapter === 'aster'
      ? SPLITS.map(([pages, lists]) => ({
          caches: {
            paged_max_cached_pages: Math.round((bytes * pages) / 4096),
            edge_cache_size: Math.round((bytes * lists) / LIST_BYTES),
            block_cache_bytes: Math.round(bytes * (1 - pages - lists)),
            write_buf_cap: 16,
          },
        }))
      : [{ ...system.options, open: { ...system.options.open, cacheBytes: bytes } }]
  let best
  for (const options of tasks) {
    const task = { ...taskOf(system, set, kept.place, threads), options: { ...system.options, ...options } }
    const child = new Child(system, task, peers)
    try {
      await child.ask('open')
      const known = new Map()
      const ef = await smallestEf((ef) => recallAt(child, set, { ef }, known), TARGET)
      if (!ef) continue
      const { rate } = known.get(JSON.stringify({ ef }))
      const said = `ef ${ef}${
        options.caches
          ? `, ${Object.entries(options.caches)
              .slice(0, 3)
              .map((pair) => pair.join(' '))
              .join(', ')}`
          : ''
      }`
      if (!best || best.rate < rate) best = { system, kept, task, setting: { ef }, rate, said }
    } finally {
      await child.close()
    }
  }
  if (!best) throw new Error(`recall ${TARGET} is not reached within these bytes`)
  return best
}

/** Warm; cold, each file dropped from the page cache ahead of each block; and a limit of a quarter of the database. */
async function kinds(contenders) {
  const disk = Math.max(0, ...contenders.map(({ kept }) => kept.disk))
  const linux = process.platform === 'linux'
  return [
    { name: 'warm' },
    { name: 'cold', ...(linux ? { cold: true } : { why: 'is measured on Linux only' }) },
    { name: 'limited', limit: Math.round(disk / 4), why: cannotLimit() },
  ]
}

async function measured({ peers, rounds }, set, contenders, kind) {
  const entries = []
  const memory = contenders.map(() => [])
  let timer
  try {
    for (const [i, contender] of contenders.entries()) {
      const { system, task, setting } = contender
      const entry = { child: new Child(system, task, peers), setting, contender, points: memory[i] }
      entries.push(entry)
      // Its answer says that the process and its library are loaded.
      await entry.child.ask('ready')
      entry.before = residentOf(entry.child.pid)
      if (kind.limit) {
        // Pages that others brought in would not count.
        dropPages(contender.kept.place)
        entry.group = limit(entry.child.pid, `asteroid-compare-${i}`, kind.limit + entry.before.rss)
      }
      await entry.child.ask('open')
    }
    const began = performance.now()
    timer = setInterval(() => {
      for (const { child, before, points } of entries) {
        const now = residentOf(child.pid)
        if (now && before)
          points.push({
            at: (performance.now() - began) / 1000,
            rss: now.rss - before.rss,
            anon: now.anon - before.anon,
          })
      }
    }, EVERY_MS)
    const before = kind.cold && (({ contender }) => dropPages(contender.kept.place))
    // Cold blocks take long: fewer queries tell as much.
    const runs = await alternate(entries, set, rounds, {
      before: before || undefined,
      block: kind.cold || kind.limit ? 50 : 200,
    })
    return { runs: entries.map((entry) => runs.get(entry)), memory }
  } finally {
    clearInterval(timer)
    await Promise.all(entries.map(({ child }) => child.close()))
    for (const { group } of entries) if (group) unlimit(group)
  }
}

function verdicts(contenders, runs, kind) {
  const aster = contenders.findIndex(({ system }) => system.adapter === 'aster')
  return contenders.flatMap(({ system }, i) => {
    if (system.name !== 'asteroid-db') return []
    const ratio = aster < 0 ? undefined : medianRatio(runs[i].rates, runs[aster].rates)
    if (ratio === undefined) return [`- ${kind.name}: asteroid-db beside aster-vec: not both are there`]
    return [
      `- ${kind.name}: asteroid-db ${times(ratio)} as fast as aster-vec, wanted ${WANTED}: ${ratio >= WANTED ? 'ok' : 'LOSES'}`,
    ]
  })
}
