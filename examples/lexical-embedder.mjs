// Turns text into vectors without any model: hashed words, word pairs and pieces of words, weighted by tf-idf.
//
// This is lexical matching and no more. It finds passages that share words (or parts of words) with a question; it
// does not know that "car" and "automobile" mean the same. For meaning, use examples/transformers-embedder.mjs,
// which has the same interface. Runs in Node and in browsers.

const DIM = 512
// Document frequencies are counted per hash bucket: a fixed 1 MiB however many texts there are.
const BUCKETS = 1 << 18
// Each feature goes to this many dimensions with signs of its own, which evens out collisions.
const SPREAD = 4
const WEIGHTS = { word: 1, pair: 0.6, piece: 0.35 }

/** An embedder; `saved` is what `save()` of an earlier one gave, and takes the place of `fit`. */
export function createEmbedder(saved) {
  const frequency = saved ? new Uint32Array(fromBase64(saved.frequency).buffer) : new Uint32Array(BUCKETS)
  let texts = saved?.texts ?? 0

  return {
    id: `lexical-${DIM}-v1`,
    dim: DIM,
    about: 'lexical: hashed words and word pieces, tf-idf; matches words, not meaning',

    /** Learns how rare each feature is. Call it once with all texts, before `embed`. */
    async fit(all) {
      frequency.fill(0)
      texts = all.length
      for (const text of all) {
        const buckets = new Set()
        for (const hash of features(text).keys()) buckets.add(hash % BUCKETS)
        for (const bucket of buckets) frequency[bucket]++
      }
    },

    /** One unit vector of `dim` numbers per text, row after row. */
    async embed(batch) {
      const out = new Float32Array(batch.length * DIM)
      batch.forEach((text, row) => {
        const vector = out.subarray(row * DIM, (row + 1) * DIM)
        for (const [hash, { count, weight }] of features(text)) {
          const rarity = Math.log((1 + texts) / (1 + frequency[hash % BUCKETS])) + 0.05
          const value = weight * (1 + Math.log(count)) * rarity
          for (let i = 0, h = hash; i < SPREAD; i++) {
            h = mix(h + 0x9e3779b9)
            vector[h % DIM] += h & 0x80000000 ? -value : value
          }
        }
        normalise(vector)
      })
      return out
    },

    /** All that a later run needs to embed questions the same way, as plain JSON. */
    save() {
      return { texts, frequency: toBase64(new Uint8Array(frequency.buffer)) }
    },
  }
}

function features(text) {
  const found = new Map()
  const add = (feature, weight) => {
    const hash = hashOf(feature)
    const known = found.get(hash)
    if (known) known.count++
    else found.set(hash, { count: 1, weight })
  }
  let previous
  // "readFileSync" also counts as "read file sync".
  const spaced = text.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase()
  for (const [word] of spaced.matchAll(/[\p{L}\p{N}]+/gu)) {
    add(word.replace(/(?<=...)(ing|ed|es|s)$/, ''), WEIGHTS.word)
    if (previous) add(`${previous} ${word}`, WEIGHTS.pair)
    previous = word
    const padded = `^${word}$`
    for (let i = 0; word.length > 3 && i + 4 <= padded.length; i++)
      add(`~${padded.slice(i, i + 4)}`, WEIGHTS.piece)
  }
  return found
}

// FNV-1a over UTF-16 units, then mixed.
function hashOf(text) {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix(hash)
}

function mix(value) {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function normalise(vector) {
  let sum = 0
  for (const value of vector) sum += value * value
  // A text without a single word still needs a direction, for cosine has no zero vector.
  if (sum === 0) vector[0] = sum = 1
  const scale = 1 / Math.sqrt(sum)
  for (let i = 0; i < vector.length; i++) vector[i] *= scale
}

function toBase64(bytes) {
  let text = ''
  for (let at = 0; at < bytes.length; at += 1 << 15)
    text += String.fromCharCode(...bytes.subarray(at, at + (1 << 15)))
  return btoa(text)
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}
