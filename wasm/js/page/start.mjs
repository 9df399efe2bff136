// The worker and where the engine's WebAssembly lies. inline.mjs takes this place in the build that is one file.
import { halves, inlineWorker, workerAt } from './elsewhere.mjs'

/**
 * `{ worker, wasm, rest }` of one database. Bundlers look for `new URL('...', import.meta.url)` in these very words and put
 * the files where they belong.
 */
export function start(workerUrl, wasmUrl, restUrl) {
  if (workerUrl !== undefined) return workerAt(workerUrl, wasmUrl, restUrl)
  const urls =
    wasmUrl === undefined
      ? halves(
          new URL('./asteroid.wasm', import.meta.url),
          restUrl ?? new URL('./asteroid-rest.wasm', import.meta.url),
        )
      : halves(wasmUrl, restUrl)
  try {
    const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
      type: 'module',
      name: 'asteroid-db',
    })
    return { worker, ...urls }
  } catch (error) {
    if (error.name !== 'SecurityError') throw error
    // This module came from another origin, which may give modules but no workers.
    const here = import.meta.url
    return { worker: inlineWorker(`import ${JSON.stringify(new URL('worker.mjs', here).href)}`), ...urls }
  }
}
