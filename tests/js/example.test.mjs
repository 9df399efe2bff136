// The example behind `npm start`: how it splits text, what its embedder promises, and a whole run of it.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { createEmbedder } from '../../examples/lexical-embedder.mjs'
import { fromDeclarations, fromMarkdown } from '../../examples/lib/passages.mjs'
import { repository, sh } from './packed.mjs'

const words = (count, word) => Array.from({ length: count }, () => word).join(' ')

test('Markdown becomes passages under their headings', () => {
  const source = [
    '# Guide',
    'An [introduction](https://x.y) with `code` and **weight**.',
    '',
    '## Install',
    '```sh',
    '# not a heading',
    '```',
    words(70, 'long'),
    '',
    'tail',
    '### Deep',
    words(160, 'deep'),
  ].join('\n')
  const passages = [...fromMarkdown(source, 'node_modules/@scope/thing/README.md')]
  const titles = passages.map(({ title }) => title)
  assert.deepEqual(titles, [
    '@scope/thing > Guide',
    '@scope/thing > Guide > Install',
    '@scope/thing > Guide > Install',
    '@scope/thing > Guide > Install > Deep',
    '@scope/thing > Guide > Install > Deep',
  ])
  assert.equal(passages[0].text, 'An introduction with code and weight.')
  assert.equal(passages[2].text, 'tail')
  assert.equal(passages[3].text.split(' ').length, 150)
})

test('doc comments become passages under what they document', () => {
  const source =
    '/**\n * Reads a {@link File}.\n * ```js\n * x()\n * ```\n */\nexport declare function readIt(path: string): void\n'
  assert.deepEqual(
    [...fromDeclarations(source, 'node_modules/@types/node/fs.d.ts')],
    [{ title: '@types/node fs.d.ts > readIt', text: 'Reads a File.' }],
  )
})

test('texts that share words are nearer than texts that do not, also after saving', async () => {
  const texts = [
    'Reads a file line by line with a stream interface.',
    'Compresses a buffer with gzip.',
    'Splits work over all processor cores in parallel.',
  ]
  const embedder = createEmbedder()
  await embedder.fit(texts)
  const rows = await embedder.embed(texts)
  const restored = createEmbedder(JSON.parse(JSON.stringify(embedder.save())))
  assert.deepEqual(await restored.embed(texts), rows)

  const query = await restored.embed(['reading lines of a file', 'parallelCores', '?!'])
  const similarity = (q, row) => {
    let sum = 0
    for (let i = 0; i < embedder.dim; i++) sum += query[q * embedder.dim + i] * rows[row * embedder.dim + i]
    return sum
  }
  assert.ok(similarity(0, 0) > similarity(0, 1) && similarity(0, 0) > similarity(0, 2))
  assert.ok(similarity(1, 2) > similarity(1, 0) && similarity(1, 2) > similarity(1, 1))
  for (let row = 0; row < 3; row++) {
    const norm = Math.hypot(...rows.subarray(row * embedder.dim, (row + 1) * embedder.dim))
    assert.ok(Math.abs(norm - 1) < 1e-5)
  }
  assert.ok(query.every(Number.isFinite))
})

test('the whole example: store, reopen, answer; the second run stores nothing', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'asteroid-example-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const docs = join(folder, 'docs')
  const example = join(repository, 'examples/search-docs.mjs')
  const ask = (...args) =>
    sh(process.execPath, [example, ...args], folder, { ASTEROID_DOCS: docs, NO_COLOR: '1' })

  const first = ask()
  const passages = Number(/Gathered\s+([\d,]+) passages/.exec(first)[1].replaceAll(',', ''))
  assert.ok(passages > 2000, `only ${passages} passages were found`)
  assert.match(first, new RegExp(`Opened ${passages.toLocaleString('en-US')} passages`))
  assert.equal(first.match(/^\? /gm).length, 3)
  assert.equal(first.match(/^ {2}\d\. .*distance \d\.\d{3}$/gm).length, 9)
  for (const line of first.split('\n')) assert.ok(line.length <= 80, `longer than 80 columns: ${line}`)

  const second = ask('LOCKED: another handle, in another process, holds the database')
  assert.doesNotMatch(second, /Storing|changed/)
  assert.equal(second.match(/^\? /gm).length, 1)
  assert.match(second, /README.md > Asteroid DB > Error codes/)

  const notes = `${docs}.json`
  writeFileSync(notes, JSON.stringify({ ...JSON.parse(readFileSync(notes, 'utf8')), fingerprint: 'other' }))
  assert.match(ask('anything'), /changed since it was stored[\s\S]*npm start -- --rebuild/)
})
