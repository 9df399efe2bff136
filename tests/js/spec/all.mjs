// The shared specification: what every host and every storage must do, through the public face alone.
import { Context } from './context.mjs'
import { tests as life } from './life.mjs'
import { tests as many } from './many.mjs'
import { tests as moves } from './moves.mjs'
import { tests as rows } from './rows.mjs'
import { tests as search } from './search.mjs'

export const specification = Object.entries({ ...rows, ...search, ...many, ...life, ...moves })

/** Runs one of its tests on a host, see `Context`. */
export async function runTest(host, run) {
  const context = new Context(host)
  try {
    await run(context)
  } finally {
    await context.end()
  }
}
