// Serves the page, the browser build and the exported database. Everything comes from this one origin.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize, sep } from 'node:path'
import { pipeline } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { filesOf } from './export.mjs'

const folder = (path) => fileURLToPath(new URL(path, import.meta.url))
const PAGE = folder('./page')
const ENGINE = folder('../../wasm/dist')
const EMBEDDER = folder('../lexical-embedder.mjs')

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
}

/** The page needs nothing but these: no inline code, nobody else's. `blob:` is how a running call hears of an abort. */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; " +
  "img-src 'self'; connect-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'"

/** Serves the library at `path`; resolves to `{ url, close }` once it does. */
export async function serveDemo(path, port) {
  const { database, info, embedder } = filesOf(path)
  const named = {
    '/': join(PAGE, 'index.html'),
    '/lexical-embedder.mjs': EMBEDDER,
    '/data/docs.asteroid': database,
    '/data/info.json': info,
    '/data/embedder.json': embedder,
  }
  const fileFor = (name) => {
    if (Object.hasOwn(named, name)) return named[name]
    const engine = name.startsWith('/asteroid-db/')
    const base = engine ? ENGINE : PAGE
    const file = normalize(join(base, engine ? name.slice('/asteroid-db'.length) : name))
    return file.startsWith(base + sep) ? file : undefined
  }
  const server = createServer(async (request, response) => {
    const refuse = (status) => response.writeHead(status, { 'content-type': 'text/plain' }).end()
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405)
    try {
      const file = fileFor(decodeURIComponent(new URL(request.url, 'http://localhost').pathname))
      const found = file && (await stat(file))
      if (!found?.isFile()) return refuse(404)
      response.writeHead(200, {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        'content-length': found.size,
        // The page keeps the passages itself.
        'cache-control': file === database ? 'no-store' : 'no-cache',
        'content-security-policy': POLICY,
        'x-content-type-options': 'nosniff',
      })
      if (request.method === 'HEAD') return response.end()
      pipeline(createReadStream(file), response, () => {})
    } catch (error) {
      refuse(error.code === 'ENOENT' || error instanceof URIError ? 404 : 500)
    }
  })
  await new Promise((listening, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', listening)
  })
  return {
    url: `http://localhost:${server.address().port}/`,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
