// The worker of one database in one page.
import { Owner } from './owner.mjs'
import { Session } from './session.mjs'

const session = new Session(new Owner(), (message, transfer = []) => postMessage(message, transfer))
addEventListener('message', ({ data }) => session.receive(data))
