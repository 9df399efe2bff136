// What the commands share: colours, numbers, a progress bar, options that are numbers.
const live = Boolean(process.stderr.isTTY)
const coloured = live && !process.env.NO_COLOR
const paint = (open, close) => (text) => (coloured ? `\x1b[${open}m${text}\x1b[${close}m` : String(text))

export const green = paint(32, 39)
export const grey = paint(2, 22)

/** 1234567 as "1,234,567". */
export const number = (value) => Math.round(value).toLocaleString('en-US')

/** Bytes as "12.3 MB" (millions). */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`

/** Milliseconds as "17 ms", "3.1 s" or "4 min 10 s". */
export function time(ms) {
  if (ms < 1000) return `${ms.toFixed(0)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`
}

/** A mistake in how the command was called. */
export class Usage extends Error {}

/** A whole number given as an option. */
export function whole(values, name) {
  if (values[name] === undefined) return undefined
  if (!/^\d{1,15}$/.test(values[name]))
    throw new Usage(`--${name} must be a whole number, not '${values[name]}'`)
  return Number(values[name])
}

const STORES = ['redb', 'rocksdb']

/** The store that was asked for, if any. */
export function storageOf({ storage }) {
  if (storage !== undefined && !STORES.includes(storage))
    throw new Usage(`--storage must be one of ${STORES.join(', ')}, not '${storage}'`)
  return storage
}

/**
 * A progress bar with rate and time left on standard error: redrawn on a terminal, a line at every tenth elsewhere.
 * `update` takes what `onProgress` of `bulkBuild` is told, of rows or of bytes.
 */
export function progressBar(unit = 'rows') {
  const start = { at: performance.now(), done: 0, fraction: 0 }
  // A file of bytes goes at one pace from its start.
  let reading = unit === 'rows'
  let drawn = Number.NEGATIVE_INFINITY
  let tenth = 0
  return {
    update({ phase, fraction, done, total }) {
      const now = performance.now()
      // Reading goes at a pace of its own, from which nothing follows for the rest.
      if (reading && phase !== 'read') {
        reading = false
        Object.assign(start, { at: now, done: Math.floor(fraction * total), fraction })
      }
      if (live ? now - drawn < 80 && fraction < 1 : Math.floor(fraction * 10) <= tenth) return
      drawn = now
      tenth = Math.floor(fraction * 10)
      const spent = now - start.at
      const count = unit === 'bytes' ? megabytes : number
      const pace = (done - start.done) / (spent / 1000)
      const rate = spent > 0 ? `${count(pace)}${unit === 'bytes' ? '' : ` ${unit}`}/s` : ''
      const gained = fraction - start.fraction
      const known = !reading && gained > 0.03 && fraction < 1
      const left = known ? `${time((spent / gained) * (1 - fraction))} left` : ''
      const share = `${String(Math.floor(fraction * 100)).padStart(3)} %`
      const rows = done === total ? count(done) : `${count(done)} of ${count(total)}`
      const facts = [share, phase.padEnd(8), rows, rate, left].filter(Boolean).join('  ')
      if (!live) return process.stderr.write(`${facts}\n`)
      const width = Math.max(0, Math.min(30, (process.stderr.columns ?? 80) - facts.length - 3))
      const full = Math.round(width * fraction)
      const bar = green('#'.repeat(full)) + grey('.'.repeat(width - full))
      process.stderr.write(`\r\x1b[K${width > 4 ? `${bar} ` : ''}${facts}`)
    },
    end() {
      if (live) process.stderr.write('\r\x1b[K')
    },
  }
}

/** Lines of names and values, the values aligned. */
export function table(rows) {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')
}
