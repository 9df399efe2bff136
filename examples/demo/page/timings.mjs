// The latest searches' times, as bars.
import { time } from './format.mjs'

const MOST = 40
const WIDTH = 240
const HEIGHT = 48
const SVG = 'http://www.w3.org/2000/svg'

export function createHistory(figure, svg, caption) {
  const times = []
  return {
    add(ms) {
      times.push(ms)
      if (times.length > MOST) times.shift()
      const longest = Math.max(...times)
      const step = WIDTH / MOST
      svg.replaceChildren(
        ...times.map((value, at) => {
          const height = Math.max(2, (value / longest) * HEIGHT)
          const bar = document.createElementNS(SVG, 'rect')
          const place = { x: at * step, y: HEIGHT - height, width: step - 1.5, height, rx: 1 }
          for (const [key, number] of Object.entries(place)) bar.setAttribute(key, String(number))
          return bar
        }),
      )
      const median = [...times].sort((a, b) => a - b)[times.length >> 1]
      figure.hidden = false
      caption.textContent = `The last ${times.length === 1 ? 'search' : `${times.length} searches`}: median ${time(median)}, longest ${time(longest)}`
    },
  }
}
