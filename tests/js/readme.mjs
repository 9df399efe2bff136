// Reads README.md for the tests that hold it to the truth.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repository } from './packed.mjs'

const text = readFileSync(join(repository, 'README.md'), 'utf8')

/** The text under the heading `title`, to the next heading of the same or a higher level. */
export function section(title) {
  const lines = text.split('\n')
  const from = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === title)
  if (from < 0) throw new Error(`README.md has no heading "${title}"`)
  const level = /^#+/.exec(lines[from])[0].length
  const length = lines.slice(from + 1).findIndex((line) => new RegExp(`^#{1,${level}} `).test(line))
  return lines.slice(from + 1, length < 0 ? undefined : from + 1 + length).join('\n')
}

/** The first block of `language` in `markdown`. */
export function codeBlock(markdown, language) {
  const found = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(markdown)
  if (!found) throw new Error(`no ${language} block was found`)
  return found[1]
}

/** The rows of the first table in `markdown`, each an array of cells without back-quotes. */
export function table(markdown) {
  const lines = markdown.split('\n').filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) => {
    const cells = line.split('|').slice(1, -1)
    return cells.map((cell) => cell.trim().replaceAll('`', ''))
  })
}
