// What the engine's WebAssembly imports: files, the time, and an ear for the call that is running.

export { rest } from './rest.mjs'

/** Silence after which a running call shows that the worker is alive; time between two reports; between two looks. */
const BEAT_MS = 1_000
const REPORT_MS = 50
const LOOK_MS = 100

let files = []
let running
let beat = 0

/** Puts the files of a database in place: manifest, mark of creation, journal, vectors, graph. */
export function useFiles(list) {
  files = list
}

/** Runs `work`, which is the engine's for its whole length, on behalf of `call`. */
export function run(call, work) {
  running = call
  try {
    return work()
  } finally {
    running = undefined
  }
}

export function now() {
  return performance.timeOrigin + performance.now()
}

function alive() {
  const time = performance.now()
  if (time - beat < BEAT_MS) return
  beat = time
  running?.send({})
}

// A caller takes the URL back to abort: the only word that reaches a worker whose one thread is in the engine.
function takenBack(url) {
  try {
    const request = new XMLHttpRequest()
    request.open('GET', url, false)
    request.send()
    return false
  } catch {
    return true
  }
}

export function cancelled() {
  alive()
  if (!running) return false
  if (running.url && !running.aborted) {
    const time = performance.now()
    if (time - (running.looked ?? 0) >= LOOK_MS) {
      running.looked = time
      running.aborted = takenBack(running.url)
    }
  }
  return running.aborted
}

export function progress(done, total, step) {
  alive()
  if (!running) return
  const time = performance.now()
  if (step === running.step && time - (running.told ?? 0) < REPORT_MS) return
  running.step = step
  running.told = time
  running.send({ id: running.id, progress: [done, total, step] })
}

export function fileLen(file) {
  return files[file].len()
}

export function fileRead(file, at, out) {
  alive()
  return files[file].read(at, out)
}

export function fileWrite(file, at, data) {
  alive()
  return files[file].write(at, data)
}

export function fileSetLen(file, len) {
  files[file].setLen(len)
}

export function fileSync(file) {
  alive()
  files[file].sync()
}
