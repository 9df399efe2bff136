// The packed package in a stranger's browser project: built by Vite, webpack and esbuild without any configuration, on
// plain pages, and with its files elsewhere. Each page is opened in Chromium, and inserts and searches.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { browser, serve } from './browser/chromium.mjs'
import { load, tool } from './bundlers/tools.mjs'
import { pack, project, sh } from './packed.mjs'

const USE = `
async function main() {
  const db = await open('movies', { dim: 3, metric: 'cosine', reinit: true, ...globalThis.settings })
  await db.insert(1, new Float32Array([1, 0, 0]), { title: 'Alien' })
  await db.insert('two', [0, 1, 0])
  const [hit] = await db.search([0.9, 0.1, 0], { k: 1, include: ['payload'] })
  const { storage } = await db.stats()
  await db.close()
  const again = await open('movies', globalThis.settings)
  const count = await again.count()
  const refused = await again.insert(1, [1, 0, 0]).then(() => 'taken', (error) => error.code)
  await again.close()
  return [hit.id, hit.payload.title, storage, count, refused].join(' ')
}
globalThis.answer = main().catch((error) => error.stack)
`
const RIGHT = '1 Alien opfs 2 ID_EXISTS'
const MAIN = `import { open } from 'asteroid-db'\n${USE}`
const INLINE = MAIN.replace('asteroid-db', 'asteroid-db/inline')
const page = (script) =>
  `<!doctype html><title>project</title><script type="module" src="${script}"></script>\n`

const world = await browser()
test.after(() => world.close())

/** What the project's page comes to, and what the browser fetched for it. */
async function visit(t, url) {
  const tab = await world.context.newPage()
  t.after(() => tab.close())
  const said = []
  const fetched = []
  tab.on('console', (message) => said.push(message.text()))
  tab.on('pageerror', (error) => said.push(error.stack))
  tab.on('request', (request) => fetched.push(request.url()))
  await tab.goto(url)
  const ready = () =>
    tab.waitForFunction(() => globalThis.answer !== undefined, undefined, { timeout: 60_000 })
  await ready().catch((error) => assert.fail([error.message, ...said].join('\n')))
  return { answer: await tab.evaluate(() => globalThis.answer), fetched, said }
}

/** Serves `folder` and visits it. */
async function open(t, folder, options) {
  const server = await serve(folder, options)
  t.after(() => server.close())
  return visit(t, server.url)
}

async function works(t, folder, options) {
  const { answer, fetched, said } = await open(t, folder, options)
  assert.equal(answer, RIGHT, said.join('\n'))
  return fetched
}

const filesOf = (folder) => readdirSync(folder, { recursive: true }).map(String)

test('the tarball holds the browser build', () => {
  const { files } = pack()
  for (const name of ['index.mjs', 'worker.mjs', 'asteroid.wasm', 'asteroid-rest.wasm', 'inline.mjs'])
    assert.ok(files.includes(`wasm/dist/${name}`), `wasm/dist/${name} is missing`)
})

test('a Vite project, built', async (t) => {
  const folder = project(t, { type: 'module' }, { 'index.html': page('/main.js'), 'main.js': MAIN })
  sh(process.execPath, [await tool('vite/bin/vite.js'), 'build'], folder)
  const built = filesOf(join(folder, 'dist'))
  assert.ok(
    built.some((name) => /asteroid.*\.wasm$/.test(name)),
    built.join(', '),
  )
  const fetched = await works(t, join(folder, 'dist'))
  assert.ok(fetched.some((url) => url.endsWith('.wasm')) || built.length < 3, 'the engine was not fetched')
})

test('a Vite project, on its development server', async (t) => {
  const folder = project(t, { type: 'module' }, { 'index.html': page('/main.js'), 'main.js': MAIN })
  const vite = await load('vite/dist/node/index.js')
  const server = await vite.createServer({
    root: folder,
    configFile: false,
    logLevel: 'error',
    server: { port: 0 },
  })
  t.after(() => server.close())
  await server.listen()
  const { answer, said } = await visit(t, `http://localhost:${server.httpServer.address().port}/`)
  assert.equal(answer, RIGHT, said.join('\n'))
})

for (const mode of ['production', 'development']) {
  test(`a webpack project, ${mode}`, async (t) => {
    const folder = project(t, {}, { 'src/index.js': MAIN })
    const out = sh(process.execPath, [await tool('webpack-cli/bin/cli.js'), '--mode', mode], folder)
    assert.doesNotMatch(out, /ERROR|Critical dependency|not found/)
    writeFileSync(join(folder, 'dist/index.html'), page('main.js'))
    const built = filesOf(join(folder, 'dist'))
    assert.ok(
      built.some((name) => name.endsWith('.wasm')),
      built.join(', '),
    )
    await works(t, join(folder, 'dist'))
  })
}

for (const format of ['esm', 'iife']) {
  test(`an esbuild project, ${format}`, async (t) => {
    const folder = project(t, {}, { 'main.js': MAIN, 'out/index.html': page('main.js') })
    const { build } = await load('esbuild/lib/main.js')
    const { warnings } = await build({
      absWorkingDir: folder,
      entryPoints: ['main.js'],
      bundle: true,
      format,
      outdir: 'out',
      logLevel: 'silent',
    })
    assert.deepEqual(warnings, [])
    await works(t, join(folder, 'out'))
  })
}

