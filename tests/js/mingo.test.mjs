// Filters mean what mingo's do: generated pairs of filter and document, evaluated by both.
//
// ASTEROID_SEED replays a run, ASTEROID_PAIRS changes its length, ASTEROID_FILTER_EVAL names the evaluator's binary
// (default: built with cargo).
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Query } from 'mingo'

const root = fileURLToPath(new URL('../..', import.meta.url))
const seed = Number(process.env.ASTEROID_SEED ?? Math.floor(Math.random() * 2 ** 32)) >>> 0
const pairs = Number(process.env.ASTEROID_PAIRS ?? 200_000)
const DOCUMENTS = 8

function random(seed) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  const below = (n) => next() % n
  return { below, chance: (percent) => below(100) < percent, pick: (list) => list[below(list.length)] }
}

const KEYS = ['a', 'b', 'c', 'd', 'tags', '0', '1']
const NUMBERS = [
  0,
  -0,
  1,
  2,
  3,
  5,
  -1,
  0.5,
  2.5,
  -7.25,
  1e3,
  1e21,
  5e-7,
  2 ** 53,
  4294967296,
  1.7976931348623157e308,
]
const STRINGS = ['', 'a', 'b', 'ab', 'abc', 'B', '1', '0', 'Zoe', 'caf\u00e9', 'x\ny', 'a.b', '\u4e2d', ' a']
const PATTERNS = [
  'a',
  '^a',
  'b$',
  '^ab?c?$',
  '[a-c]+',
  'x.y',
  '^\\s',
  '\\w\\w',
  '\\d',
  '(a|Z)o?',
  '\\bb',
  '\u00e9',
  '^$',
  '.{3}',
  '[^a]',
]
const TYPES = [
  'number',
  'double',
  'int',
  'long',
  'decimal',
  'string',
  'object',
  'array',
  'bool',
  'boolean',
  'null',
  'undefined',
  'date',
  1,
  2,
  3,
  4,
  6,
  8,
  9,
  10,
  16,
  18,
  19,
]

function scalar(r) {
  switch (r.below(8)) {
    case 0:
    case 1:
    case 2:
      return r.pick(NUMBERS)
    case 3:
    case 4:
    case 5:
      return r.pick(STRINGS)
    case 6:
      return null
    default:
      return r.chance(50)
  }
}

// Each document leans to its own mixture, so that plain, nested, array-heavy and null-heavy ones all come.
function mixture(r) {
  // Records: arrays within objects within arrays, over few keys, where paths go through several of them.
  if (r.chance(35))
    return { object: 25, array: 75, nil: r.pick([0, 10]), keys: ['a', 'b'], records: r.pick([50, 85]) }
  return {
    object: r.pick([5, 25, 45]),
    array: r.pick([5, 30, 50]),
    nil: r.pick([0, 5, 40]),
    keys: KEYS,
    records: 0,
  }
}

function value(r, mix, depth) {
  if (r.chance(mix.nil)) return null
  if (depth > 0 && r.chance(mix.object)) return object(r, mix, depth - 1)
  if (depth > 0 && r.chance(mix.array)) {
    const item = () => (r.chance(mix.records) ? object(r, mix, depth - 1) : value(r, mix, depth - 1))
    return Array.from({ length: r.pick([0, 1, 1, 1, 2, 2, 3]) }, item)
  }
  return scalar(r)
}

function object(r, mix, depth) {
  const made = {}
  for (let i = r.below(4); i >= 0; i--) made[r.pick(mix.keys)] = value(r, mix, depth)
  return made
}

const isArray = Array.isArray
const isObject = (v) => v !== null && typeof v === 'object' && !isArray(v)
const isDigits = (part) => /^[0-9]+$/.test(part)

// A path that mostly leads somewhere in `document`, and the value it leads to.
function target(r, document) {
  const parts = []
  let at = document
  for (let i = 1 + r.below(4); i > 0; i--) {
    if (isArray(at) && at.length > 0) {
      const index = r.below(at.length)
      at = at[index]
      if (r.chance(12)) parts.push(String(index))
      if (!isObject(at) && !isArray(at)) break
      i++
      if (parts.length > 5) break
    } else if (isObject(at) && Object.keys(at).length > 0 && r.chance(93)) {
      const key = r.pick(Object.keys(at))
      parts.push(key)
      at = at[key]
    } else {
      if (parts.length === 0 || r.chance(30)) parts.push(r.pick(KEYS))
      break
    }
  }
  return { path: parts.join('.'), found: at }
}

function operand(r, found, mix) {
  if (found !== undefined && r.chance(60)) {
    while (isArray(found) && found.length > 0 && r.chance(60)) found = r.pick(found)
    return found
  }
  return r.chance(75) ? scalar(r) : value(r, mix, 2)
}

