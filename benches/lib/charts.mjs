// Line charts as one SVG file.

const WIDTH = 420
const HEIGHT = 240
const MARGIN = { left: 56, right: 12, top: 34, bottom: 34 }
const COLUMNS = 2
const HEAD = 56
const LEGEND = { width: 190, height: 18 }
/** Told apart without colours too, by their dashes. */
const STYLES = [
  { stroke: '#0b6bcb', dash: '' },
  { stroke: '#5f6b7a', dash: '5 4' },
  { stroke: '#c2410c', dash: '1.5 3' },
  { stroke: '#15803d', dash: '8 3' },
  { stroke: '#7c3aed', dash: '8 3 2 3' },
  { stroke: '#b45309', dash: '3 2' },
  { stroke: '#0e7490', dash: '12 4' },
  { stroke: '#be185d', dash: '2 6' },
  { stroke: '#1f2933', dash: '5 2 1 2' },
  { stroke: '#65a30d', dash: '10 2 2 2 2 2' },
  { stroke: '#9f1239', dash: '6 6' },
  { stroke: '#334155', dash: '1 2' },
]
const style = (i) => STYLES[i % STYLES.length]

const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c])
const text = (x, y, said, more = '') => `<text x="${x}" y="${y}" ${more}>${escaped(said)}</text>`

/** Round numbers between `low` and `high`. */
function ticks(low, high) {
  const raw = (high - low) / 4
  const size = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 2.5, 5, 10].map((by) => by * size).find((by) => by >= raw)
  const found = []
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step)
  return found
}

/** 1, 2 and 5 times the powers of ten between `low` and `high`, which are logarithms. */
function powers(low, high) {
  const found = []
  for (let power = Math.floor(low); power <= high; power++) {
    for (const by of [1, 2, 5]) {
      const value = by * 10 ** power
      if (Math.log10(value) >= low && Math.log10(value) <= high) found.push(value)
    }
  }
  return found
}

function panel({ title, series, from, begin = 0, log = false }, x, y, [width, height]) {
  const scale = log ? Math.log10 : (value) => value
  const shown = series.map(([name, points]) => [name, points.filter(([at]) => at >= begin)])
  const points = shown.flatMap(([, points]) => points)
  const values = points.map(([, value]) => scale(value))
  const most = Math.max(...values)
  const least = from ?? Math.min(...values)
  const slack = (most - least || Math.abs(most) || 1) * 0.08
  const [low, high] = [from ?? least - slack, most + slack]
  const end = Math.max(1, ...points.map(([at]) => at))
  const across = (at) =>
    x + MARGIN.left + ((at - begin) / (end - begin)) * (width - MARGIN.left - MARGIN.right)
  const up = (value) =>
    y + height - MARGIN.bottom - ((scale(value) - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom)
  const parts = [text(x + MARGIN.left, y + 20, title, 'class="title"')]
  for (const tick of log ? powers(low, high) : ticks(low, high)) {
    const at = up(tick).toFixed(1)
    parts.push(`<line x1="${across(begin)}" x2="${across(end)}" y1="${at}" y2="${at}" class="grid"/>`)
    parts.push(text(x + MARGIN.left - 6, Number(at) + 4, String(Number(tick.toPrecision(6))), 'class="y"'))
  }
  for (const tick of ticks(begin, end))
    parts.push(text(across(tick), y + height - 14, String(Number(tick.toPrecision(6))), 'class="x"'))
  for (const [i, [, line]] of shown.entries()) {
    const { stroke, dash } = style(i)
    const path = line.map(([at, value]) => `${across(at).toFixed(1)},${up(value).toFixed(1)}`)
    if (path.length === 1) {
      const [cx, cy] = path[0].split(',')
      parts.push(`<circle cx="${cx}" cy="${cy}" r="4" fill="${stroke}"/>`)
    }
    parts.push(
      `<polyline points="${path.join(' ')}" fill="none" stroke="${stroke}" stroke-width="2" stroke-dasharray="${dash}"/>`,
    )
  }
  return parts.join('\n')
}

/**
 * Draws `panels`, each `{ title, from, begin, log, series: [[name, [[x, y], ...]], ...] }`, two beside each other: `from`
 * is where y begins, `begin` where x does, `log` makes y logarithmic. A single panel is drawn larger.
 */
export function drawCharts(title, panels) {
  const alone = panels.length === 1
  const size = alone ? [COLUMNS * WIDTH, 2 * HEIGHT] : [WIDTH, HEIGHT]
  const names = panels.reduce((most, { series }) => (series.length > most.length ? series : most), [])
  const across = Math.floor((COLUMNS * WIDTH - MARGIN.left) / LEGEND.width)
  const head = HEAD + Math.max(0, Math.ceil(names.length / across) - 1) * LEGEND.height
  const [width, height] = [COLUMNS * WIDTH, head + Math.ceil(panels.length / COLUMNS) * size[1]]
  const legend = names.map(([name], i) => {
    const [x, { stroke, dash }] = [MARGIN.left + (i % across) * LEGEND.width, style(i)]
    const y = 44 + Math.floor(i / across) * LEGEND.height
    const line = `<line x1="${x}" x2="${x + 26}" y1="${y}" y2="${y}" stroke="${stroke}" stroke-width="2" stroke-dasharray="${dash}"/>`
    return line + text(x + 32, y + 4, name)
  })
  const drawn = panels.map((one, i) =>
    panel(one, (i % COLUMNS) * WIDTH, head + Math.floor(i / COLUMNS) * size[1], size),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<style>text{font:12px sans-serif;fill:#1f2933}.title{font-weight:bold}.y{text-anchor:end}.x{text-anchor:middle}.grid{stroke:#d9dee4}</style>
<rect width="100%" height="100%" fill="#fff"/>
${text(MARGIN.left, 24, title, 'class="title"')}
${legend.join('\n')}
${drawn.join('\n')}
</svg>
`
}
