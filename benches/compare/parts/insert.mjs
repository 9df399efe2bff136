// Rows per second inserted one after the other by one writer, into an index that is searchable at every moment.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Child } from '../child.mjs'
import { dataset, recallOf, taskOf } from '../data.mjs'
import { median, medianRatio } from '../rounds.mjs'
import { REFERENCE } from '../systems.mjs'
import { orDash, table, times } from '../table.mjs'

const ROWS = 20_000
const FULL_ROWS = 100_000
const BLOCK = 1000
const EF = 64
const WANTED = { [REFERENCE]: 1, 'aster-vec': 2 }

/** How a system is told to insert; what is not here has one way, its own on one thread. */
const WAYS = {
  asteroid: [
    { way: 'insert, one by one', options: {} },
    { way: 'insertMany of 64', options: { batch: 64 } },
    { way: 'insertMany of 1,000, 1 thread', options: { batch: 1000, open: { threads: 1 } } },
    { way: 'insertMany of 1,000', options: { batch: 1000 } },
  ],
  'hnswlib-node': [{ way: 'addPoint' }],
  usearch: [{ way: 'add of 1,000, 1 thread' }],
  lancedb: [
    { way: 'add of 1,000, searched without index' },
    { way: 'add of 1,000 + optimize', options: { optimize: true } },
  ],
  zvec: [
    { way: 'insertSync of 1,000, searched without index' },
    { way: 'insertSync of 1,000 + optimize', options: { optimize: true } },
  ],
  'sqlite-vec': [{ way: 'transactions of 1,000, no index' }],
  aster: [{ way: 'insert' }],
  faiss: [{ way: 'add of 1,000, 1 thread' }],
  hnswlib: [{ way: 'add_items of 1,000, 1 thread' }],
}

/** Runs the part on each data set of `names`. */
export async function insertPart(context, names) {
  for (const name of names) await compare(context, name)
}

async function compare(context, name) {
  const { say, print, systems, peers, threads, count } = context
  const set = dataset(name, { rows: context.rows ?? (context.full ? FULL_ROWS : ROWS) })
  say(`${name}: inserting ${count(set.rows)} rows, the systems taking turns every ${count(BLOCK)}`)
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-compare-'))
  const entries = systems
    .filter((system) => system.name !== 'asteroid-db inserted')
    .flatMap((system) => {
      // With other options ours inserts in the same ways: one of them tells what they cost.
      const ways = WAYS[system.adapter].slice(0, system.name.startsWith('asteroid-db ') ? 1 : undefined)
      return ways.map((one) => ({ system, ...one, rates: [], why: system.why }))
    })
  try {
    for (const [i, entry] of entries.entries()) {
      if (entry.why) continue
      const options = { ...entry.system.options, ...entry.options }
      options.open = { ...entry.system.options.open, ...entry.options?.open }
      const task = taskOf({ options }, set, mkdtempSync(join(folder, `${i}-`)), threads)
      entry.child = new Child(entry.system, task, peers)
      await attempt(entry, () => entry.child.ask('create'))
    }
    for (let from = 0, round = 0; from < set.rows; from += BLOCK, round++) {
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[(round + i) % entries.length]
        if (entry.why) continue
        const rows = Math.min(BLOCK, set.rows - from)
        const did = await attempt(entry, () => entry.child.ask('insert', { from, count: rows }))
        entry.rates.push(did && rows / did.seconds)
      }
    }
    for (const entry of entries) {
      if (entry.why) continue
      const setting = entry.system.ef ? { ef: EF } : {}
      const found = await attempt(entry, () =>
        entry.child.ask('search', { setting, from: 0, count: set.count }),
      )
      if (found) entry.recall = recallOf(set, found.found)
    }
    report(print, set, entries, count)
  } finally {
    await Promise.all(entries.map(({ child }) => child?.close()))
    rmSync(folder, { recursive: true, force: true })
  }
}

async function attempt(entry, work) {
  try {
    return await work()
  } catch (error) {
    entry.why = error.message
  }
}

function report(print, set, entries, count) {
  const of = (name) => entries.find(({ system, why }) => system.name === name && !why)
  const reference = of(REFERENCE)
  print(`\n### ${set.name}: inserting ${count(set.rows)} rows, one writer, recall@10 then at ef ${EF}\n`)
  const reasons = []
  const rows = entries.map((entry) => {
    const { system, way, rates, recall, why } = entry
    if (why) {
      reasons.push(`- ${system.name}, ${way}: ${why}`)
      return [system.name, way, 'cannot be had', '-', '-', '-']
    }
    // Rows by seconds in all: what a mean of times per row comes to.
    const whole = rates.length / rates.reduce((sum, rate) => sum + 1 / rate, 0)
    return [
      system.name,
      way,
      count(whole),
      count(median(rates.slice(-5))),
      orDash(medianRatio(rates, reference?.rates), times),
      orDash(recall, (value) => value.toFixed(4)),
    ]
  })
  print(table(['system', 'way', 'rows/s:', 'the last 5,000:', `by ${REFERENCE}:`, 'recall:'], rows))
  const ours = of('asteroid-db')
  const lines = Object.entries(WANTED).map(([name, wanted]) => {
    const ratio = ours && of(name) && medianRatio(ours.rates, of(name).rates)
    if (ratio === undefined) return `- asteroid-db beside ${name}: not both are there`
    return `- asteroid-db, ${ours.way}, ${times(ratio)} as fast as ${name}, wanted ${wanted}: ${ratio >= wanted ? 'ok' : 'LOSES'}`
  })
  print(`\n${[...reasons, ...lines].join('\n')}`)
}
