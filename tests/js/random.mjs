/** Random numbers from 0 to 1 that replay from a seed. */
export function seeded(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `n * dim` random numbers from -1 to 1. */
export function vectors(next, n, dim) {
  return Float32Array.from({ length: n * dim }, () => next() * 2 - 1)
}
