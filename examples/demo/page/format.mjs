// Small helpers for text and elements.

const plain = new Intl.NumberFormat('en-US')

export const number = (value) => plain.format(value)

/** Bytes as "12.3 MB" (millions). */
export function bytes(value) {
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} kB`
  return `${(value / 1e6).toFixed(1)} MB`
}

/** Milliseconds as "0.42 ms", "17 ms" or "3.1 s". */
export function time(ms) {
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** An element with attributes and children; text stays text. */
export function element(name, attributes, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children)
  return made
}
