// What is compared: how each is run, and what of it is turned to reach a recall.

const LEAST_EF = 10
const MOST_EF = 2048

/**
 * `settings` are tried one by one; with each the smallest `ef` that reaches a recall is looked for, and the quickest is
 * kept. A system without `ef` is exact.
 */
const SYSTEMS = [
  { name: 'asteroid-db', adapter: 'asteroid', ef: true },
  {
    name: 'asteroid-db mapped',
    adapter: 'asteroid',
    options: { open: { vectorStorageType: 0 } },
    ef: true,
  },
  {
    name: 'asteroid-db rabitq',
    adapter: 'asteroid',
    options: { open: { quantization: 'rabitq', vectorStorageType: 0 } },
    ef: true,
  },
  { name: 'asteroid-db inserted', adapter: 'asteroid', options: { build: 'insert' }, ef: true },
  { name: 'hnswlib-node', adapter: 'hnswlib-node', needs: ['hnswlib-node'], ef: true },
  { name: 'usearch', adapter: 'usearch', needs: ['usearch'], ef: true },
  {
    name: '@lancedb/lancedb',
    adapter: 'lancedb',
    needs: ['@lancedb/lancedb'],
    ef: true,
    settings: [{ refine: 1 }, { refine: 3 }],
    // It refuses fewer candidates than it is to measure again.
    least: ({ refine }) => 10 * refine,
  },
  { name: '@zvec/zvec', adapter: 'zvec', needs: ['@zvec/zvec'], ef: true },
  { name: 'sqlite-vec', adapter: 'sqlite-vec', needs: ['sqlite-vec', 'better-sqlite3'] },
  { name: 'aster-vec', adapter: 'aster', language: 'python', needs: ['aster-vec'], ef: true },
  { name: 'faiss HNSWFlat', adapter: 'faiss', language: 'python', needs: ['faiss-cpu'], ef: true },
  {
    name: 'faiss HNSW-SQ8 + refine',
    adapter: 'faiss',
    language: 'python',
    needs: ['faiss-cpu'],
    options: { codes: true },
    ef: true,
    settings: [{ refine: 1.5 }, { refine: 3 }],
  },
  {
    name: 'hnswlib (Python)',
    adapter: 'hnswlib',
    language: 'python',
    needs: ['hnswlib (Python)'],
    ef: true,
  },
]

/** The peer whose rate the others' are divided by. */
export const REFERENCE = 'hnswlib-node'

/**
 * The systems, those of `only` (beginnings of names) where it is given, each with `version` or, where it cannot be had,
 * `why`.
 */
export function chosenSystems(peers, only, ours) {
  const wanted = (name) => !only || only.some((part) => name.toLowerCase().startsWith(part.toLowerCase()))
  return SYSTEMS.filter(({ name }) => wanted(name)).map((system) => {
    const { needs = [] } = system
    const lacking = needs.find((name) => !(name in peers.found))
    return {
      language: 'node',
      options: {},
      settings: [{}],
      least: () => LEAST_EF,
      ...system,
      // What a kept build must agree with.
      version: needs.length > 0 ? needs.map((name) => peers.found[name]).join(' + ') : ours,
      why: lacking && `${lacking} cannot be installed: ${peers.why[lacking]}`,
    }
  })
}

/**
 * The smallest `ef` from 10 on for which `recallAt(ef)` is at least `target`, or undefined where 2,048 does not do.
 * `from` is one that is known to be too little, or the least.
 */
export async function smallestEf(recallAt, target, from = LEAST_EF) {
  let [low, high] = [from - 1, from]
  while ((await recallAt(high)) < target) {
    if (high >= MOST_EF) return undefined
    low = high
    high = Math.min(MOST_EF, high * 2)
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if ((await recallAt(middle)) >= target) high = middle
    else low = middle
  }
  return high
}
