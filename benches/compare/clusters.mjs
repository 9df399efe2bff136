// Vectors that lie as real ones do, of any number, the same for the same seed.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { seeded } from '../../tests/js/random.mjs'

/** Differs where what is made here does. */
export const KIND = createHash('sha256')
  .update(readFileSync(new URL(import.meta.url)))
  .digest('hex')
  .slice(0, 6)

const CENTRES = 100
const RANK = 24
const DECAY = 0.3
const NOISE = 0.2
const [NEAREST, FARTHEST] = [0.6, 1.2]

/**
 * `{ base, queries }`: a mixture of 100 Gaussians in a space of 24 directions, in which variance falls from one to the
 * next, with a little noise in all of them. Rows lie around their centre at 0.6 to 1.2 times the centres' own spread,
 * by cluster; clusters are taken with weights of 1 / (rank + 10), so that some are crowded, as topics are. Queries are
 * drawn as rows are. A longer base begins with the rows of a shorter one. Chosen so that the width a search needs, and
 * how it grows with the rows, are about those of `sift-photos`.
 */
export function clustered({ rows, dim, count, seed }) {
  const random = seeded(seed)
  let spare
  const normal = () => {
    if (spare !== undefined) {
      const given = spare
      spare = undefined
      return given
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random()))
    const angle = 2 * Math.PI * random()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
  const space = Float32Array.from({ length: RANK * dim }, normal)
  for (let r = 0; r < RANK; r++)
    for (let i = 0; i < dim; i++) space[r * dim + i] *= (r + 1) ** -DECAY / Math.sqrt(dim)
  const centres = Float32Array.from({ length: CENTRES * RANK }, normal)
  const spread = Float32Array.from({ length: CENTRES }, () => NEAREST + (FARTHEST - NEAREST) * random())
  const weights = Float64Array.from({ length: CENTRES }, (_, i) => 1 / (i + 10))
  for (let i = 1; i < CENTRES; i++) weights[i] += weights[i - 1]
  const inner = new Float32Array(RANK)
  const draw = (n) => {
    const out = new Float32Array(n * dim)
    for (let row = 0; row < n; row++) {
      const at = random() * weights[CENTRES - 1]
      let [low, high] = [0, CENTRES - 1]
      while (low < high) {
        const middle = (low + high) >> 1
        if (weights[middle] < at) low = middle + 1
        else high = middle
      }
      for (let r = 0; r < RANK; r++) inner[r] = centres[low * RANK + r] + spread[low] * normal()
      for (let i = 0; i < dim; i++) {
        let sum = (NOISE / Math.sqrt(dim)) * normal()
        for (let r = 0; r < RANK; r++) sum += inner[r] * space[r * dim + i]
        out[row * dim + i] = sum
      }
    }
    return out
  }
  const queries = draw(count)
  return { base: draw(rows), queries }
}
