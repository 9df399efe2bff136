// Takes the place of start.mjs in the build that is one file: the worker's text, with the engine in it, lies in here.
import source from 'asteroid-worker-source'
import { inlineWorker, workerAt } from './elsewhere.mjs'

/** `{ worker, wasm }` of one database; no `wasm` where the worker carries the engine. */
export function start(workerUrl, wasmUrl) {
  if (workerUrl !== undefined) return workerAt(workerUrl, wasmUrl)
  return { worker: inlineWorker(source), wasm: wasmUrl && new URL(wasmUrl, location.href).href }
}
