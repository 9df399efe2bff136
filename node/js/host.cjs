'use strict'

// What the facade needs of the system it runs on. The browser's build puts wasm/js/page/host.mjs in this place.
const { resolve } = require('node:path')
const { fileURLToPath } = require('node:url')

module.exports = {
  /** Stores that a database with a path may name. */
  STORES: ['redb', 'rocksdb'],
  byteLength: (text) => Buffer.byteLength(text),
  fileURLToPath,
  resolve,
  /** Lets the event loop turn once. */
  turn: () => new Promise(setImmediate),
}
