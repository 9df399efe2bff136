// Colours for a terminal that shows them: none in a pipe, none where NO_COLOR is set.
const on = process.env.NO_COLOR ? false : Boolean(process.env.FORCE_COLOR || process.stdout.isTTY)
const paint = (open, close) => (text) => (on ? `\x1b[${open}m${text}\x1b[${close}m` : String(text))

export const bold = paint(1, 22)
export const dim = paint(2, 22)
export const red = paint(31, 39)
export const green = paint(32, 39)
export const cyan = paint(36, 39)

/** True where one line may be drawn over and over. */
export const live = Boolean(process.stdout.isTTY)

/** 1234567 as "1,234,567". */
export const number = (value) => Math.round(value).toLocaleString('en-US')

/** Milliseconds as "0.42 ms", "17 ms", "3.1 s" or "4 min 10 s". */
export function time(ms) {
  if (ms < 10) return `${ms.toFixed(2)} ms`
  if (ms < 1000) return `${ms.toFixed(0)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

/** Bytes as "12.3 MB" (millions). */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`

/** `text` broken at spaces into lines of at most `width`, each begun with `indent`. */
export function wrap(text, width, indent = '') {
  const lines = []
  let line = indent
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (line.length > indent.length && line.length + 1 + word.length > width) {
      lines.push(line)
      line = indent
    }
    line += (line.length > indent.length ? ' ' : '') + word
  }
  if (line.length > indent.length) lines.push(line)
  return lines.join('\n')
}

/** A progress line: redrawn on a terminal, printed once in a while elsewhere. */
export function progressLine(label) {
  let last = live ? -Infinity : performance.now()
  return {
    update(done, total) {
      const now = performance.now()
      if (now - last < (live ? 80 : 10_000)) return
      last = now
      const text = `  ${label}  ${number(done)} of ${number(total)}  ${Math.floor((100 * done) / total)} %`
      process.stdout.write(live ? `\r\x1b[K${text}` : `${text}\n`)
    },
    done(text) {
      process.stdout.write(`${live ? '\r\x1b[K' : ''}  ${label}  ${text}\n`)
    },
  }
}
