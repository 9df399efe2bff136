// The worker and where the engine's WebAssembly lies. inline.mjs takes this place in the build that is one file.
import { inlineWorker, workerAt } from './elsewhere.mjs'

/**
 * `{ worker, wasm }` of one database. Bundlers look for `new URL('...', import.meta.url)` in these very words and put
 * the files where they belong.
 */
export function start(workerUrl, wasmUrl) {
  if (workerUrl !== undefined) return workerAt(workerUrl, wasmUrl)
  const wasm =
    wasmUrl === undefined
      ? new URL('./asteroid.wasm', import.meta.url).href
      : new URL(wasmUrl, location.href).href
  try {
    const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
      type: 'module',
      name: 'asteroid-db',
    })
    return { worker, wasm }
  } catch (error) {
    if (error.name !== 'SecurityError') throw error
    // This module came from another origin, which may give modules but no workers.
    const here = import.meta.url
    return { worker: inlineWorker(`import ${JSON.stringify(new URL('worker.mjs', here).href)}`), wasm }
  }
}
