'use strict'

const { readFileSync } = require('node:fs')
const { dirname, join } = require('node:path')
const os = require('node:os')

const ROOT = '/sys/fs/cgroup'

function numberIn(path) {
  try {
    // 'max' means no limit, and becomes NaN.
    return Number(readFileSync(path, 'utf8'))
  } catch {
    return Number.NaN
  }
}

/** What a control group lets its processes take beside what they hold. Cached files give way, so they count as free. */
function leftInGroup(folder, { limit, used, cached }) {
  const most = numberIn(join(folder, limit))
  if (!Number.isFinite(most)) return Number.POSITIVE_INFINITY
  let files = 0
  try {
    for (const [, bytes] of readFileSync(join(folder, 'memory.stat'), 'utf8').matchAll(cached))
      files += Number(bytes)
  } catch {}
  const held = numberIn(join(folder, used))
  return Math.max(0, most - (Number.isFinite(held) ? held : 0) + files)
}

const V2 = { limit: 'memory.max', used: 'memory.current', cached: /^(?:in)?active_file (\d+)$/gm }
const V1 = {
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
  cached: /^total_(?:in)?active_file (\d+)$/gm,
}

/** The least that any control group above this process leaves it. */
function leftInGroups() {
  let groups
  try {
    groups = readFileSync('/proc/self/cgroup', 'utf8')
  } catch {
    return Number.POSITIVE_INFINITY
  }
  let least = Number.POSITIVE_INFINITY
  for (const [, controllers, path] of groups.matchAll(/^\d+:([^:\n]*):(.*)$/gm)) {
    const second = controllers === ''
    if (!second && !controllers.split(',').includes('memory')) continue
    const root = second ? ROOT : join(ROOT, 'memory')
    // In a container the path may be the host's, which is not there: then the root is the group.
    for (let at = join('/', path); ; at = dirname(at)) {
      least = Math.min(least, leftInGroup(join(root, at), second ? V2 : V1))
      if (at === '/') break
    }
  }
  return least
}

/** Bytes that the system says a process may still take. */
function freeMemory() {
  // macOS keeps hardly any memory free: it makes room when asked.
  if (process.platform === 'darwin') return Math.max(os.freemem(), os.totalmem() / 2)
  const free = os.freemem()
  return process.platform === 'linux' ? Math.min(free, leftInGroups()) : free
}

module.exports = { freeMemory }
