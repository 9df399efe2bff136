// Keeps the page, the engine and what the embedder knows, so that the page works without a network. The passages
// themselves are in the database. While there is a network, what is served wins.

const CACHE = 'asteroid-demo-1'
const KEPT = [
  '/',
  '/style.css',
  '/icon.svg',
  '/app.webmanifest',
  '/app.mjs',
  '/filters.mjs',
  '/format.mjs',
  '/library.mjs',
  '/results.mjs',
  '/timings.mjs',
  '/lexical-embedder.mjs',
  '/asteroid-db/index.mjs',
  '/asteroid-db/worker.mjs',
  '/asteroid-db/asteroid.wasm',
  '/asteroid-db/asteroid-rest.wasm',
  '/data/info.json',
  '/data/embedder.json',
]

addEventListener('install', (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE)
      await cache.addAll(KEPT)
      await self.skipWaiting()
    })(),
  )
})

addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name)
      await self.clients.claim()
    })(),
  )
})

addEventListener('fetch', (event) => {
  const { pathname, origin } = new URL(event.request.url)
  if (event.request.method === 'GET' && origin === location.origin && KEPT.includes(pathname))
    event.respondWith(answer(event.request, pathname))
})

async function answer(request, path) {
  const cache = await caches.open(CACHE)
  try {
    const response = await fetch(request)
    if (response.ok) await cache.put(path, response.clone())
    return response
  } catch (error) {
    const kept = await cache.match(path)
    if (kept) return kept
    throw error
  }
}
