// The worker of one page's database.
import { answered, asked } from './awake.mjs'
import { Tab } from './tab.mjs'

const tab = new Tab((message, transfer = []) => {
  postMessage(message, transfer)
  answered()
})
addEventListener('message', ({ data }) => {
  asked()
  tab.receive(data)
})
