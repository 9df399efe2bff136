'use strict'

const { invalid, show } = require('./errors.cjs')
const { filterText } = require('./filters.cjs')

const MAX_K = 1_000_000
const MIN_RECALL = 0.5
const MAX_RECALL = 0.999
const INCLUDES = ['payload', 'vector']

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, change)
    }
    row = next
  }
  return row[b.length]
}

/** The known name that a misspelt one is closest to. */
function nearest(name, known) {
  const plain = (text) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
  const far = known.map((candidate) => distance(plain(name), plain(candidate)))
  return known[far.indexOf(Math.min(...far))]
}

/** Refuses anything but a plain bag of the known options. */
function checkOptions(options, known, what) {
  if (options === undefined) return {}
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw invalid(`the options of ${what} must be an object, not ${show(options)}`)
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw invalid(
        `${what} has no option ${show(name)}: did you mean '${nearest(name, known)}'? It takes ${known.join(', ')}`,
      )
    }
  }
  return options
}

/** An integer option within its range, or `undefined` where left out. */
function integer(value, name, low, high) {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw invalid(`${name} must be an integer from ${low} to ${high}, not ${show(value)}`)
  }
  return value
}

function boolean(value, name) {
  if (value !== undefined && typeof value !== 'boolean') {
    throw invalid(`${name} must be true or false, not ${show(value)}`)
  }
  return value
}

function oneOf(value, name, allowed) {
  if (value !== undefined && !allowed.includes(value)) {
    throw invalid(`${name} must be one of ${allowed.map(show).join(', ')}, not ${show(value)}`)
  }
  return value
}

/** An `AbortSignal`, or `undefined`. */
function checkSignal(signal) {
  if (signal === undefined) return undefined
  if (typeof signal?.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw invalid(`signal must be an AbortSignal, not ${show(signal)}`)
  }
  return signal
}

function checkProgress(onProgress) {
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid(`onProgress must be a function, not ${show(onProgress)}`)
  }
  return onProgress
}

/** Which columns to bring back. */
function checkInclude(include) {
  if (include === undefined) return { payload: false, vector: false }
  if (!Array.isArray(include)) {
    throw invalid(`include must be an array of 'payload' and 'vector', not ${show(include)}`)
  }
  for (const column of include) oneOf(column, 'every entry of include', INCLUDES)
  return { payload: include.includes('payload'), vector: include.includes('vector') }
}

/** A number of milliseconds, or `undefined` where there is no limit. */
function checkDeadline(deadline) {
  if (deadline === undefined || deadline === Number.POSITIVE_INFINITY) return undefined
  if (typeof deadline !== 'number' || !(deadline > 0)) {
    throw invalid(`deadline must be a positive number of milliseconds, not ${show(deadline)}`)
  }
  return deadline
}

function checkRecall(recall, efSearch) {
  if (recall === undefined) return undefined
  if (typeof recall !== 'number' || !(recall >= MIN_RECALL && recall <= MAX_RECALL)) {
    throw invalid(`recall must be a number from ${MIN_RECALL} to ${MAX_RECALL}, not ${show(recall)}`)
  }
  if (efSearch !== undefined) throw invalid('recall decides on efSearch: give one of them, not both')
  return recall
}

/** The arguments of a search, as the addon takes them. */
function checkSearch(options, known, what) {
  const given = checkOptions(options, known, what)
  const k = integer(given.k, 'k', 1, MAX_K) ?? 10
  const offset = integer(given.offset, 'offset', 0, MAX_K - 1) ?? 0
  if (k + offset > MAX_K) throw invalid(`k + offset must be at most ${MAX_K}, not ${k + offset}`)
  const { maxDistance } = given
  if (maxDistance !== undefined && (typeof maxDistance !== 'number' || Number.isNaN(maxDistance))) {
    throw invalid(`maxDistance must be a number, not ${show(maxDistance)}`)
  }
  return {
    signal: checkSignal(given.signal),
    args: {
      k,
      efSearch: integer(given.efSearch, 'efSearch', 1, MAX_K),
      recall: checkRecall(given.recall, given.efSearch),
      deadline: checkDeadline(given.deadline),
      offset,
      maxDistance: maxDistance === Number.POSITIVE_INFINITY ? undefined : maxDistance,
      ...checkInclude(given.include),
      filter: filterText(given.filter),
      explain: boolean(given.explain, 'explain') ?? false,
    },
  }
}

module.exports = {
  boolean,
  checkInclude,
  checkOptions,
  checkProgress,
  checkSearch,
  checkSignal,
  integer,
  oneOf,
}
