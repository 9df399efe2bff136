// The first thing a user copies out of README.md runs as it stands, against the packed package.
import assert from 'node:assert/strict'
import test from 'node:test'
import { project, sh } from './packed.mjs'
import { codeBlock, section } from './readme.mjs'

test('the quickstart of README.md', (t) => {
  const code = codeBlock(section('Quickstart'), 'js')
  const folder = project(t, { type: 'module' }, { 'quickstart.js': code })
  const promised = codeBlock(section('Quickstart'), 'text')
  assert.equal(sh(process.execPath, ['quickstart.js'], folder), promised)
  // A user runs it twice.
  assert.equal(sh(process.execPath, ['quickstart.js'], folder), promised)
})
