// The half of the engine that few calls need: bulk builds, checks, repairs, compaction, exports, patterns, patches of
// payloads, sweeps of dead rows, widths for a recall, and opening read-only. It is loaded when one of them is made. scripts/lib/split-wasm.mjs says how the halves hang together.
import { carriedRest } from './binary.mjs'
import { Failure } from './failures.mjs'

let first
let url
let here = false
let loading

const failed = (cause) =>
  new Failure(
    'IO',
    `the rest of the engine could not be loaded from ${url}: serve asteroid-rest.wasm of the same build there or name it in restUrl`,
    cause,
  )

/** The exports of the first half, and where the second is; the worker carries it if that is nowhere. */
export function after(exports, where) {
  first = exports
  url = where
}

async function load() {
  try {
    const response = url === undefined ? carriedRest() : await fetch(url)
    if (!response.ok) throw new Error(`it answers ${response.status}`)
    await WebAssembly.instantiate(await response.arrayBuffer(), { first })
    here = true
  } catch (cause) {
    loading = undefined
    throw failed(cause)
  }
}

/** Loads it, once. */
export function loadRest() {
  loading ??= load()
  return loading
}

/** Loads it while the engine waits, in the midst of a call that was not known to need it. */
export function rest() {
  if (here) return
  try {
    const request = new XMLHttpRequest()
    request.open('GET', url, false)
    request.responseType = 'arraybuffer'
    request.send()
    if (request.status !== 200) throw new Error(`it answers ${request.status}`)
    new WebAssembly.Instance(new WebAssembly.Module(request.response), { first })
    here = true
  } catch (cause) {
    throw Object.assign(failed(cause), { torn: true })
  }
}
