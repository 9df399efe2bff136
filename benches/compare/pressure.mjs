// Little memory: what a process has, pages dropped from the system's cache, and groups with a limit. Linux only.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'
/** Where groups are made and how a limit is set, in version 2 of cgroups and in version 1. */
const CONTROLLERS = [
  { folder: ROOT, has: 'cgroup.controllers', most: 'memory.max' },
  { folder: join(ROOT, 'memory'), has: 'cgroup.procs', most: 'memory.limit_in_bytes' },
]

/** `{ rss, anon }` of a process in bytes, seen from outside; undefined where it is gone, or not on Linux. */
export function residentOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const bytes = (name) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)[1]) * 1024
    return { rss: bytes('VmRSS'), anon: bytes('RssAnon') }
  } catch {
    return undefined
  }
}

/** Drops all files below `path` from the page cache: `dd` with `nocache` and nothing to copy does just that. */
export function dropPages(path) {
  if (statSync(path).isDirectory()) {
    for (const name of readdirSync(path)) dropPages(join(path, name))
  } else {
    spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'])
  }
}

/** Why no memory limit can be set, or undefined. */
export function cannotLimit() {
  const controller = usable()
  if (!controller) return 'there are no cgroups here'
  const group = join(controller.folder, `asteroid-compare-try-${process.pid}`)
  try {
    if (controller === CONTROLLERS[0]) writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+memory')
    mkdirSync(group)
    const can = existsSync(join(group, controller.most))
    rmdirSync(group)
    return can ? undefined : 'cgroups here do not limit memory'
  } catch (error) {
    return `a cgroup cannot be made (${error.code ?? error.message})`
  }
}

/** Puts a process into a group that may have `bytes` more, pages of files included. Answers the group. */
export function limit(pid, name, bytes) {
  const { folder, most } = usable()
  const group = join(folder, `${name}-${process.pid}`)
  mkdirSync(group, { recursive: true })
  writeFileSync(join(group, most), String(bytes))
  writeFileSync(join(group, 'cgroup.procs'), String(pid))
  return group
}

/** Removes a group whose process has ended. */
export function unlimit(group) {
  try {
    rmdirSync(group)
  } catch (error) {
    // A process that has just ended may still be in it.
    if (error.code !== 'EBUSY') throw error
    spawnSync('sleep', ['0.2'])
    rmdirSync(group)
  }
}

const usable = () => CONTROLLERS.find(({ folder, has }) => existsSync(join(folder, has)))
