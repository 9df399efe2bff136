// The same from CommonJS. Compiled by `npm run typecheck`, never run.
import asteroid = require('asteroid-db')

async function main(): Promise<number> {
  const db: asteroid.AsteroidDB = await asteroid.open(':memory:', { dim: 3 })
  const hits = await db.search([1, 2, 3], { include: ['vector'] })
  // @ts-expect-error: k is a number
  await db.search([1, 2, 3], { k: '5' })
  await db.close()
  return hits[0]?.vector.length ?? 0
}

export { main }
