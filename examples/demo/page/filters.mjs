// The filters beside the results, and what they come to as a filter of the database.
import { element, number } from './format.mjs'

const LABELS = {
  source: { project: 'This project', npm: 'npm packages', crates: 'Rust crates' },
  kind: { guide: 'Guides', api: 'API comments' },
}
const at = (id) => document.getElementById(id)

/** Fills the controls from the counts of each value; `changed` hears of every change. */
export function createFilters({ source, kind, owner }, changed) {
  fillChoices('source', source, changed)
  fillChoices('kind', kind, changed)
  const select = at('choose-owner')
  select.replaceChildren(
    element('option', { value: '' }, 'Any package'),
    ...owner.map(([name, count]) => element('option', { value: name }, `${name} (${number(count)})`)),
  )
  const words = at('choose-words')
  const least = Number(words.min)
  const show = () => {
    at('words-shown').textContent = words.value
  }
  select.onchange = () => changed()
  words.oninput = () => {
    show()
    changed()
  }
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value

  return {
    /** The filter, or nothing where all rows count. */
    filter() {
      const filter = {}
      for (const name of ['source', 'kind']) if (chosen(name)) filter[name] = chosen(name)
      if (select.value) filter.owner = select.value
      if (Number(words.value) > least) filter.words = { $gte: Number(words.value) }
      return Object.keys(filter).length > 0 ? filter : undefined
    },

    clear() {
      for (const name of ['source', 'kind'])
        document.querySelector(`input[name="${name}"][value=""]`).checked = true
      select.value = ''
      words.value = words.min
      show()
      changed()
    },
  }
}

function fillChoices(name, counts, changed) {
  const all = [['', undefined], ...counts]
  at(`choose-${name}`).replaceChildren(
    ...all.map(([value, count]) => {
      const input = element('input', { type: 'radio', name, value })
      input.checked = value === ''
      input.addEventListener('change', () => changed())
      const small = count === undefined ? [] : [' ', element('small', {}, number(count))]
      const text = value === '' ? 'All' : (LABELS[name][value] ?? value)
      return element('label', {}, input, element('span', {}, text, ...small))
    }),
  )
}
