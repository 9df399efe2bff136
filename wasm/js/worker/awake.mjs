// Keeps the worker awake for a moment while calls follow one another: for a thread that sleeps to be woken takes longer
// than many a call does.

/** How long, and how soon a call must follow an answer to count. Clocks of browsers are coarse: some tenths of it are lost. */
const SOON_MS = 0.3
/** Calls that followed so soon, before it is worth it. */
const STREAK = 4

const able = navigator.hardwareConcurrency > 1 && globalThis.scheduler?.postTask !== undefined
let last = 0
let streak = 0
let looking = false

/** A message came. */
export function asked() {
  streak = performance.now() - last < SOON_MS ? streak + 1 : 0
}

/** An answer went. */
export function answered() {
  last = performance.now()
  if (able && streak >= STREAK && !looking) look()
}

async function look() {
  looking = true
  while (performance.now() - last < SOON_MS) await globalThis.scheduler.postTask(() => {})
  looking = false
}
