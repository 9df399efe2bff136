// Cuts a WebAssembly module in two: what every user needs, and what only some calls do, which is loaded when one of them
// is made. Both halves share memory, tables and globals. Works on binaryen's text form with the names kept.
//
// Where the first half calls into the second stands a stub under the same name: it has `need` see to it that the second
// is there, and jumps through a table that the second fills. So any cut is a correct one, and what is seldom called
// decides nothing but sizes.

const NAME = String.raw`\$(?:"[^"]*"|[^\s()"]+)`
const CALLS = new RegExp(String.raw`\((?:return_)?call (${NAME})|\(ref\.func (${NAME})\)`, 'g')
const PARAM = new RegExp(String.raw`\(param (${NAME}) (\w+)\)`, 'g')
/** What stands where a compiler's hash of a crate is of no interest. */
const HASH = /\[[0-9a-f]{16}\]/g

/** Lines of a function with which something may begin: compilers merge short ones that are alike, under either name. */
const LEAST = 60

/** Lines of a function that the second half has a copy of, which costs the first less than to export it. */
const COPIED = 100

const nameIn = (line) => new RegExp(NAME).exec(line)[0]

function parse(text) {
  const parts = { type: [], import: [], global: [], memory: [], table: [], data: [], elem: [], export: [] }
  const funcs = new Map()
  let open
  for (const line of text.split('\n')) {
    if (open) {
      if (line === ' )') open = undefined
      else open.body.push(line)
      continue
    }
    const kind = /^ \((\w+) /.exec(line)?.[1]
    if (kind === 'func') {
      open = { head: line.slice(1), body: [] }
      funcs.set(nameIn(line), open)
    } else if (parts[kind]) parts[kind].push(line)
    else if (kind) throw new Error(`a module with "${kind}" cannot be cut: ${line.slice(0, 80)}`)
  }
  for (const func of funcs.values()) {
    func.text = `${func.head}\n${func.body.join('\n')}\n )`
    func.calls = [...func.text.matchAll(CALLS)].map(([, call, ref]) => call ?? ref)
  }
  return { ...parts, funcs }
}

/** What is called from `roots` without entering a function that is `seldom` called. */
function reached(funcs, roots, seldom) {
  const found = new Set()
  const todo = [...roots]
  while (todo.length > 0) {
    const name = todo.pop()
    if (found.has(name) || !funcs.has(name) || seldom(name)) continue
    found.add(name)
    todo.push(...funcs.get(name).calls)
  }
  return found
}

/** A function's name without the types that it was made for. */
function general(name) {
  let short = name
  for (let long; long !== short; ) {
    long = short
    short = long.replace(/(?<=\w)<[^<>]*>/g, '').replace(/::<[^<>]*>/g, '')
  }
  return short.split('::{closure')[0].replace(/^[<&]+/, '')
}

/** Names with the instances of a generic function side by side: much alike, they come out smaller when compressed. */
function arranged(names, plain) {
  const key = (name) => `${general(plain(name))}\n${plain(name)}`
  const keyed = [...names].map((name) => [key(name), name])
  return keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, name]) => name)
}

/**
 * `{ first, rest }` of `text`. `patterns` say which functions begin what is seldom called, by their names without hashes
 * of crates; each must find one. The export `need` is called where the second half must be there. It imports from module
 * "first", where the first of the names is `build`, so that halves of two builds do not fit together.
 */
export function splitWasm(text, { patterns, need, build }) {
  const { funcs, ...parts } = parse(text)
  const plain = (name) => name.slice(1).replaceAll('"', '').replace(HASH, '')
  const names = [...funcs.keys()]
  for (const pattern of patterns) {
    if (!names.some((name) => pattern.test(plain(name)))) throw new Error(`no function is ${pattern}`)
  }
  const begins = (name) =>
    funcs.get(name).body.length >= LEAST && patterns.some((pattern) => pattern.test(plain(name)))
  const seldomNames = new Set(names.filter(begins))
  const seldom = (name) => seldomNames.has(name)

  const exported = (line) => new RegExp(String.raw`\(func (${NAME})\)`).exec(line)?.[1]
  const needed = exported(parts.export.find((line) => line.includes(`"${need}"`)) ?? '')
  if (!needed) throw new Error(`the module has no export ${need}`)
  const inTables = parts.elem.flatMap(
    (line) => line.slice(line.indexOf('func ')).match(new RegExp(NAME, 'g')) ?? [],
  )
  const outside = [...parts.export.map(exported).filter(Boolean), ...inTables]
  const first = reached(funcs, outside, seldom)

  // The stubs, and what is called back.
  const doors = new Set(outside.filter((name) => funcs.has(name) && !first.has(name)))
  for (const name of first) {
    for (const call of funcs.get(name).calls) if (funcs.has(call) && !first.has(call)) doors.add(call)
  }
  // What only dead code calls is in neither.
  const second = reached(funcs, doors, (name) => first.has(name) && funcs.get(name).body.length > COPIED)
  const back = new Set()
  for (const name of second) for (const call of funcs.get(name).calls) if (!second.has(call)) back.add(call)

  const stub = (name, at) => {
    const { head } = funcs.get(name)
    const args = [...head.matchAll(PARAM)].map(([, param]) => `(local.get ${param})`)
    const type = head.slice(`(func ${name}`.length).replace(PARAM, '(param $2)')
    return `${head}\n  (call ${needed})\n  (call_indirect $-rest ${type} ${args.join(' ')} (i32.const ${at}))\n )`
  }
  const imported = new Map(
    parts.import.filter((line) => line.includes('(func ')).map((line) => [nameIn(line), line]),
  )
  const signature = (name) =>
    imported
      .get(name)
      ?.replace(/^.*?\(func /, '(func ')
      .slice(0, -1) ?? `${funcs.get(name).head})`
  const said = [...second].map((name) => funcs.get(name).text).join('\n')
  const uses = (line) => said.includes(`${nameIn(line)} `) || said.includes(`${nameIn(line)})`)
  const shared = [
    ...parts.memory.map((line) => [line, 'memory', line.trim()]),
    ...parts.table.map((line) => [line, 'table', line.trim()]),
    [` (table $-rest ${doors.size} funcref)`, 'table', `(table $-rest ${doors.size} funcref)`],
    ...parts.global
      .filter(uses)
      .map((line) => [line, 'global', line.trim().replace(/^(\(global \S+ (?:\(mut \w+\)|\w+)) .*$/, '$1)')]),
    ...[...back].map((name) => [`(func ${name}`, 'func', signature(name)]),
  ].map(([line, kind, declared], at) => ({
    name: nameIn(line),
    kind,
    declared,
    key: at === 0 ? build : at.toString(36),
  }))

  const module = (...lines) => `(module\n${lines.flat().join('\n')}\n)\n`
  return {
    first: module(
      parts.type,
      parts.import,
      parts.global,
      parts.memory,
      parts.data,
      parts.table,
      `(table $-rest ${doors.size} funcref)`,
      parts.elem,
      parts.export.filter((line) => exported(line) !== needed),
      shared.map(({ key, kind, name }) => `(export "${key}" (${kind} ${name}))`),
      arranged(first, plain).map((name) => funcs.get(name).text),
      [...doors].map(stub),
    ),
    rest: module(
      parts.type,
      shared.map(({ key, declared }) => `(import "first" "${key}" ${declared})`),
      `(elem (table $-rest) (i32.const 0) func ${[...doors].join(' ')})`,
      arranged(second, plain).map((name) => funcs.get(name).text),
    ),
  }
}
