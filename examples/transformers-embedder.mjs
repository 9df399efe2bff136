// Turns text into vectors by meaning, with a small sentence model run by Transformers.js. The same interface as
// lexical-embedder.mjs. Not a dependency of Asteroid DB: run `npm install --no-save @huggingface/transformers` first.
// The model (about 25 MB) is fetched on first use and kept by Transformers.js.

const MODEL = 'Xenova/all-MiniLM-L6-v2'
const BATCH = 32

/** An embedder; there is nothing to save or to learn, so `saved` and `fit` change nothing. */
export async function createEmbedder() {
  const { pipeline } = await import('@huggingface/transformers').catch((cause) => {
    throw new Error(
      'Transformers.js is not installed. Run: npm install --no-save @huggingface/transformers',
      { cause },
    )
  })
  const extract = await pipeline('feature-extraction', MODEL, { dtype: 'q8' })
  return {
    id: `${MODEL}-q8`,
    dim: 384,
    about: `${MODEL} through Transformers.js; matches meaning`,

    async fit() {},

    /** One unit vector of `dim` numbers per text, row after row. */
    async embed(texts) {
      const out = new Float32Array(texts.length * this.dim)
      for (let at = 0; at < texts.length; at += BATCH) {
        const tensor = await extract(texts.slice(at, at + BATCH), { pooling: 'mean', normalize: true })
        out.set(tensor.data, at * this.dim)
      }
      return out
    },

    save() {
      return {}
    },
  }
}
