// Searches per second at equal recall, one query at a time; latency, memory, disk; and recall against throughput.
import { writeFileSync } from 'node:fs'
import { drawCharts } from '../../lib/charts.mjs'
import { Child } from '../child.mjs'
import { built, dataset, taskOf } from '../data.mjs'
import { alternate, median, medianRatio, quantile, recallAt } from '../rounds.mjs'
import { REFERENCE, smallestEf } from '../systems.mjs'
import { micros, orDash, table, times } from '../table.mjs'

const TARGETS = [0.95, 0.99]
const LADDER = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
/** What ours is to be, as a multiple of the peer's rate, and at most of its memory. */
const WANTED = { 'hnswlib-node': 1.5, 'faiss HNSW-SQ8 + refine': 1.1 }
const MEMORY = { 'asteroid-db': 0.5, 'asteroid-db rabitq': 0.25 }

/** Runs the part on each data set of `names`. */
export async function searchPart(context, names) {
  for (const name of names) await compare(context, dataset(name, { rows: context.rows }))
}

async function compare(context, set) {
  const { say, print, rounds, mega, count } = context
  say(`${set.name}: ${count(set.rows)} x ${set.dim}, ${set.metric}`)
  const contenders = []
  for (const system of context.systems) contenders.push(await tuned(context, system, set))
  const curves = new Map()
  for (const target of TARGETS) {
    const running = await started(context, set, contenders, target)
    say(`  measuring at recall ${target}, ${rounds} rounds ...`)
    const runs = await alternate(running, set, rounds)
    for (const entry of running) entry.memory = await entry.child.ask('memory').catch(() => undefined)
    report(context, set, target, contenders, running, runs)
    if (target === TARGETS.at(-1) && context.curves) await trace(context, set, running, curves)
    await Promise.all(running.map(({ child }) => child.close()))
  }
  if (curves.size > 0) {
    const file = context.target(`compare-${set.name}.svg`)
    const series = [...curves].map(([system, points]) => [system, points])
    const title = `${set.name}, ${count(set.rows)} x ${set.dim}, ${set.metric}: one query at a time`
    writeFileSync(
      file,
      drawCharts(title, [{ title: 'searches per second by recall@10', series, begin: 0.8, log: true }]),
    )
    print(`\ndrawn into ${file}`)
  }
  say(
    `  built in: ${contenders.map(({ system, kept }) => `${system.name} ${orDash(kept?.seconds, (s) => `${s.toFixed(1)} s`)}`).join(', ')}`,
  )
  print(
    `\nmemory: grown by the process (resident; of it anonymous) from before loading to after the searches; disk: ${mega(set.rows * set.dim * 4)} are the vectors`,
  )
}

/** A system with, for each target, the quickest setting that reaches it; `why` where there is none. */
async function tuned({ peers, threads, say }, system, set) {
  const contender = { system, found: new Map(), known: new Map(), why: system.why }
  if (system.why) return contender
  let child
  try {
    contender.kept = await built(system, set, peers, { threads, say })
    child = new Child(system, taskOf(system, set, contender.kept.place, threads), peers)
    await child.ask('open')
    const { known, found } = contender
    for (const base of system.settings) {
      let from = system.least(base)
      for (const target of TARGETS) {
        const at = (ef) => recallAt(child, set, { ...base, ef }, known)
        const ef = system.ef
          ? await smallestEf(at, target, from)
          : (await recallAt(child, set, base, known)) >= target
        if (!ef) break
        from = ef
        const setting = system.ef ? { ...base, ef } : base
        const rate = known.get(JSON.stringify(setting)).rate
        if (!found.has(target) || found.get(target).rate < rate) found.set(target, { setting, rate })
      }
    }
    const best = [...known.values()].reduce((a, b) => (b.recall > a.recall ? b : a))
    contender.most = `at most ${best.recall.toFixed(4)} (${said(best.setting)})`
    say(
      `  ${system.name}: ${TARGETS.map((target) => `${target} ${orDash(found.get(target), ({ setting }) => said(setting))}`).join(', ')}`,
    )
  } catch (error) {
    contender.why = error.message
    say(`  ${system.name} is left out: ${error.message}`)
  } finally {
    await child?.close()
  }
  return contender
}

