// The one holder of a database: its lock, its files, its engine, and the order of its writes.
import init, { Engine, Importer } from 'asteroid-engine'
import { turn } from '../page/host.mjs'
import { carried } from './binary.mjs'
import { Failure } from './failures.mjs'
import { run, useFiles } from './host.mjs'
import * as mirror from './mirror.mjs'
import * as opfs from './opfs.mjs'
import { after, loadRest } from './rest.mjs'

const MEMORY = ':memory:'

/** The files to use: OPFS, then IndexedDB, then none. A database is looked for before another is made. */
async function filesOf(name, wanted) {
  const refuse = (what) =>
    new Failure('UNSUPPORTED', `this browser (or this window of it) has no ${what}: leave storage out`)
  const places = { opfs, indexeddb: mirror }
  if (wanted === 'opfs' || wanted === 'indexeddb') {
    if (!(await places[wanted].available()))
      throw refuse(wanted === 'opfs' ? 'OPFS for workers' : 'IndexedDB')
    return places[wanted].openFiles(name)
  }
  const [inOpfs, inIndexed] = await Promise.all([opfs.available(), mirror.available()])
  if (inOpfs && inIndexed && !(await opfs.exists(name)) && (await mirror.exists(name)))
    return mirror.openFiles(name)
  if (inOpfs) return opfs.openFiles(name)
  return inIndexed ? mirror.openFiles(name) : undefined
}

/** Loads the engine, once per worker. */
async function load({ wasm, rest }) {
  try {
    after(await init({ module_or_path: wasm ?? carried() }), rest)
  } catch (cause) {
    throw new Failure(
      'IO',
      `the engine could not be loaded${wasm ? ` from ${wasm}` : ''}: serve asteroid.wasm there or name it in wasmUrl, and let the page's policy allow 'wasm-unsafe-eval'`,
      cause,
    )
  }
}

export class Owner {
  engine
  #args
  #files
  #release
  #dead
  #closed = false
  #writes = Promise.resolve()
  /** Writes that are not done. */
  #waiting = 0
  #tidying
  #gate
  #syncing
  #objects = new Set()
  #running = new Set()

  /**
   * Opens the database that `args` ask for, under the lock that `release` ends, or makes it of the file that `feed`
   * brings; answers with the facts about it.
   */
  async open(call, args, urls, release, feed) {
    this.#release = release
    try {
      const loading = load(urls)
      // A failure is heard below, unless the files' is first.
      loading.catch(() => {})
      if (args.path !== MEMORY) this.#files = await filesOf(args.path, args.storage)
      await loading
      // What is carried needs no network: it is there from the beginning.
      if (feed || args.readOnly || args.repair || urls.rest === undefined) await loadRest()
      this.#args = { ...args, memory: this.#files === undefined }
      if (feed) await this.#import(call, feed)
      else this.#start(call)
      if (!args.readOnly) await this.#files?.settled?.(args.durability === 'sync')
    } catch (error) {
      await this.#letGo(true)
      throw error
    } finally {
      feed?.stop()
    }
    const { dim, metric } = this.engine
    const base = this.engine.bulkMemory(0)
    const bulk = { base, perRow: this.engine.bulkMemory(1) - base }
    return { dim, metric, storage: this.#files?.kind ?? 'memory', bulk }
  }

  #start(call) {
    if (this.#files) useFiles(this.#files.files)
    this.engine = this.#guard(call, () => Engine.open(this.#args))
  }

  async #import(call, feed) {
    if (this.#files) useFiles(this.#files.files)
    const importer = this.keep(this.#guard(call, () => new Importer(this.#args)))
    for (let piece = await feed.take(); piece; piece = await feed.take()) {
      this.#guard(call, () => importer.push(piece.bytes))
      piece.used(true)
    }
    // It is freed by its end, which is not told from a failure half-way.
    this.#objects.delete(importer)
    this.engine = this.#guard(call, () => importer.finish())
  }

  /** Frees what lies in the engine's memory, which nobody touches after a trap. */
  #free() {
    const objects = [...this.#objects, ...(this.engine ? [this.engine] : [])]
    this.#objects.clear()
    this.engine = undefined
    if (!this.#dead) for (const object of objects) object.free()
  }

  async #letGo(discard) {
    this.#free()
    this.#files?.close()
    if (discard) await this.#files?.discard().catch(() => {})
    this.#release?.()
  }

  /** Runs the engine. A trap leaves its memory in no state to go on with. */
  #guard(call, work) {
    if (this.#dead) throw new Failure('POISONED', `${this.#dead}: close and open the database again`)
    try {
      return run(call, work)
    } catch (error) {
      if (error?.torn)
        this.#dead = 'the rest of the engine could not be loaded in the midst of an earlier call'
      if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
        this.#dead = `a bug in asteroid-db stopped an earlier call (${error.message})`
        throw new Failure('INTERNAL', `a bug in asteroid-db stopped this call: ${error.message}`)
      }
      throw error
    }
  }

  #live() {
    if (this.#closed) throw new Failure('CLOSED', 'the database is closed: open it again to use it')
  }

  /** Runs one piece of a call; `seldom` where it needs the rest of the engine. */
  async run(call, work, seldom = false) {
    if (seldom) await loadRest()
    // While the engine is opened anew, everybody waits.
    while (this.#gate) await this.#gate
    if (!this.engine) this.#live()
    return this.#guard(call, () => work(this.engine))
  }

  /** Keeps a piece of the engine's memory until it is let go of, or the database is. */
  keep(object) {
    this.#objects.add(object)
    return object
  }

  drop(object) {
    if (this.#objects.delete(object) && !this.#dead) object.free()
  }

  /** A call that runs piece by piece: `step` answers `undefined` until it is done. Others run in between. */
  async steps(call, object, step) {
    const running = this.#steps(call, object, step)
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
      this.drop(object)
    }
  }

  async #steps(call, object, step) {
    for (;;) {
      const done = await this.run(call, () => {
        if (!this.#objects.has(object))
          throw new Failure('IO', 'an earlier write failed and took this call with it')
        return step(object)
      })
      if (done !== undefined) return done
      await turn()
    }
  }

  /** Runs `work` after all earlier writes, and answers when what it wrote is as safe as its caller was promised. */
  write(call, work) {
    this.#live()
    this.#waiting++
    const made = this.#writes.then(work)
    this.#writes = made
      .catch(() => {})
      .then(() => {
        this.#waiting--
        this.#tidying ??= this.#tidy().finally(() => {
          this.#tidying = undefined
        })
      })
    return made.then(async (value) => {
      await this.#settle(call.sync)
      return value
    })
  }

