// The tab that holds a database: serves its own page, and the tabs that follow it.
//
// On the channel of the database, followers say { hello: tab, args } and a new leader says { lead: true }. Each pair has
// a channel of its own, on which the follower sends what its page sent, { to: leader, message }, and the leader
// { welcome: leader, facts }, { refused } , { reply } and, when it goes in peace, { leaving: calls it still answers }.
import { nameOf, request } from './locks.mjs'
import { Owner } from './owner.mjs'
import { Session, textOf } from './session.mjs'

export class Leader {
  #owner = new Owner()
  #own
  #path
  #id = crypto.randomUUID()
  #channel
  #tabs = new Map()

  constructor(post) {
    this.#own = new Session(this.#owner, post)
  }

  /** Opens the database; `release` lets go of its lock. Followers are heard from then on. */
  async open(call, args, urls, release, feed) {
    const facts = await this.#owner.open(call, args, urls, release, feed)
    this.#own.sync = args.durability === 'sync'
    this.#path = args.path
    if (release && !args.readOnly) {
      this.#channel = new BroadcastChannel(nameOf(args.path))
      this.#channel.onmessage = ({ data }) => data.hello && this.#welcome(data.hello, data.args, facts)
      this.#channel.postMessage({ lead: true })
    }
    return facts
  }

  receive(message) {
    this.#own.receive(message)
  }

  #welcome(tab, args, facts) {
    // Between two engines: the tab will ask again.
    if (!this.#owner.engine) return
    const known = this.#tabs.get(tab)
    if (known) return known.channel.postMessage({ welcome: this.#id, facts })
    const channel = new BroadcastChannel(nameOf(this.#path, tab))
    try {
      this.#owner.engine.agree(args)
    } catch (error) {
      channel.postMessage({ refused: textOf(error) })
      return channel.close()
    }
    const session = new Session(this.#owner, (reply) => channel.postMessage({ reply }))
    session.sync = args.durability === 'sync'
    session.remote = true
    channel.onmessage = ({ data }) => data.to === this.#id && session.receive(data.message)
    this.#tabs.set(tab, { channel, session })
    channel.postMessage({ welcome: this.#id, facts })
    // A tab holds a lock of its own for as long as it lives.
    const gone = () => {
      if (this.#tabs.delete(tab)) session.end()
      channel.close()
    }
    request(nameOf(this.#path, tab), {}, (release) => {
      gone()
      release()
    }).catch(gone)
  }

  /** Lets the database go, so that a follower may take it. Calls that are under way are answered. */
  async leave(call) {
    if (this.#channel) this.#channel.onmessage = null
    for (const { channel, session } of this.#tabs.values()) {
      channel.onmessage = null
      channel.postMessage({ leaving: session.underWay() })
    }
    try {
      await this.#owner.close(call)
    } finally {
      this.#channel?.close()
      for (const { channel } of this.#tabs.values()) channel.close()
      this.#tabs.clear()
    }
  }
}
