// What gets its turns beside a loop of calls.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

/** Awaits `call(i)` many times; how often immediates and a timer came by meanwhile, and most calls between two immediates. */
export async function turnsBeside(many, call) {
  let calls = 0
  let ended = false
  const seen = { immediates: 0, intervals: 0, timeout: undefined, most: 0 }
  let inTurn = 0
  const chain = () => {
    seen.immediates++
    inTurn = 0
    if (!ended) setImmediate(chain)
  }
  setImmediate(chain)
  const interval = setInterval(() => seen.intervals++, 1)
  setTimeout(() => {
    seen.timeout = calls
  }, 0)
  for (; calls < many; calls++) {
    await call(calls)
    seen.most = Math.max(seen.most, ++inTurn)
  }
  ended = true
  clearInterval(interval)
  return seen
}

/** Asserts that sockets and files are served beside a loop of `call(i)`, before `most` of them are over; how many there were. */
export async function assertServedBeside(t, most, call) {
  const server = createServer((socket) => socket.pipe(socket))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const echo = (text) =>
    new Promise((resolve, reject) => {
      const socket = connect(server.address().port, '127.0.0.1', () => socket.end(text))
      let heard = ''
      socket.on('data', (data) => {
        heard += data
      })
      socket.on('end', () => resolve(heard))
      socket.on('error', reject)
    })
  // Ends by itself, so that a loop that lets nobody in fails instead of hanging.
  let calls = 0
  let wanted = true
  const calling = (async () => {
    for (; wanted && calls < most; calls++) await call(calls)
  })()
  for (let round = 0; round < 10; round++) {
    assert.equal(await echo(`round ${round}`), `round ${round}`)
    assert.ok((await readFile(fileURLToPath(import.meta.url))).length > 0)
    assert.ok(calls < most, `nothing came before ${most} calls were over`)
  }
  wanted = false
  await calling
  return calls
}
