// Blocks of queries, the systems taking turns, and what the rounds come to.
import { recallOf } from './data.mjs'

export const BLOCK = 200
const WARM = 20
/** A block of a slow system ends after so many seconds. */
const LONGEST = 2

/**
 * The recall over all queries with `setting`, each asked once per system. `known` keeps what was found before.
 */
export async function recallAt(child, set, setting, known) {
  const key = JSON.stringify(setting)
  if (!known.has(key)) {
    const { found, seconds } = await child.ask('search', { setting, from: 0, count: set.count })
    known.set(key, { setting, recall: recallOf(set, found), rate: set.count / seconds })
  }
  return known.get(key).recall
}

/**
 * Lets `entries`, each `{ child, setting }`, take turns with blocks of queries. Answers a map from entry to
 * `{ rates, latencies, recall }`, rates being searches per second by round, undefined where the entry failed. An entry may
 * have a `set` of its own, of the same queries. `before` is called with an entry ahead of each of its blocks.
 */
export async function alternate(entries, set, rounds, { block = BLOCK, before } = {}) {
  const size = Math.min(block, set.count)
  const runs = new Map(entries.map((entry) => [entry, { rates: [], latencies: [], hits: 0, asked: 0 }]))
  for (let round = 0; round < rounds; round++) {
    // All have the same queries in a round, and another one goes first each time.
    const from = (round * size) % set.count
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[(round + i) % entries.length]
      const run = runs.get(entry)
      await before?.(entry)
      const found = await entry.child
        .ask('search', {
          setting: entry.setting,
          from,
          count: size,
          warm: Math.min(WARM, size),
          seconds: LONGEST,
        })
        .catch((error) => {
          run.failed = error.message
        })
      if (!found) {
        run.rates.push(undefined)
        continue
      }
      run.rates.push(found.latencies.length / found.seconds)
      run.latencies.push(...found.latencies)
      run.hits += recallOf(entry.set ?? set, found.found, from) * found.found.length
      run.asked += found.found.length
    }
  }
  for (const run of runs.values()) run.recall = run.hits / run.asked
  return runs
}

/** The median over the rounds of `mine` by `theirs`; undefined where they share no round. */
export function medianRatio(mine, theirs) {
  const all = mine.flatMap((value, round) => (value && theirs?.[round] ? [value / theirs[round]] : []))
  return all.length === 0 ? undefined : median(all)
}

export function median(numbers) {
  const sorted = numbers.filter((value) => value !== undefined).sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
}