  #idle() {
    return this.#waiting === 0 && !this.#closed && !this.#gate && this.engine !== undefined
  }

  /** Keeps the database in shape, step by step while no write waits. A failure shows in the next write. */
  async #tidy() {
    try {
      for (;;) {
        await turn()
        if (!this.#idle()) return
        if (this.#guard(undefined, () => this.engine.sweeps())) {
          await loadRest()
          if (!this.#idle()) return
        }
        const more = this.#guard(undefined, () => this.engine.tidy())
        if (this.#files?.settled) await this.#stored(false)
        if (!more) return
      }
    } catch {}
  }

  async #settle(sync) {
    if (this.#files?.settled) return this.#stored(sync)
    if (!sync || !this.#files) return
    // One sync for all that wait.
    this.#syncing ??= turn().then(() => {
      this.#syncing = undefined
      return this.run(undefined, (engine) => engine.flush())
    })
    await this.#syncing
  }

  async #stored(strict) {
    try {
      await this.#files.settled(strict)
    } catch (error) {
      await this.#return()
      throw error
    }
  }

  /** The files could not be stored: goes back to what is, so that nothing of the refused writes is kept. */
  #return() {
    this.#gate ??= (async () => {
      try {
        this.#free()
        await this.#files.load()
        this.#args = { ...this.#args, reinit: false }
        this.#start(undefined)
      } catch (error) {
        this.#dead ??= `the database could not be brought back to what is stored (${error.message.split('\n')[1]})`
      } finally {
        this.#gate = undefined
      }
    })()
    return this.#gate
  }

  flush(call) {
    return this.write(call, async () => {
      await this.run(call, (engine) => engine.flush())
      if (this.#files?.settled) await this.#stored(true)
    })
  }

  async close(call) {
    this.#live()
    this.#closed = true
    await this.#writes
    await this.#tidying
    await Promise.allSettled(this.#running)
    while (this.#gate) await this.#gate
    try {
      if (!this.#dead) {
        this.#guard(call, () => this.engine.close())
        this.#free()
        if (!this.#args.readOnly) await this.#files?.settled?.(true)
      }
    } finally {
      await this.#letGo(false)
    }
  }
}
