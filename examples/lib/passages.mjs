// Gathers documentation on this machine and splits it into titled passages.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join, relative, sep } from 'node:path'

const MOST_PASSAGES = 20_000
const MOST_FILE_BYTES = 2_000_000
const SHORTEST_WORDS = 16
const ENOUGH_WORDS = 60
const MOST_WORDS = 150

/**
 * Markdown of the project, of its npm packages and of its Rust crates, then the doc comments of TypeScript
 * declarations: `{ files, fingerprint, passages() }`, where a passage is `{ title, file, source, kind, owner, text, words }`:
 * `source` is 'project', 'npm' or 'crates', `kind` 'guide' or 'api', `owner` the package or crate. Up to 20,000 passages.
 * The fingerprint changes with any byte of any file.
 */
export function gather(root) {
  const files = [...listFiles(root)].filter(({ path }) => statSync(path).size <= MOST_FILE_BYTES)
  const sum = createHash('sha256')
  for (const file of files) {
    file.text = readFileSync(file.path, 'utf8')
    sum.update(`${file.name}\0${file.text.length}\0`).update(file.text)
  }
  return { files, fingerprint: sum.digest('hex'), passages: () => split(files) }
}

function split(files) {
  const passages = []
  const seen = new Set()
  for (const file of files) {
    const split = file.name.endsWith('.md') ? fromMarkdown : fromDeclarations
    for (const { title, text } of split(file.text, file.name)) {
      const words = text.split(/\s+/).length
      // Packages repeat each other's licences, badges and generated text.
      if (words < SHORTEST_WORDS || seen.has(text)) continue
      seen.add(text)
      passages.push({ title, file: file.name, ...originOf(file), text, words })
      if (passages.length === MOST_PASSAGES) return passages
    }
  }
  return passages
}

/** Where a file comes from and what it is. */
function originOf({ name, crate }) {
  const kind = name.endsWith('.md') ? 'guide' : 'api'
  if (crate) return { source: 'crates', kind, owner: crate }
  return name.includes('node_modules/')
    ? { source: 'npm', kind, owner: ownerOf(name) }
    : { source: 'project', kind, owner: 'asteroid-db' }
}

function* listFiles(root) {
  const skipped = new Set(['node_modules', 'target', 'data', '.git', '.cache'])
  yield* walk(
    root,
    (name) => name.endsWith('.md'),
    skipped,
    (path) => relative(root, path),
  )
  const packages = join(root, 'node_modules')
  yield* walk(
    packages,
    (name) => name.endsWith('.md'),
    new Set(['.cache']),
    (path) => relative(root, path),
  )
  yield* crateFiles(root)
  yield* walk(
    packages,
    (name) => name.endsWith('.d.ts'),
    new Set(['.cache']),
    (path) => relative(root, path),
  )
}

function* walk(folder, wanted, skipped, nameOf) {
  if (!existsSync(folder)) return
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory() && !skipped.has(entry.name)) yield* walk(path, wanted, skipped, nameOf)
    else if (entry.isFile() && wanted(entry.name)) yield { path, name: nameOf(path).split(sep).join('/') }
  }
}

// Only crates that the lockfile names: what else lies in the registry cache has nothing to do with the project.
function* crateFiles(root) {
  const lock = join(root, 'Cargo.lock')
  const sources = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'registry/src')
  if (!existsSync(lock) || !existsSync(sources)) return
  const crates = [...readFileSync(lock, 'utf8').matchAll(/^name = "(.+)"\nversion = "(.+)"\nsource = /gm)]
  for (const registry of readdirSync(sources)) {
    for (const [, name, version] of crates) {
      const folder = join(sources, registry, `${name}-${version}`)
      const isGuide = (file) => file.endsWith('.md')
      const nameOf = (path) => `${name}-${version}/${relative(folder, path)}`
      for (const file of walk(folder, isGuide, new Set(['target']), nameOf)) yield { ...file, crate: name }
    }
  }
}

