'use strict'

const { boolean, checkOptions, integer, oneOf } = require('./arguments.cjs')
const { invalid, show } = require('./errors.cjs')
const { STORES, fileURLToPath, resolve } = require('./host.cjs')

const OPTIONS = [
  'dim',
  'metric',
  'm',
  'mMax',
  'mMax0',
  'efConstruction',
  'vectorStorageType',
  'pagedMaxCachedPages',
  'reinit',
  'vectorFilePath',
  'cacheBytes',
  'durability',
  'storage',
  'linkPolicy',
  'quantization',
  'readOnly',
  'repair',
  'seed',
  'threads',
  'indexes',
  'from',
  'signal',
  'onProgress',
  'workerUrl',
  'wasmUrl',
  'restUrl',
]
const MEMORY = ':memory:'
const MAX_U32 = 2 ** 32 - 1

function checkPath(path, name) {
  let text = path
  if (path instanceof URL) {
    if (path.protocol !== 'file:') throw invalid(`${name} must be a file: URL, not ${show(path.href)}`)
    text = fileURLToPath(path)
  }
  if (typeof text !== 'string' || text === '') {
    throw invalid(`${name} must be a path (a string that is not empty, or a file: URL), not ${show(path)}`)
  }
  if (text.includes('\0') || !text.isWellFormed()) throw invalid(`${name} ${show(text)} is not a valid path`)
  return text
}

/** The absolute path of a file or directory, for what cannot be in memory. */
function checkPlace(path, name) {
  const text = checkPath(path, name)
  if (text === MEMORY) throw invalid(`${name} must be a path on disk, not '${MEMORY}'`)
  return resolve(text)
}

function checkSeed(seed) {
  if (seed === undefined) return undefined
  if (typeof seed === 'bigint' && seed >= 0n && seed < 1n << 64n) return seed
  if (Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed)
  throw invalid(
    `seed must be an integer from 0 to 2^53 - 1 or a bigint from 0 to 2^64 - 1, not ${show(seed)}`,
  )
}

function checkStorage(storage, memory) {
  oneOf(storage, 'storage', [...STORES, 'memory'])
  if (storage === undefined) return undefined
  if (memory !== (storage === 'memory')) {
    throw invalid(
      memory
        ? `storage '${storage}' needs a directory: give a path instead of '${MEMORY}'`
        : `storage 'memory' keeps nothing on disk: open '${MEMORY}' instead of a path`,
    )
  }
  return storage
}

function checkUrl(url, name) {
  const text = url instanceof URL ? url.href : url
  if (text === undefined || (typeof text === 'string' && text !== '')) return text
  throw invalid(`${name} must be a URL (a string that is not empty, or a URL), not ${show(url)}`)
}

/** Which payload paths to index, or `undefined` where left out. */
function checkIndexes(indexes) {
  if (indexes === undefined) return undefined
  const { include = [], exclude = [] } = checkOptions(indexes, ['include', 'exclude'], 'indexes')
  for (const [name, paths] of Object.entries({ include, exclude })) {
    if (!Array.isArray(paths) || !paths.every((path) => typeof path === 'string' && path !== '')) {
      throw invalid(`indexes.${name} must be an array of payload paths, such as ['year', 'cast.name']`)
    }
  }
  return { include, exclude }
}

/** The arguments of `open`, as the addon takes them. Ranges with a meaning are the engine's to check. */
function checkOpen(path, options) {
  const text = checkPath(path, 'path')
  const memory = text === MEMORY
  const given = checkOptions(options, OPTIONS, 'open')
  const count = (name) => integer(given[name], name, 0, MAX_U32)
  oneOf(given.vectorStorageType, 'vectorStorageType', [0, 1])
  if (boolean(given.reinit, 'reinit') && boolean(given.readOnly, 'readOnly')) {
    throw invalid('reinit deletes what is there, which readOnly forbids: give one of them')
  }
  if (given.from === undefined && (given.signal !== undefined || given.onProgress !== undefined)) {
    throw invalid('signal and onProgress go with from: leave them out')
  }
  if (given.from !== undefined && given.readOnly) {
    throw invalid('from makes a database, which readOnly forbids: give one of them')
  }
  return {
    path: memory ? MEMORY : resolve(text),
    vectorFilePath:
      given.vectorFilePath === undefined
        ? undefined
        : resolve(checkPath(given.vectorFilePath, 'vectorFilePath')),
    dim: count('dim'),
    metric: oneOf(given.metric, 'metric', ['l2', 'cosine', 'dot']),
    m: count('m'),
    mMax: count('mMax'),
    mMax0: count('mMax0'),
    efConstruction: count('efConstruction'),
    vectorStorageType: given.vectorStorageType,
    pagedMaxCachedPages: count('pagedMaxCachedPages'),
    reinit: given.reinit,
    cacheBytes: integer(given.cacheBytes, 'cacheBytes', 0, Number.MAX_SAFE_INTEGER),
    durability: oneOf(given.durability, 'durability', ['buffered', 'sync']),
    storage: checkStorage(given.storage, memory),
    linkPolicy: oneOf(given.linkPolicy, 'linkPolicy', ['eager', 'lazy', 'adaptive']),
    quantization: oneOf(given.quantization, 'quantization', ['sq8', 'rabitq', 'none']),
    readOnly: boolean(given.readOnly, 'readOnly'),
    repair: boolean(given.repair, 'repair'),
    seed: checkSeed(given.seed),
    threads: integer(given.threads, 'threads', 1, 1024),
    indexes: checkIndexes(given.indexes),
    workerUrl: checkUrl(given.workerUrl, 'workerUrl'),
    wasmUrl: checkUrl(given.wasmUrl, 'wasmUrl'),
    restUrl: checkUrl(given.restUrl, 'restUrl'),
  }
}

module.exports = { checkOpen, checkPath, checkPlace }