const list = (r, found, mix) => Array.from({ length: r.below(4) }, () => operand(r, found, mix))

function operator(r, found, mix, depth) {
  switch (r.below(depth > 0 ? 17 : 14)) {
    case 0:
      return { $eq: operand(r, found, mix) }
    case 1:
      return { $ne: operand(r, found, mix) }
    case 2:
      return { $gt: operand(r, found, mix) }
    case 3:
      return { $gte: operand(r, found, mix) }
    case 4:
      return { $lt: operand(r, found, mix) }
    case 5:
      return { $lte: operand(r, found, mix) }
    case 6:
      return { $in: list(r, found, mix) }
    case 7:
      return { $nin: list(r, found, mix) }
    case 8:
      return { $exists: r.pick([true, false, 1, 0]) }
    case 9:
      return { $size: isArray(found) && r.chance(60) ? found.length : r.below(4) }
    case 10:
      return { $type: r.chance(70) ? r.pick(TYPES) : [r.pick(TYPES), r.pick(TYPES)] }
    case 11: {
      const regex = { $regex: r.pick(PATTERNS) }
      if (r.chance(40)) regex.$options = r.pick(['i', 's', 'm', 'is', ''])
      return regex
    }
    case 12:
    case 13: {
      const all = isArray(found) && r.chance(60) ? found.filter(() => r.chance(70)) : list(r, found, mix)
      if (depth > 0 && r.chance(25)) all.push({ $elemMatch: elements(r, found, mix, depth - 1) })
      return { $all: all }
    }
    case 14:
      return { $not: r.chance(15) ? operand(r, found, mix) : operators(r, found, mix, depth - 1) }
    default:
      return { $elemMatch: elements(r, found, mix, depth - 1) }
  }
}

function operators(r, found, mix, depth) {
  let made = {}
  for (let i = r.pick([1, 1, 1, 2, 2, 3]); i > 0; i--) made = { ...made, ...operator(r, found, mix, depth) }
  return made
}

function elements(r, found, mix, depth) {
  const element = isArray(found) && found.length > 0 ? r.pick(found) : found
  if (isObject(element) || isArray(element) || r.chance(15)) {
    if (r.chance(90)) return r.chance(2) ? {} : filter(r, isObject(element) ? element : {}, mix, depth)
  }
  return operators(r, element, mix, depth)
}

function filter(r, document, mix, depth) {
  if (depth > 0 && r.chance(25)) {
    const name = r.pick(['$and', '$or', '$nor'])
    const made = {
      [name]: Array.from({ length: r.pick([0, 1, 2, 2, 3]) }, () => filter(r, document, mix, depth - 1)),
    }
    return r.chance(20) ? { ...made, ...filter(r, document, mix, depth - 1) } : made
  }
  const made = {}
  for (let i = r.pick([1, 1, 1, 2, 3]); i > 0; i--) {
    const { path, found } = target(r, document)
    made[path] = r.chance(20) ? operand(r, found, mix) : operators(r, found, mix, depth)
  }
  return made
}

// The differences that core/src/filter/mod.rs lists by name, as far as this generator can meet them: which of them
// a filter and a document touch.
const LOGICAL = ['$and', '$or', '$nor']
function touched(query, document, names = new Set()) {
  for (const [key, condition] of Object.entries(query)) {
    if (LOGICAL.includes(key)) for (const part of condition) touched(part, document, names)
    else if (JSON.stringify(condition)) field(key.split('.'), condition, document, names)
  }
  return names
}

function field(parts, condition, document, names) {
  const reached = []
  const way = { crossed: 0, nested: false }
  walk(document, parts, 0, false, way, 0, reached)
  if (way.nested) names.add('nested-array')
  const levels = way.crossed + (reached.some(isArray) ? 1 : 0)
  ops(condition, reached, names, () => way.crossed > 1 || (way.crossed > 0 && isDigits(parts.at(-1))), levels)
}

function ops(condition, reached, names, oddExists, levels) {
  if (!isObject(condition)) return
  if ('$exists' in condition && oddExists()) names.add('exists')
  if ('$not' in condition) ops(condition.$not, reached, names, oddExists, levels)
  const inner = [condition.$elemMatch]
  if (isArray(condition.$all)) inner.push(...condition.$all.map((item) => item?.$elemMatch))
  for (const criteria of inner.filter(isObject)) {
    // What mingo calls an element may be one of an array collected on the way, so all levels are tried.
    for (const element of reached.flatMap((found) => everyElement(found)).concat(reached)) {
      if (Object.keys(criteria).every((key) => key.startsWith('$') && !LOGICAL.includes(key))) {
        ops(criteria, [element], names, () => false, 0)
      } else {
        // Arrays collected within arrays, so that an element has arrays directly inside.
        if (levels > 2) names.add('nested-array')
        if (!isObject(element) && !isArray(element)) names.add('element-scalar')
        touched(criteria, element, names)
        if (isArray(element) && JSON.stringify(criteria).includes('"$exists"')) names.add('exists')
      }
    }
  }
}

