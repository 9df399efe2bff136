// Markdown tables whose columns line up.

/** `head` names columns, those of numbers ending in `:`; `rows` hold texts. */
export function table(head, rows) {
  const names = head.map((name) => name.replace(/:$/, ''))
  const widths = names.map((name, i) => Math.max(3, name.length, ...rows.map((row) => String(row[i]).length)))
  const right = head.map((name) => name.endsWith(':'))
  const pad = (text, i) => (right[i] ? String(text).padStart(widths[i]) : String(text).padEnd(widths[i]))
  const line = (cells) => `| ${cells.map(pad).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (right[i] ? `${'-'.repeat(width + 1)}:` : '-'.repeat(width + 2))).join('|')}|`
  return [line(names), rule, ...rows.map(line)].join('\n')
}

/** `value` as `show` makes it, or a dash where there is none. */
export const orDash = (value, show = String) =>
  value === undefined || Number.isNaN(value) ? '-' : show(value)
export const times = (value) => `${value.toFixed(2)}x`
export const micros = (seconds) => `${(seconds * 1e6).toFixed(0)} us`
