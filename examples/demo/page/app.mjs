// The page: brings the library into the browser once, then searches it with every key.
import { createFilters } from './filters.mjs'
import { bytes, element, number, time } from './format.mjs'
import { bringLibrary } from './library.mjs'
import { showCall, showHits } from './results.mjs'
import { createHistory } from './timings.mjs'

const PAGE = 10
const EXAMPLES = [
  'how do I cancel a request with an abort signal?',
  'what happens to my rows when the process dies?',
  'run a loop in parallel on all cores',
  'compress a buffer with gzip',
]

const at = (id) => document.getElementById(id)
const query = at('query')
const history = createHistory(at('history'), at('bars'), at('history-text'))

let library
let filters
let running
let shown = 0

function state(name) {
  document.body.dataset.state = name
}

async function begin() {
  at('trouble').hidden = true
  try {
    library = await bringLibrary(showImport)
  } catch (error) {
    return trouble(error)
  }
  at('import').hidden = true
  filters = createFilters(library.info.facets, search)
  state('ready')
  query.disabled = false
  // Where there is a screen keyboard, it would cover half the page.
  if (matchMedia('(hover: hover)').matches) query.focus({ preventScroll: true })
  await showFacts()
  await search()
}

function showImport({ done, total, waiting }) {
  state('importing')
  at('import').hidden = false
  const bar = at('import-bar')
  if (done === undefined) bar.removeAttribute('value')
  else bar.value = total ? done / total : 0
  at('import-figures').textContent =
    done === undefined ? waiting : `${bytes(done)} of ${bytes(total)}, ${Math.floor((100 * done) / total)} %`
}

function trouble(error) {
  state('trouble')
  at('import').hidden = true
  at('trouble').hidden = false
  at('trouble-title').textContent =
    error.code === 'LOCKED' ? 'The library is open in another tab' : 'The library could not be opened'
  at('trouble-text').textContent = error.code ? `${error.code}: ${error.message}` : error.message
}

async function showFacts() {
  const { db, info, openedMs, importMs } = library
  const stats = await db.stats()
  const names = { opfs: 'OPFS', indexeddb: 'IndexedDB', memory: 'memory' }
  const stored = stats.vectorFileBytes + stats.kvFileBytes + stats.journalBytes
  const cached =
    stats.adjacencyBytes +
    stats.vectorBytes +
    stats.codeBytes +
    stats.kvBytes +
    stats.upperBytes +
    stats.tableBytes
  const rows = {
    Passages: number(stats.rows),
    Vectors: `${db.dim} numbers`,
    Storage: names[stats.storage],
    Stored: bytes(stored),
    'In memory': bytes(cached),
    ...(importMs === undefined ? { 'Opened in': time(openedMs) } : { 'Imported in': time(importMs) }),
    'One file': bytes(info.bytes),
  }
  at('facts').replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  )
  const badge = at('badge-storage')
  badge.hidden = false
  badge.textContent = `${number(stats.rows)} passages in ${names[stats.storage]}`
}

/** Searches for what the field says. A newer search takes an older one's place. */
async function search({ further = false } = {}) {
  if (!library) return
  running?.abort()
  const own = new AbortController()
  running = own
  const text = query.value.trim()
  at('welcome').hidden = text !== ''
  if (text === '') return showNothing()

  const { db, embedder } = library
  const began = performance.now()
  const vector = await embedder.embed([text])
  const embedded = performance.now()
  const filter = filters.filter()
  const offset = further ? shown : 0
  const options = { k: PAGE, offset, filter, include: ['payload'], explain: true, signal: own.signal }
  try {
    const hits = await db.search(vector, options)
    const answered = performance.now()
    const matching = await (filter ? db.count(filter, { signal: own.signal }) : library.info.rows)
    if (running !== own) return
    showHits(at('hits'), hits, text, further)
    shown = offset + hits.length
    at('more').hidden = hits.length < PAGE || shown >= matching
    const { plan, searchMs, selectMs } = hits.explain
    tell({
      matching,
      total: answered - embedded,
      engine: searchMs + selectMs,
      embedding: embedded - began,
      plan,
    })
    history.add(answered - embedded)
    showCall(at('call'), at('code'), text, { k: PAGE, offset, filter })
    remember(text)
  } catch (error) {
    if (error.code === 'ABORTED') return
    trouble(error)
  }
}

function showNothing() {
  at('hits').replaceChildren()
  at('more').hidden = true
  at('call').hidden = true
  at('status').textContent = ''
  remember('')
}

const PLANS = {
  walk: 'a walk of the graph',
  none: 'nothing to look for',
  scan: 'a scan of what matches',
  bridge: 'a walk over bridges',
  sweep: 'a sweep',
}

function tell({ matching, total, engine, embedding, plan }) {
  const few =
    matching < library.info.rows ? ` of the ${number(matching)} that match` : ` of ${number(matching)}`
  const spent = element('span', { class: 'time' }, time(total))
  spent.title = `engine ${time(engine)}, embedding the question ${time(embedding)}`
  at('status').replaceChildren(
    ...(shown === 0 ? ['Nothing matches'] : ['The ', element('b', {}, `${shown} nearest`), few]),
    ' in ',
    spent,
    ` (engine ${time(engine)}) by ${PLANS[plan] ?? plan}`,
  )
}

/** Keeps the question in the address, so that a reload asks it again. */
function remember(text) {
  const url = new URL(location.href)
  if (text) url.searchParams.set('q', text)
  else url.searchParams.delete('q')
  window.history.replaceState(null, '', url)
}

function listen() {
  query.addEventListener('input', () => {
    // The nearest are at the top.
    scrollTo({ top: 0 })
    search()
  })
  at('form').addEventListener('submit', (event) => {
    event.preventDefault()
    at('results').focus()
  })
  at('more').addEventListener('click', () => search({ further: true }))
  at('trouble-again').addEventListener('click', begin)
  at('clear').addEventListener('click', () => filters.clear())
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input:not([type="radio"], [type="range"]), select, textarea')
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault()
      query.focus()
      query.select()
    } else if (event.key === 'Escape' && event.target === query && query.value !== '') {
      event.preventDefault()
      query.value = ''
      search()
    }
  })
  at('examples').append(
    ...EXAMPLES.map((text) => {
      const button = element('button', { type: 'button' }, text)
      button.addEventListener('click', () => {
        query.value = text
        query.focus()
        search()
      })
      return element('li', {}, button)
    }),
  )
  // Narrow pages begin with the filters folded.
  if (matchMedia('(max-width: 820px)').matches) at('filters').open = false
  addEventListener('pagehide', (event) => {
    if (!event.persisted) library?.db.close().catch(() => {})
  })
}

async function prepareOffline() {
  if (!('serviceWorker' in navigator)) return
  await navigator.serviceWorker.register('/sw.mjs')
  await navigator.serviceWorker.ready
  const badge = at('badge-offline')
  const show = () => {
    badge.hidden = false
    badge.className = 'good'
    badge.textContent = navigator.onLine ? 'Works offline' : 'Offline, and working'
  }
  addEventListener('online', show)
  addEventListener('offline', show)
  show()
}

listen()
query.value = new URL(location.href).searchParams.get('q') ?? ''
prepareOffline().catch((error) => console.warn('No service worker:', error))
begin()