/** Paragraphs under their headings: short neighbours joined up to some 60 words, long ones cut at 150. */
export function* fromMarkdown(source, name) {
  const headings = []
  let pending = []
  const title = () => [titleOfFile(name), ...headings.filter(Boolean)].slice(0, 4).join(' > ')
  function* flush() {
    const words = pending.flat()
    pending = []
    const at = title()
    for (let i = 0; i < words.length; i += MOST_WORDS) {
      yield { title: at, text: words.slice(i, i + MOST_WORDS).join(' ') }
    }
  }
  for (const block of blocks(source)) {
    if (block.level) {
      yield* flush()
      headings.length = block.level - 1
      headings[block.level - 1] = plain(block.text)
      continue
    }
    const words = plain(block.text).split(' ').filter(Boolean)
    if (words.length === 0) continue
    pending.push(words)
    if (pending.flat().length >= ENOUGH_WORDS) yield* flush()
  }
  yield* flush()
}

function* blocks(source) {
  let paragraph = []
  let fence
  for (const line of [...source.split(/\r?\n/), '']) {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1]
    if (fence) {
      if (mark?.startsWith(fence)) fence = undefined
      continue
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line)
    if (mark || heading || line.trim() === '') {
      if (paragraph.length > 0) yield { text: paragraph.join(' ') }
      paragraph = []
      if (mark) fence = mark
      if (heading) yield { level: heading[1].length, text: heading[2] }
    } else if (paragraph.length > 0 && /^(=+|-+)\s*$/.test(line)) {
      yield { level: line[0] === '=' ? 1 : 2, text: paragraph.join(' ') }
      paragraph = []
    } else {
      // A list item or a table row says one thing of its own.
      if (/^\s*([-*+]|\d+[.)]|\|)\s/.test(line) && paragraph.length > 0) {
        yield { text: paragraph.join(' ') }
        paragraph = []
      }
      paragraph.push(line.trim())
    }
  }
}

/** Doc comments with the name that they document. */
export function* fromDeclarations(source, name) {
  const place = titleOfFile(name)
  for (const [, comment, after] of source.matchAll(/\/\*\*([\s\S]*?)\*\/\s*([^\n]*)/g)) {
    const lines = comment.split('\n').map((line) => line.replace(/^\s*\* ?/, ''))
    const kept = lines.join('\n').replace(/```[\s\S]*?(```|$)/g, ' ')
    const words = plain(kept).split(' ').filter(Boolean)
    const symbol =
      /(?:function|class|interface|type|const|let|var|namespace|enum|module)\s+([\w$.]+)/.exec(after)?.[1] ??
      /^(?:(?:export|declare|readonly|static|abstract|public|private|protected|get|set)\s+)*['"]?([\w$]+)/.exec(
        after,
      )?.[1]
    const title = symbol ? `${place} > ${symbol}` : place
    for (let i = 0; i < words.length; i += MOST_WORDS) {
      yield { title, text: words.slice(i, i + MOST_WORDS).join(' ') }
    }
  }
}

/** The first part of a path below the last `node_modules`, two where it is a scope. */
function ownerOf(name) {
  const parts = name.split('/')
  const at = parts.lastIndexOf('node_modules')
  const scoped = parts[at + 1]?.startsWith('@')
  return parts.slice(at + 1, at + (scoped ? 3 : 2)).join('/')
}

function titleOfFile(name) {
  const parts = name.split('/')
  const at = parts.lastIndexOf('node_modules')
  const owner = ownerOf(name)
  const file = basename(name)
  if (at < 0 && parts.length === 1) return file
  return /^readme\.md$/i.test(file) ? owner : `${owner} ${file}`
}

/** Markdown inline marks, HTML, badges and link targets left out; white space made single. */
function plain(text) {
  return text
    .replace(/<!--[\s\S]*?(-->|$)/g, ' ')
    .replace(/!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])/g, ' ')
    .replace(/\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])/g, '$1')
    .replace(/^\[[^\]]+\]:\s.*$/gm, ' ')
    .replace(/<\/?[a-zA-Z][^>]*>/g, ' ')
    .replace(/\{@link(?:code|plain)?\s+([^}|]*)[^}]*\}/g, '$1')
    .replace(/https?:\/\/\S+/g, ' ')
    .replace(/[`*|]+|^[\s>#-]+|\s:?-{2,}:?\s/g, ' ')
    .replace(/\s+([.,;:!?)])/g, '$1')
    .replace(/\s+/g, ' ')
    .trim()
}
