// Takes the place of start.mjs in the build that is one file: the worker's text, with the engine in it, lies in here.
import source from 'asteroid-worker-source'
import { halves, inlineWorker, workerAt } from './elsewhere.mjs'

/** `{ worker, wasm, rest }` of one database; the worker alone where it carries the engine. */
export function start(workerUrl, wasmUrl, restUrl) {
  if (workerUrl !== undefined) return workerAt(workerUrl, wasmUrl, restUrl)
  return { worker: inlineWorker(source), ...(wasmUrl && halves(wasmUrl, restUrl)) }
}