const everyElement = (found) => (isArray(found) ? found.flatMap((item) => [item, ...everyElement(item)]) : [])

function walk(at, parts, from, inside, way, crossed, reached) {
  way.crossed = Math.max(way.crossed, crossed)
  if (from === parts.length) return void reached.push(at)
  if (isArray(at) && !isDigits(parts[from])) {
    if (inside) way.nested = true
    way.crossed = Math.max(way.crossed, crossed + 1)
    for (const item of at) walk(item, parts, from, true, way, crossed + 1, reached)
  } else if (isObject(at) || isArray(at)) {
    if (Object.hasOwn(at, parts[from])) walk(at[parts[from]], parts, from + 1, false, way, crossed, reached)
  }
}

function evaluator() {
  if (process.env.ASTEROID_FILTER_EVAL) return process.env.ASTEROID_FILTER_EVAL
  // With the features of the Rust tests before, where there were any: nothing is then built twice.
  const features = process.env.ROCKSDB_LIB_DIR ? ['--features', 'rocksdb'] : []
  const built = spawnSync(
    'cargo',
    ['build', '-p', 'asteroid-tests', '--bin', 'filter-eval', '--message-format=json', ...features],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  assert.equal(built.status, 0, 'the evaluator does not build')
  const artifacts = built.stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
  return artifacts.findLast((one) => one.target?.name === 'filter-eval' && one.executable).executable
}

async function evaluate(lines) {
  const child = spawn(evaluator(), { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(lines.join('\n') + '\n')
  const chunks = []
  for await (const chunk of child.stdout) chunks.push(chunk)
  return Buffer.concat(chunks).toString().trimEnd().split('\n')
}

test(`filters agree with mingo (ASTEROID_SEED=${seed})`, { timeout: 600_000 }, async (t) => {
  const r = random(seed)
  const cases = []
  while (cases.length * DOCUMENTS < pairs) {
    const mix = mixture(r)
    const docs = Array.from({ length: DOCUMENTS }, () =>
      object(r, r.chance(70) ? mix : mixture(r), mix.records > 0 ? 6 : 4),
    )
    // Through JSON once, so that both sides see the same numbers (-0) and keys.
    cases.push(JSON.stringify({ filter: filter(r, r.pick(docs), mix, 3), docs }))
  }
  const answers = await evaluate(cases)
  assert.equal(answers.length, cases.length)

  const tally = { agree: 0, matches: 0, conditions: {}, touching: {}, differing: {} }
  const wrong = []
  for (const [i, line] of cases.entries()) {
    const { filter: condition, docs } = JSON.parse(line)
    for (const [name] of line.matchAll(/\$[a-zA-Z]+/g))
      tally.conditions[name] = (tally.conditions[name] ?? 0) + 1
    const query = new Query(condition)
    for (const [j, doc] of docs.entries()) {
      const theirs = query.test(doc)
      const ours = answers[i][j] === '1'
      const names = [...touched(condition, doc)]
      for (const name of names) tally.touching[name] = (tally.touching[name] ?? 0) + 1
      if (theirs) tally.matches++
      if (/^[01]+$/.test(answers[i]) && ours === theirs) tally.agree++
      else if (names.length > 0 && /^[01]+$/.test(answers[i])) {
        for (const name of names) tally.differing[name] = (tally.differing[name] ?? 0) + 1
      } else
        wrong.push({
          filter: condition,
          doc,
          mingo: theirs,
          ours: answers[i].slice(0, 200),
          bit: answers[i][j],
        })
    }
  }
  t.diagnostic(JSON.stringify({ seed, pairs: cases.length * DOCUMENTS, ...tally, wrong: wrong.length }))
  wrong.sort((a, b) => JSON.stringify(a).length - JSON.stringify(b).length)
  for (const one of wrong.slice(0, 5)) t.diagnostic(JSON.stringify(one))
  assert.equal(wrong.length, 0, `${wrong.length} pairs differ; replay with ASTEROID_SEED=${seed}`)
  // A generator that matches nothing, or a list of differences that excuses much, would prove little.
  assert.ok(tally.matches > pairs / 10 && tally.matches < (pairs * 9) / 10)
  assert.ok(tally.agree > pairs * 0.98)
})
