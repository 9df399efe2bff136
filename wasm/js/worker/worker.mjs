// The worker of one page's database.
import { Tab } from './tab.mjs'

const tab = new Tab((message, transfer = []) => postMessage(message, transfer))
addEventListener('message', ({ data }) => tab.receive(data))
