// The declared face and the real one are the same. `npm run typecheck` checks how it may be used.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'node:test'
import { AsteroidDB } from 'asteroid-db'

const text = readFileSync(new URL('../js/index.d.cts', import.meta.url), 'utf8')

test('every method is declared and every declared method exists', () => {
  const body = text.slice(text.indexOf('export class AsteroidDB'))
  // A method with overloads is declared more than once.
  const declared = new Set(
    [...body.matchAll(/^ {2}(?:readonly )?(\w+)(?:<[^(]*>)?[(:]/gm)].map(([, name]) => name),
  )
  const real = Object.getOwnPropertyNames(AsteroidDB.prototype).filter((name) => name !== 'constructor')
  assert.deepEqual([...declared].sort(), real.sort())
})

test('the declared error codes are the real ones', () => {
  const { CODES } = createRequire(import.meta.url)('../js/errors.cjs')
  const list = text.slice(text.indexOf('export type ErrorCode'), text.indexOf('export class AsteroidError'))
  assert.deepEqual(
    [...list.matchAll(/^ {2}\| '(\w+)'/gm)].map(([, code]) => code),
    [...CODES],
  )
})

test('every option of open is declared', () => {
  const source = readFileSync(new URL('../js/open.cjs', import.meta.url), 'utf8')
  const known = [...source.slice(0, source.indexOf(']')).matchAll(/^ {2}'(\w+)'/gm)].map(([, name]) => name)
  const list = /^export interface OpenOptions \{[\s\S]*?^\}/m.exec(text)[0]
  assert.ok(known.length > 10)
  assert.deepEqual([...list.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name]) => name).sort(), known.sort())
})
