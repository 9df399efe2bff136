// The demo page in Chromium: imports what Node exported, searches as one types, goes on without a network, and can be
// used by everybody. Needs the addon and `npm run build:wasm`.
//
// ASTEROID_SCREENSHOTS   a folder for pictures of the page, light and dark, narrow and wide
import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { exportLibrary } from '../../examples/demo/export.mjs'
import { serveDemo } from '../../examples/demo/server.mjs'
import { openLibrary } from '../../examples/lib/library.mjs'
import { gather } from '../../examples/lib/passages.mjs'
import { browser } from './browser/chromium.mjs'
import { tool } from './bundlers/tools.mjs'
import { repository } from './packed.mjs'

const PASSAGES = 2_500
const QUESTION = 'abort a request with a signal'
const pictures = process.env.ASTEROID_SCREENSHOTS

const folder = await mkdtemp(join(tmpdir(), 'asteroid-demo-'))
const world = await browser()
test.after(async () => {
  await world.close()
  rmSync(folder, { recursive: true, force: true })
})

const path = join(folder, 'docs')
const found = gather(repository)
const wanted = Number(process.env.ASTEROID_PASSAGES ?? PASSAGES)
const passages = found.passages().filter((_, at, all) => at % Math.ceil(all.length / wanted) === 0)
const docs = { ...found, passages: () => passages }
const { notes } = await openLibrary(path, docs)
const info = await exportLibrary(path, notes)

/** A page of the demo that says what goes wrong in it. */
async function visit(t, url) {
  const page = await world.context.newPage()
  const said = []
  page.on('console', (message) => message.type() === 'error' && said.push(message.text()))
  page.on('pageerror', (error) => said.push(error.stack))
  t.after(() => page.close())
  await page.goto(url)
  return { page, said }
}

async function ready(page) {
  await page.waitForFunction(() => ['ready', 'trouble'].includes(document.body.dataset.state))
  const trouble = await page.evaluate(
    () => !document.getElementById('trouble').hidden && document.getElementById('trouble').textContent,
  )
  assert.equal(trouble, false)
}

/** The titles found for a question that is typed. */
async function ask(page, text) {
  await page.getByLabel('Search the documentation').fill('')
  await page.getByLabel('Search the documentation').pressSequentially(text)
  await page.waitForFunction((text) => new URL(location.href).searchParams.get('q') === text, text)
  return page.locator('#hits h3').allTextContents()
}

test('the export is kept until the passages change', async () => {
  assert.equal(info.rows, notes.rows)
  assert.deepEqual(await exportLibrary(path, notes), info)
})

test('imports with progress, finds what Node finds, filters, reloads, works offline', {
  timeout: 240_000,
}, async (t) => {
  const server = await serveDemo(path, 0)
  t.after(() => server.close())
  const { page, said } = await visit(t, server.url)
  await ready(page)
  assert.match(await page.locator('#import-figures').textContent(), /100 %/)
  assert.match(await page.locator('#facts').textContent(), /OPFS/)
  assert.match(await page.locator('#facts').textContent(), /Imported in/)

  const titles = await ask(page, QUESTION)
  assert.equal(titles.length, 10)
  const { open } = await import('asteroid-db')
  const { createEmbedder } = await import('../../examples/lexical-embedder.mjs')
  const db = await open(path)
  const query = await createEmbedder(notes.embedder).embed([QUESTION])
  const hits = await db.search(query, { k: 10, include: ['payload'] })
  const guides = await db.count({ kind: 'guide', words: { $gte: 60 } })
  await db.close()
  assert.deepEqual(
    titles,
    hits.map(({ payload }) => payload.title.replaceAll(' > ', ' / ')),
  )
  assert.match(await page.locator('#status').textContent(), /The 10 nearest of .* in .* ms/)

  await page.getByRole('radio', { name: /Guides/ }).check()
  await page.locator('#choose-words').fill('60')
  const wanted = new RegExp(`of the ${guides.toLocaleString('en-US')} that match`)
  await page.waitForFunction(
    (text) => document.getElementById('status').textContent.includes(text),
    wanted.source,
  )
  assert.deepEqual(new Set(await page.locator('#hits .tag').allTextContents()), new Set(['Guide']))
  await page.getByRole('button', { name: 'Show more' }).click()
  await page.waitForFunction(() => document.querySelectorAll('#hits > li').length === 20)
  await page.getByRole('button', { name: 'Clear the filters' }).click()
  await page.waitForFunction(() => /nearest of \d/.test(document.getElementById('status').textContent))

  await page.getByText('Works offline').waitFor()
  server.close()
  await page.reload()
  await ready(page)
  assert.match(await page.locator('#facts').textContent(), /Opened in/)
  // The question is in the address, and asked again.
  await page.waitForFunction(() => document.querySelectorAll('#hits > li').length === 10)
  assert.deepEqual(await page.locator('#hits h3').allTextContents(), titles)
  assert.notDeepEqual(await ask(page, 'compress a buffer'), titles)
  const ours = said.filter((text) => !/Failed to load resource|ERR_CONNECTION/.test(text))
  assert.deepEqual(ours, [])
})

test('goes by keyboard alone, and by its labels', { timeout: 240_000 }, async (t) => {
  const server = await serveDemo(path, 0)
  t.after(() => server.close())
  const { page } = await visit(t, server.url)
  await ready(page)
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent)
  assert.equal(await focused(), 'query')
  await page.keyboard.type(QUESTION)
  await page.locator('#hits > li').first().waitFor()
  await page.keyboard.press('Enter')
  assert.equal(await focused(), 'results')
  await page.keyboard.press('/')
  assert.equal(await focused(), 'query')
  await page.keyboard.press('Escape')
  assert.equal(await page.locator('#query').inputValue(), '')
  await page.getByText('Ask something').waitFor()
  const kinds = page.locator('#choose-kind').getByRole('radio')
  await kinds.nth(0).focus()
  await page.keyboard.press('ArrowRight')
  assert.ok(await kinds.nth(1).isChecked())
  assert.equal(await kinds.nth(0).isChecked(), false)

  const axe = readFileSync(await tool('axe-core/axe.min.js'), 'utf8')
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [
      [1280, 900],
      [390, 844],
    ]) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height })
      for (const question of ['', QUESTION]) {
        await page.locator('#query').fill(question)
        if (question) await page.locator('#hits > li').first().waitFor()
        // Colours fade from one scheme to the other, and are poor in between.
        await page.evaluate(() =>
          Promise.allSettled(document.getAnimations().map(({ finished }) => finished)),
        )
        if (pictures) {
          await page.screenshot({
            path: join(pictures, `${colorScheme}-${width}-${question ? 'found' : 'empty'}.png`),
          })
        }
        const violations = await page.evaluate(`${axe}; axe.run().then(({ violations }) =>
          violations.map(({ id, nodes }) => id + ': ' + nodes.map((node) => node.html).join(' ')))`)
        assert.deepEqual(violations, [], `${colorScheme}, ${width} wide`)
        const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
        assert.equal(wide, false, `the page scrolls sideways at ${width}`)
      }
    }
  }
})

test('says what is wrong, and comes back', { timeout: 240_000 }, async (t) => {
  const server = await serveDemo(join(folder, 'nothing'), 0)
  t.after(() => server.close())
  const { page } = await visit(t, server.url)
  await page.getByRole('alert').getByText('could not be opened').waitFor()
  assert.match(await page.locator('#trouble').textContent(), /data\/info\.json.*404/)
  if (pictures) await page.screenshot({ path: join(pictures, 'trouble.png') })
})
