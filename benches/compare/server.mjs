// One system in a process of its own: `server.mjs <task>`. Commands come as lines of JSON on standard input, answers go
// as such to file descriptor 3, so that what libraries print is in nobody's way.
import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const task = JSON.parse(process.argv[2])
const { default: create } = await import(`./adapters/${task.adapter}.mjs`)
const system = await create(task, createRequire(join(task.peers, 'package.json')))
const numbers = (name) => new Float32Array(new Uint8Array(readFileSync(join(task.data, name))).buffer)
const row = (all, at) => all.subarray(at * task.dim, (at + 1) * task.dim)

// What a caller would have at hand is made ready outside of the measured time.
let queries
const asked = () => {
  queries ??= Array.from({ length: task.count }, () => undefined)
  const all = numbers('queries')
  for (let at = 0; at < task.count; at++) queries[at] = system.query(row(all, at).slice())
  return queries
}

/** Searches that go before the first timed ones: what is compiled as it runs then is, in this process as in a server's. */
const SETTLING = 500
let settled = false

/** Queries between those that are timed, so that none of these is known already. */
async function settle() {
  if (settled) return
  settled = true
  const all = numbers('queries')
  for (let at = 0; at < SETTLING; at++) {
    const [a, b] = [row(all, at % task.count), row(all, (at + 1) % task.count)]
    await system.search(system.query(a.map((x, i) => (x + b[i]) / 2)))
  }
}

let before
const commands = {
  /** Builds the index of all rows and leaves it on disk. */
  async build() {
    const began = performance.now()
    const seconds = await system.build(numbers('base'))
    return { seconds: seconds ?? (performance.now() - began) / 1000 }
  },

  /** Answers once the process and its library are there. */
  ready: () => ({}),

  /** Loads what `build` left; memory counts from here. */
  async open() {
    asked()
    globalThis.gc?.()
    before = resident()
    await system.open()
    return {}
  },

  /** Searches one query after the other: seconds of each and the ids that it found, up to `seconds` in all. */
  async search({ setting, from, count, warm = 0, seconds = Infinity }) {
    await system.set?.(setting)
    if (warm > 0) await settle()
    for (let i = 0; i < warm; i++) await system.search(queries[(from + count + i) % task.count])
    const latencies = []
    const found = []
    let spent = 0
    for (let i = 0; i < count && spent < seconds; i++) {
      const query = queries[(from + i) % task.count]
      const began = performance.now()
      let hits = system.search(query)
      if (hits instanceof Promise) hits = await hits
      const took = (performance.now() - began) / 1000
      spent += took
      latencies.push(took)
      found.push(hits)
    }
    return { seconds: spent, latencies, found: found.map((hits) => system.ids(hits).slice(0, task.k)) }
  },

  /** Searches `count` queries in one call. */
  async many({ setting, from, count }) {
    const all = numbers('queries').subarray(from * task.dim, (from + count) * task.dim)
    const began = performance.now()
    await system.many(all, setting)
    return { seconds: (performance.now() - began) / 1000 }
  },

  /** Bytes that the process has more than before `open`. */
  memory() {
    globalThis.gc?.()
    const now = resident()
    return { rss: now.rss - before.rss, anon: now.anon - before.anon }
  },

  /** Makes an empty index for `insert`. */
  async create() {
    asked()
    await system.create(numbers('base').subarray(0, task.rows * task.dim))
    return {}
  },

  /** Adds rows: the seconds spent in the system's own calls. */
  async insert({ from, count }) {
    return { seconds: await system.insert(from, count) }
  },

  async close() {
    await system.close?.()
    return {}
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line)
  let answer
  try {
    answer = await commands[command](given)
  } catch (error) {
    answer = { error: error.message }
  }
  answerWith(JSON.stringify(answer))
  if (command === 'close') process.exit(0)
}

/** A pipe may take less than all of it at a time. */
function answerWith(text) {
  let left = Buffer.from(`${text}\n`)
  while (left.length > 0) {
    try {
      left = left.subarray(writeSync(3, left))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
}

function resident() {
  if (process.platform !== 'linux') return { rss: process.memoryUsage.rss(), anon: Number.NaN }
  const status = readFileSync('/proc/self/status', 'utf8')
  const bytes = (name) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)[1]) * 1024
  return { rss: bytes('VmRSS'), anon: bytes('RssAnon') }
}
