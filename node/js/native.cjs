'use strict'

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { AsteroidError } = require('./errors.cjs')

let addon

/** The names a build for this system may have, the likeliest first. */
function targets() {
  const { platform, arch } = process
  if (platform === 'linux') return [`linux-${arch}-gnu`, `linux-${arch}-musl`]
  if (platform === 'win32') return [`win32-${arch}-msvc`]
  return [`${platform}-${arch}`]
}

/** The addon, loaded at the first call and then kept. */
function native() {
  addon ??= load()
  return addon
}

function load() {
  const tried = []
  let cause
  for (const target of targets()) {
    const file = join(__dirname, '..', `asteroid.${target}.node`)
    for (const candidate of [file, `@asteroid-db/${target}`]) {
      if (candidate === file && !existsSync(file)) {
        tried.push(`${candidate} (not there)`)
        continue
      }
      try {
        return require(candidate)
      } catch (error) {
        const missing = error.code === 'MODULE_NOT_FOUND'
        tried.push(`${candidate} (${missing ? 'not installed' : error.message})`)
        if (!missing) cause ??= error
      }
    }
  }
  throw new AsteroidError(
    'UNSUPPORTED',
    `asteroid-db has no binary for ${process.platform} ${process.arch}, Node ${process.versions.node}. ` +
      `Tried ${tried.join('; ')}. In a source checkout, build it with: npm run build`,
    cause && { cause },
  )
}

module.exports = { native }
