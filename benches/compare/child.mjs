// The driver's end of server.mjs and server.py.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program = (name) => fileURLToPath(new URL(name, import.meta.url))

/** Says which peer failed at what; the run goes on without it. */
export class PeerError extends Error {}

/** A system in a process of its own. */
export class Child {
  #process
  #waiting = []
  #complaints = ''
  #ended

  /** `system` as of systems.mjs, `task` what the servers read. */
  constructor(system, task, peers) {
    this.system = system
    const [command, ...args] =
      system.language === 'python'
        ? [peers.interpreter, program('server.py')]
        : [process.execPath, '--expose-gc', program('server.mjs')]
    const given = { options: {}, ...task, adapter: system.adapter, peers: peers.folder }
    // No Python peer may start threads of its own for one query.
    const env = { ...process.env, OPENBLAS_NUM_THREADS: '1' }
    const stdio = ['pipe', 'ignore', 'pipe', 'pipe']
    this.#process = spawn(command, [...args, JSON.stringify(given)], { stdio, env })
    this.#process.stderr.setEncoding('utf8').on('data', (text) => {
      this.#complaints = (this.#complaints + text).slice(-2000)
    })
    this.#process.stdin.on('error', () => {})
    createInterface({ input: this.#process.stdio[3] }).on('line', (line) => {
      const { resolve, reject } = this.#waiting.shift()
      const answer = JSON.parse(line)
      if (answer.error === undefined) resolve(answer)
      else reject(new PeerError(answer.error))
    })
    const end = (why) => {
      this.#ended = new PeerError(why)
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
    }
    this.#process.on('error', (error) => end(error.message))
    this.#process.on('close', (status, signal) => {
      const last = this.#complaints.trim().split('\n').at(-1)
      end(`its process ended with ${signal ?? status}${last ? `: ${last}` : ''}`)
    })
  }

  get pid() {
    return this.#process.pid
  }

  /** Has a command done; rejects with a `PeerError`. */
  ask(command, given = {}) {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#process.stdin.write(`${JSON.stringify({ command, ...given })}\n`)
    })
  }

  /** Closes the system and waits for the end of the process. */
  async close() {
    if (this.#ended) return
    const ended = new Promise((resolve) => {
      this.#process.once('close', resolve)
    })
    await this.ask('close').catch(() => {})
    this.#process.stdin.end()
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(timer)
  }
}
