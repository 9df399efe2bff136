// A Chromium to test in, and the pages it opens.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const TYPES = {
  '.html': 'text/html',
  '.mjs': 'text/javascript',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
}
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** The browser's program, installed where that can be done; else an error that says what to install. */
export function chromiumProgram() {
  const wanted = process.env.ASTEROID_CHROMIUM
  const found = (wanted ? [wanted] : PLACES).find((path) => existsSync(path))
  if (found) return found
  const apt = process.platform === 'linux' && process.getuid?.() === 0 && !wanted
  if (apt) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const install = () =>
      spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], { env, stdio: 'ignore' })
        .status === 0
    if (install() || (spawnSync('apt-get', ['update'], { stdio: 'ignore' }).status === 0 && install()))
      return PLACES[0]
  }
  throw new Error(
    `the browser tests need Chromium: install it (Debian and Ubuntu: apt-get install chromium), or name it in ASTEROID_CHROMIUM${wanted ? `, which names ${wanted}` : ''}`,
  )
}

/** Serves a folder, or the repository, on a port of its own; `/` is its index.html, or an empty page. `seen` hears of paths. */
export async function serve(folder = root, { headers = {}, seen } = {}) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname))
    const file = join(folder, path === '/' ? 'index.html' : path)
    seen?.(path)
    const found = existsSync(file) && statSync(file).isFile()
    if (!found && path !== '/') return response.writeHead(404).end()
    const type = TYPES[extname(file)] ?? 'application/octet-stream'
    response.writeHead(200, { 'content-type': type, ...headers })
    response.end(found ? readFileSync(file) : '<!doctype html><title>tests</title>')
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() }
}

/** The processes of the browser on `profile`, each with its command line. */
function processesOf(profile) {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
      return command.includes(profile) ? [{ pid: Number(pid), command }] : []
    } catch {
      return []
    }
  })
}

/** A browser with a profile of its own, gone with `close`. `pages` open on the server, with the package as `asteroid`. */
export async function browser({ folder, seen } = {}) {
  const server = await serve(folder, { seen })
  const profile = mkdtempSync(join(tmpdir(), 'asteroid-browser-'))
  const launch = () =>
    chromium.launchPersistentContext(profile, {
      executablePath: chromiumProgram(),
      headless: true,
      args: FLAGS,
    })
  let context = await launch()
  const renderers = () => processesOf(profile).filter(({ command }) => command.includes('--type=renderer'))
  const load = async (page) => {
    await page.goto(server.url)
    await page.evaluate(async () => {
      globalThis.asteroid = await import('/wasm/dist/index.mjs')
    })
    return page
  }
  return {
    url: server.url,
    profile,
    load,
    get context() {
      return context
    },
    page: async () => load(await context.newPage()),
    /** Ends the browser, keeps what it stored, and begins it again. */
    async restart() {
      await context.close()
      context = await launch()
    },
    /** Bytes of the processes that run pages which are theirs alone. */
    memory() {
      const own = ({ pid }) =>
        Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1])
      return renderers().reduce((sum, process) => sum + own(process) * 1024, 0)
    },
    /** Kills the processes that run pages, as the system would: at once. */
    killRenderers() {
      const running = renderers()
      if (running.length === 0) throw new Error('no process to kill was found')
      for (const { pid } of running) process.kill(pid, 'SIGKILL')
    },
    /** Kills the browser's first process, waits for the end of the others, and begins it again. */
    async killAndRestart() {
      const first = processesOf(profile).find(({ command }) => !command.includes('--type='))
      const closed = new Promise((resolve) => context.once('close', resolve))
      process.kill(first.pid, 'SIGKILL')
      await closed
      while (renderers().length > 0) await new Promise((look) => setTimeout(look, 20))
      context = await launch()
    },
    async close() {
      await context.close()
      server.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}
