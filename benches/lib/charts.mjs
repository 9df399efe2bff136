// Line charts as one SVG file.

const WIDTH = 420
const HEIGHT = 240
const MARGIN = { left: 56, right: 12, top: 34, bottom: 34 }
const COLUMNS = 2
const HEAD = 56
/** Told apart without colours too, by their dashes. */
const STYLES = [
  { stroke: '#0b6bcb', dash: '' },
  { stroke: '#5f6b7a', dash: '5 4' },
  { stroke: '#c2410c', dash: '1.5 3' },
]

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

function panel({ title, series, from }, x, y) {
  const points = series.flatMap(([, points]) => points)
  const values = points.map(([, value]) => value)
  const most = Math.max(...values)
  const least = from ?? Math.min(...values)
  const slack = (most - least || Math.abs(most) || 1) * 0.08
  const [low, high] = [from ?? least - slack, most + slack]
  const end = Math.max(1, ...points.map(([at]) => at))
  const across = (at) => x + MARGIN.left + (at / end) * (WIDTH - MARGIN.left - MARGIN.right)
  const up = (value) =>
    y + HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom)
  const parts = [text(x + MARGIN.left, y + 20, title, 'class="title"')]
  for (const tick of ticks(low, high)) {
    const at = up(tick).toFixed(1)
    parts.push(`<line x1="${across(0)}" x2="${across(end)}" y1="${at}" y2="${at}" class="grid"/>`)
    parts.push(text(x + MARGIN.left - 6, Number(at) + 4, String(Number(tick.toPrecision(6))), 'class="y"'))
  }
  for (const tick of ticks(0, end)) parts.push(text(across(tick), y + HEIGHT - 14, String(tick), 'class="x"'))
  for (const [i, [, line]] of series.entries()) {
    const { stroke, dash } = STYLES[i]
    const path = line.map(([at, value]) => `${across(at).toFixed(1)},${up(value).toFixed(1)}`)
    parts.push(
      `<polyline points="${path.join(' ')}" fill="none" stroke="${stroke}" stroke-width="2" stroke-dasharray="${dash}"/>`,
    )
  }
  return parts.join('\n')
}

/** Draws `panels`, each `{ title, from, series: [[name, [[x, y], ...]], ...] }`, two beside each other. */
export function drawCharts(title, panels) {
  const [width, height] = [COLUMNS * WIDTH, HEAD + Math.ceil(panels.length / COLUMNS) * HEIGHT]
  const names = panels.reduce((most, { series }) => (series.length > most.length ? series : most), [])
  const legend = names.map(([name], i) => {
    const [x, { stroke, dash }] = [MARGIN.left + i * 190, STYLES[i]]
    const line = `<line x1="${x}" x2="${x + 26}" y1="44" y2="44" stroke="${stroke}" stroke-width="2" stroke-dasharray="${dash}"/>`
    return line + text(x + 32, 48, name)
  })
  const drawn = panels.map((one, i) =>
    panel(one, (i % COLUMNS) * WIDTH, HEAD + Math.floor(i / COLUMNS) * HEIGHT),
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
