// Searches within a tenth of the index, beside aster-vec within the same bytes: rate at equal recall, memory over time.
import { cpSync, rmSync, writeFileSync } from 'node:fs'
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
/** What Node or Python may still need for themselves under a limit; what they had before is not counted in it. */
const RUNTIME = 16 << 20
/** A cached list of 32 links in aster-vec: ids of eight bytes and the entry around them. */
const LIST_BYTES = 32 * 8 + 96
/** How aster-vec may share its bytes out: to pages of vectors, to lists of links, the rest to RocksDB's blocks. */
const SPLITS = { even: [0.5, 0.25], pages: [0.75, 0.15], lists: [0.25, 0.6] }

/** Runs the part on each data set of `names`. */
export async function memoryPart(context, names) {
  for (const name of names) await compare(context, dataset(name, { rows: context.rows }))
}

async function compare(context, set) {
  const lines = []
  const contenders = []
  try {
    const bytes = await chosen(context, set, contenders, lines)
    if (bytes) await reported(context, set, contenders, lines, bytes)
    else context.print(`\n### ${set.name}: searches in little memory\n\n${lines.join('\n')}`)
  } finally {
    for (const { copy } of contenders) if (copy) rmSync(copy, { recursive: true, force: true })
  }
}

/** Fills `contenders`; answers the bytes that each may have: a tenth of ours as it lies on disk. */
async function chosen(context, set, contenders, lines) {
  const { systems, peers, threads, say } = context
  const wanted = systems.filter(
    ({ adapter, options }) => ['asteroid', 'aster'].includes(adapter) && !options.build,
  )
  let bytes
  for (const system of wanted) {
    try {
      if (system.why) throw new Error(system.why)
      const kept = await built(system, set, peers, { threads, say })
      bytes ??= Math.max(LEAST, Math.round(kept.disk / 10))
      for (const way of ways(system, bytes)) {
        const contender = { ...way, kept, place: kept.place }
        contenders.push(contender)
        if (way.split) {
          // It opens a folder once at a time.
          contender.copy = `${kept.place}.${way.split}`
          contender.place = contender.copy
          cpSync(kept.place, contender.copy, { recursive: true })
        }
        await tune(context, set, contender)
      }
    } catch (error) {
      lines.push(`- ${system.name} is left out: ${error.message}`)
    }
  }
  // What did not come as far as a setting has nothing to measure.
  const ready = contenders.filter(({ setting }) => setting)
  for (const { copy, setting } of contenders)
    if (copy && !setting) rmSync(copy, { recursive: true, force: true })
  contenders.splice(0, contenders.length, ...ready)
  return bytes
}

/** A system with its caches cut to `bytes`: aster-vec in each of its splits. */
function ways(system, bytes) {
  if (system.adapter === 'asteroid')
    return [{ system, options: { ...system.options, open: { ...system.options.open, cacheBytes: bytes } } }]
  return Object.entries(SPLITS).map(([split, [pages, lists]]) => ({
    system: { ...system, name: `${system.name}, ${split}` },
    split,
    options: {
      ...system.options,
      caches: {
        paged_max_cached_pages: Math.round((bytes * pages) / 4096),
        edge_cache_size: Math.round((bytes * lists) / LIST_BYTES),
        block_cache_bytes: Math.round(bytes * (1 - pages - lists)),
        write_buf_cap: 16,
      },
    },
  }))
}

/** Finds the setting that reaches the recall. */
async function tune({ peers, threads }, set, contender) {
  const { system, place, options } = contender
  contender.task = { ...taskOf(system, set, place, threads), options }
  const child = new Child(system, contender.task, peers)
  try {
    await child.ask('open')
    const known = new Map()
    const ef = await smallestEf((ef) => recallAt(child, set, { ef }, known), TARGET)
    if (!ef) throw new Error(`recall ${TARGET} is not reached within these bytes`)
    contender.setting = { ef }
    const caches = Object.entries(options.caches ?? {}).slice(0, 3)
    contender.said = [['ef', ef], ...caches].map((pair) => pair.join(' ')).join(', ')
  } finally {
    await child.close()
  }
}

async function reported(context, set, contenders, lines, bytes) {
  const { say, print, count, mega } = context
  print(
    `\n### ${set.name}, ${count(set.rows)} x ${set.dim}: within ${mega(bytes)}, a tenth of the index on disk, recall@10 at least ${TARGET}\n`,
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
      if (run.failed) lines.push(`- ${kind.name}: ${contender.system.name}: ${run.failed}`)
      const did = run.failed ? undefined : run
      rows.push([
        kind.name,
        contender.system.name,
        contender.said,
        orDash(did?.recall, (recall) => recall.toFixed(4)),
        orDash(did && median(did.rates), count),
        orDash(did && quantile(did.latencies, 0.99), micros),
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
        dropPages(contender.place)
        entry.group = limit(entry.child.pid, `asteroid-compare-${i}`, kind.limit + RUNTIME)
      }
      // A search will tell, should it have failed.
      await entry.child.ask('open').catch(() => {})
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
    const before = kind.cold && (({ contender }) => dropPages(contender.place))
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

/** Each of ours by the quickest of aster-vec's splits. */
function verdicts(contenders, runs, kind) {
  const splits = runs.filter((_, i) => contenders[i].split)
  const lines = contenders.flatMap(({ system, split }, i) => {
    const ratios = split ? [] : splits.map(({ rates }) => medianRatio(runs[i].rates, rates))
    const known = ratios.filter((ratio) => ratio !== undefined)
    if (known.length === 0) return []
    const ratio = Math.min(...known)
    return [
      `- ${kind.name}: ${system.name} ${times(ratio)} as fast as aster-vec at its best, wanted ${WANTED}: ${ratio >= WANTED ? 'ok' : 'LOSES'}`,
    ]
  })
  return lines.length > 0 ? lines : [`- ${kind.name}: asteroid-db beside aster-vec: not both are there`]
}
