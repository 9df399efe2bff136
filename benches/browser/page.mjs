// What a page does to one system, for browser.mjs.
import { systems } from './systems.mjs'

const WANTED = 0.95
const EFS = [
  10, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 112, 128, 160, 200, 256, 320, 400, 512, 640, 800,
  1000,
]

const column = async (name, Type) => new Type(await (await fetch(`/data/${name}`)).arrayBuffer())

let index

/** Makes and stores the index: milliseconds, and the longest task that held up the page. */
export async function build(name, { rows, dim, ef }) {
  const base = await column('base', Float32Array)
  const tasks = watchTasks()
  const began = performance.now()
  index = await systems[name].build(base, rows, dim, ef)
  const ms = performance.now() - began
  return { ms, longest: await tasks() }
}

/** The longest task since it was called, by the Long Tasks API, which tells of those over 50 ms. */
function watchTasks() {
  const since = performance.now()
  let longest = 0
  const see = (list) => {
    for (const { startTime, duration } of list) if (startTime >= since) longest = Math.max(longest, duration)
  }
  const observer = new PerformanceObserver((list) => see(list.getEntries()))
  observer.observe({ type: 'longtask' })
  return async () => {
    await new Promise((later) => setTimeout(later, 200))
    see(observer.takeRecords())
    observer.disconnect()
    return longest
  }
}

async function found(system, queries, dim, count) {
  const lists = []
  for (let q = 0; q < count; q++)
    lists.push(await system.search(index, queries.subarray(q * dim, (q + 1) * dim)))
  return lists
}

function recallOf(lists, truth, k) {
  let hits = 0
  lists.forEach((list, q) => {
    const wanted = new Set(truth.subarray(q * k, (q + 1) * k))
    for (const id of list) if (wanted.has(id)) hits++
  })
  return hits / (lists.length * k)
}

/** The least width whose recall is as wanted, and how long the queries take with it, one at a time. */
export async function measure(name, { dim, k, count, ef: given }) {
  const system = systems[name]
  const queries = await column('queries', Float32Array)
  const truth = await column('truth', Int32Array)
  let ef
  let recall
  for (ef of given ? [given] : system.widen ? EFS : [undefined]) {
    if (system.widen && !(system.rebuilt && given)) index = await system.widen(index, ef)
    recall = recallOf(await found(system, queries, dim, count), truth, k)
    if (recall >= WANTED) break
  }
  const tasks = watchTasks()
  const began = performance.now()
  await found(system, queries, dim, count)
  const ms = performance.now() - began
  return { ef, recall, perSecond: (count / ms) * 1000, longest: await tasks() }
}

/** Opens what is stored and searches once: milliseconds since the page was asked for. */
export async function reopen(name, { dim, rows, ef }) {
  const query = Float32Array.from(JSON.parse(localStorage.query))
  index = await systems[name].load(dim, ef, rows)
  const list = await systems[name].search(index, query)
  return { ms: performance.now(), found: list.length }
}

/** Puts a query where the page finds it at once when it is opened again, and lets go of the index. */
export async function leave(name, { dim }) {
  const queries = await column('queries', Float32Array)
  localStorage.query = JSON.stringify([...queries.subarray(0, dim)])
  await systems[name].close?.(index)
}

/** Ours alone: the longest task while a database is exported and made again of its file. */
export async function move() {
  const { open } = await import('/asteroid/index.mjs')
  const file = await new Response(index.db.export()).blob()
  const tasks = watchTasks()
  const copy = await open('copy', { from: file })
  const longest = await tasks()
  await copy.close()
  return longest
}