/** A fresh process for each that reaches the target: its memory is then that of loading and searching. */
async function started({ peers, threads }, set, contenders, target) {
  const running = []
  for (const contender of contenders) {
    const { system, found, kept } = contender
    if (!found.has(target)) continue
    const child = new Child(system, taskOf(system, set, kept.place, threads), peers)
    try {
      await child.ask('open')
      running.push({ contender, child, setting: found.get(target).setting })
    } catch (error) {
      contender.why = error.message
      await child.close()
    }
  }
  return running
}

function report({ print, mega, count }, set, target, contenders, running, runs) {
  const entry = (name) => running.find(({ contender }) => contender.system.name === name)
  const reference = runs.get(entry(REFERENCE))?.rates
  const reasons = []
  const rows = contenders.map((contender) => {
    const mine = running.find((one) => one.contender === contender)
    const { system, kept } = contender
    const run = mine && runs.get(mine)
    if (!run || run.failed) {
      const why = run?.failed ?? contender.why
      reasons.push(`- ${system.name}: ${why ?? `reaches ${contender.most}`}`)
      return [system.name, why ? 'cannot be had' : 'not reached', ...Array(8).fill('-')]
    }
    const [p50, p99] = [quantile(run.latencies, 0.5), quantile(run.latencies, 0.99)]
    return [
      system.name,
      said(mine.setting),
      // Over all queries, whichever of them the rounds came to.
      contender.known.get(JSON.stringify(mine.setting)).recall.toFixed(4),
      count(median(run.rates)),
      orDash(medianRatio(run.rates, reference), times),
      micros(p50),
      micros(p99),
      times(p99 / p50),
      orDash(mine.memory, ({ rss, anon }) => `${mega(rss)} (${mega(anon)})`),
      mega(kept.disk),
    ]
  })
  const head = ['system', 'setting', 'recall:', 'searches/s:', `by ${REFERENCE}:`]
  print(`\n### ${set.name}, ${count(set.rows)} x ${set.dim}, ${set.metric}, recall@10 at least ${target}\n`)
  print(table([...head, 'p50:', 'p99:', 'p99/p50:', 'memory:', 'disk:'], rows))
  if (reasons.length > 0) print(`\n${reasons.join('\n')}`)
  verdicts({ print }, target, entry, runs)
}

/** What is wanted of ours beside what it is. */
function verdicts({ print }, target, entry, runs) {
  const ours = entry('asteroid-db')
  const lines = []
  for (const [name, wanted] of Object.entries(WANTED)) {
    const ratio = ours && entry(name) && medianRatio(runs.get(ours).rates, runs.get(entry(name)).rates)
    if (ratio === undefined) lines.push(`asteroid-db beside ${name}: not both are there`)
    else
      lines.push(
        `asteroid-db ${times(ratio)} as fast as ${name}, wanted ${wanted}: ${ratio >= wanted ? 'ok' : 'LOSES'}`,
      )
  }
  const memory = entry('hnswlib (Python)')?.memory ?? entry(REFERENCE)?.memory
  for (const [name, most] of Object.entries(MEMORY)) {
    const mine = entry(name)?.memory
    if (!mine || !memory) continue
    const share = mine.rss / memory.rss
    lines.push(
      `${name} takes ${times(share)} the memory of hnswlib, wanted at most ${most}: ${share <= most ? 'ok' : 'LOSES'}`,
    )
  }
  print(`\n${lines.map((line) => `- ${line} (recall ${target})`).join('\n')}`)
}

/** Recall and rate of every system at each width, in turns, for the plot. */
async function trace({ say }, set, running, curves) {
  say('  tracing recall against throughput ...')
  const blocks = Math.ceil(set.count / 200)
  for (const ef of LADDER) {
    const entries = running
      .filter(({ contender: { system }, setting }) => system.ef && ef >= system.least(setting))
      .map((entry) => ({ ...entry, setting: { ...entry.setting, ef } }))
    for (const [{ contender }, run] of await alternate(entries, set, blocks)) {
      if (run.failed) continue
      const { name } = contender.system
      if (!curves.has(name)) curves.set(name, [])
      curves.get(name).push([run.recall, median(run.rates)])
    }
  }
  for (const { contender, setting } of running.filter(({ contender }) => !contender.system.ef)) {
    const { recall, rate } = contender.known.get(JSON.stringify(setting))
    curves.set(contender.system.name, [[recall, rate]])
  }
}

const said = (setting) =>
  Object.entries(setting)
    .map((pair) => pair.join(' '))
    .join(', ') || 'exact'
