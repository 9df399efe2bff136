// Workers that do not come from a file next to the page's module.

const sources = new Map()

/** A worker of its source text. A text's URL is made once and kept: databases are opened again and again. */
export function inlineWorker(source) {
  if (!sources.has(source))
    sources.set(source, URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  return new Worker(sources.get(source), { type: 'module', name: 'asteroid-db' })
}

/** Where the halves of the engine are, of URLs given by hand; the second lies next to the first. */
export function halves(wasmUrl, restUrl) {
  const wasm = new URL(wasmUrl, location.href).href
  return { wasm, rest: new URL(restUrl ?? new URL('asteroid-rest.wasm', wasm), location.href).href }
}

/** `{ worker, wasm, rest }` of URLs given by hand; without one for the WebAssembly it lies next to the worker. */
export function workerAt(workerUrl, wasmUrl, restUrl) {
  const { href, origin } = new URL(workerUrl, location.href)
  const worker =
    origin === location.origin
      ? new Worker(href, { type: 'module', name: 'asteroid-db' })
      : inlineWorker(`import ${JSON.stringify(href)}`)
  return { worker, ...halves(wasmUrl ?? new URL('asteroid.wasm', href), restUrl) }
}
