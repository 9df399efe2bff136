// What a search found, as elements.
import { element, number } from './format.mjs'

const KINDS = { guide: 'Guide', api: 'API' }
const MOST_CHARACTERS = 420
/** Words that are everywhere. */
const COMMON = new Set(
  'and are can does for from has how its not that the this was what when where which with you'.split(' '),
)

/** Shows hits in `list`, after those that are there where `further` says so. */
export function showHits(list, hits, text, further) {
  const words = wordsOf(text)
  const items = hits.map((hit) => element('li', {}, article(hit, words)))
  if (further) list.append(...items)
  else list.replaceChildren(...items)
}

function article({ payload, distance }, words) {
  const { title, text, file, kind, words: count } = payload
  const parts = title.split(' > ')
  const last = parts.pop()
  const path = parts.length > 0 ? [element('span', { class: 'path' }, `${parts.join(' / ')} / `)] : []
  const near = Math.max(0, 1 - distance)
  const label = `similarity ${near.toFixed(2)} of 1`
  return element(
    'article',
    {},
    element(
      'header',
      {},
      element('h3', {}, ...path, ...marked(last, words)),
      element(
        'span',
        { class: 'near', title: `distance ${distance.toFixed(4)}` },
        element('meter', { min: 0, max: 1, value: near, 'aria-label': label }),
        near.toFixed(2),
      ),
    ),
    element('p', {}, ...marked(shorten(text), words)),
    element(
      'footer',
      {},
      element('span', { class: 'tag' }, KINDS[kind] ?? kind),
      element('code', {}, file),
      element('span', {}, `${number(count)} words`),
    ),
  )
}

function shorten(text) {
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS - 3).trimEnd()}...`
}

/** Beginnings of words worth marking: what the embedder takes for the same word. */
function wordsOf(text) {
  const found = text.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? []
  const telling = found.filter((word) => !COMMON.has(word))
  return [...new Set(telling.map((word) => word.replace(/(?<=...)(ing|ed|es|s)$/, '')))].slice(0, 24)
}

function marked(text, words) {
  if (words.length === 0) return [text]
  const pattern = new RegExp(
    `(?<![\\p{L}\\p{N}])(?:${words.join('|')})(?:ing|ed|es|s)?(?![\\p{L}\\p{N}])`,
    'giu',
  )
  const pieces = []
  let from = 0
  for (const { 0: word, index } of text.matchAll(pattern)) {
    pieces.push(text.slice(from, index), element('mark', {}, word))
    from = index + word.length
  }
  pieces.push(text.slice(from))
  return pieces
}

/** The call that a developer would write for this search. */
export function showCall(place, code, text, { k, offset, filter }) {
  const options = [`k: ${k}`]
  if (offset > 0) options.push(`offset: ${offset}`)
  if (filter) options.push(`filter: ${literal(filter)}`)
  options.push("include: ['payload']")
  place.hidden = false
  code.textContent = `const query = await embed(${quoted(text)})\nconst hits = await db.search(query, {\n${options
    .map((option) => `  ${option},`)
    .join('\n')}\n})`
}

const quoted = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

function literal(value) {
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object') return String(value)
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key}: ${literal(inner)}`)
    .join(', ')} }`
}