test('a plain page, from files and from the single file', async (t) => {
  const bare = (entry) => page('').replace(' src=""', '').replace('</script>', `${entry}${USE}</script>`)
  const from = (name) => bare(`import { open } from './node_modules/asteroid-db/wasm/dist/${name}'`)
  const folder = project(t, {}, { 'index.html': from('index.mjs'), 'single/index.html': '' })
  await works(t, folder)
  const single = join(folder, 'single')
  writeFileSync(join(single, 'index.html'), bare("import { open } from './inline.mjs'"))
  writeFileSync(
    join(single, 'inline.mjs'),
    readFileSync(join(folder, 'node_modules/asteroid-db/wasm/dist/inline.mjs')),
  )
  await works(t, single)
})

test('the inline variant by name, through Vite and webpack', async (t) => {
  const folder = project(t, {}, { 'index.html': page('/src/index.js'), 'src/index.js': INLINE })
  sh(process.execPath, [await tool('vite/bin/vite.js'), 'build'], folder)
  const js = filesOf(join(folder, 'dist')).filter((name) => /\.(m?js|wasm)$/.test(name))
  assert.equal(js.length, 1, js.join(', '))
  await works(t, join(folder, 'dist'))
  rmSync(join(folder, 'dist'), { recursive: true })
  sh(process.execPath, [await tool('webpack-cli/bin/cli.js'), '--mode', 'production'], folder)
  assert.deepEqual(filesOf(join(folder, 'dist')), ['main.js'])
  writeFileSync(join(folder, 'dist/index.html'), page('main.js'))
  await works(t, join(folder, 'dist'))
})

test('files named by hand, under a strict policy; from another origin; and not there', async (t) => {
  const settings = (text) => `<script>globalThis.settings = ${text}</script>`
  const folder = project(t, {}, { 'main.js': MAIN })
  const site = join(folder, 'site')
  mkdirSync(join(site, 'engine'), { recursive: true })
  const dist = join(folder, 'node_modules/asteroid-db/wasm/dist')
  const { build } = await load('esbuild/lib/main.js')
  await build({
    absWorkingDir: folder,
    entryPoints: ['main.js'],
    bundle: true,
    format: 'esm',
    outdir: 'site',
    conditions: ['production'],
    logLevel: 'silent',
  })
  assert.ok(statSync(join(site, 'main.js')).size < 200_000, 'the single file was taken')
  const write = (text) =>
    writeFileSync(
      join(site, 'index.html'),
      `${page('').split('<script')[0]}${settings(text)}\n${page('main.js')}`,
    )

  writeFileSync(join(site, 'engine/w.mjs'), readFileSync(join(dist, 'worker.mjs')))
  writeFileSync(join(site, 'engine/e.wasm'), readFileSync(join(dist, 'asteroid.wasm')))
  write("{ workerUrl: 'engine/w.mjs', wasmUrl: new URL('engine/e.wasm', location.href) }")
  const strict =
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' blob:"
  await works(t, site, { headers: { 'content-security-policy': strict } })

  const cdn = await serve(dist, { headers: { 'access-control-allow-origin': '*' } })
  t.after(() => cdn.close())
  write(`{ workerUrl: '${cdn.url}worker.mjs' }`)
  const fetched = await works(t, site)
  assert.ok(fetched.includes(`${cdn.url}asteroid.wasm`), fetched.join('\n'))

  const lost = join(folder, 'lost')
  mkdirSync(lost)
  writeFileSync(
    join(lost, 'index.html'),
    page('')
      .replace(' src=""', '')
      .replace('</script>', `import { open } from '${cdn.url}index.mjs'${USE}</script>`),
  )
  await works(t, lost)

  write("{ workerUrl: 'nowhere.mjs' }")
  assert.match((await open(t, site)).answer, /AsteroidError.*worker could not be started.*workerUrl/)
  write("{ workerUrl: 'engine/w.mjs', wasmUrl: 'nowhere.wasm' }")
  assert.match(
    (await open(t, site)).answer,
    /AsteroidError.*could not be loaded from http.*nowhere\.wasm.*wasmUrl/,
  )
  write('{ workerUrl: 7 }')
  assert.match((await open(t, site)).answer, /workerUrl must be a URL/)
})

test('importing the browser builds on a server does nothing', (t) => {
  const main = `
const before = Object.keys(globalThis).length
for (const name of ['asteroid-db/browser', 'asteroid-db/inline', './node_modules/asteroid-db/wasm/dist/inline.mjs']) {
  const { open, AsteroidError } = await import(name)
  if (typeof open !== 'function' || typeof AsteroidError !== 'function') throw new Error(name)
}
const { open } = await import('asteroid-db/browser')
const code = await open('movies', { dim: 3 }).then(() => 'opened', (error) => error.code)
console.log(code, Object.keys(globalThis).length - before)
`
  const folder = project(t, { type: 'module' }, { 'main.js': main })
  assert.equal(sh(process.execPath, ['main.js'], folder), 'UNSUPPORTED 0\n')
})

test('a server-side build by Vite takes the Node package', async (t) => {
  const folder = project(t, { type: 'module' }, { 'server.js': MAIN.replace("'movies'", "'./movies'") })
  sh(process.execPath, [await tool('vite/bin/vite.js'), 'build', '--ssr', 'server.js'], folder)
  const text = readFileSync(join(folder, 'dist/server.js'), 'utf8')
  assert.match(text, /from ['"]asteroid-db['"]/)
})
