// A worker that holds one sentence of the stores' contracts over what a page's worker keeps a database in.
import init, { hold, sentences } from 'asteroid-engine'
import { useFiles } from '../../../wasm/js/worker/host.mjs'
import * as indexeddb from '../../../wasm/js/worker/mirror.mjs'
import * as opfs from '../../../wasm/js/worker/opfs.mjs'

const PLACES = { opfs, indexeddb }

/** What the last panic said. */
let said = ''
console.error = (message) => {
  said = message
}

function contents(files) {
  return files.map((file) => {
    const bytes = new Uint8Array(file.len())
    let at = 0
    while (at < bytes.length) at += file.read(at, bytes.subarray(at))
    return bytes
  })
}

const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at])

/** Holds it over files of its own, which must be the same when they are opened again. Answers how many bytes they have. */
async function holdInFiles({ storage, sentence, seed }) {
  const { openFiles } = PLACES[storage]
  const name = `conformance ${sentence}`.slice(0, 90)
  const files = await openFiles(name)
  useFiles(files.files)
  hold(sentence, false, seed)
  await files.settled?.(true)
  const before = contents(files.files)
  files.close()
  const again = await openFiles(name)
  const after = contents(again.files)
  again.close()
  if (!before.every((bytes, at) => same(bytes, after[at])))
    throw new Error('what was stored is something else')
  return before.reduce((sum, bytes) => sum + bytes.length, 0)
}

function holdInMemory({ sentence, seed }) {
  hold(sentence, true, seed)
  return 0
}

addEventListener('message', async ({ data }) => {
  try {
    await init({ module_or_path: new URL('engine_bg.wasm', import.meta.url) })
    if (!data.sentence) return postMessage({ ok: sentences() })
    const heldIn = data.storage === 'memory' ? holdInMemory : holdInFiles
    postMessage({ ok: await heldIn(data) })
  } catch (error) {
    postMessage({ error: said || String(error?.stack ?? error) })
  }
})
