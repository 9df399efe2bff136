// Takes the place of binary.mjs in the build that is one file: the engine, deflated, as Base64.
import packed from 'asteroid-packed'
import packedRest from 'asteroid-packed-rest'

/** WebAssembly, as a response to compile while it is unpacked. */
const unpack = (packed) => {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Response(stream, { headers: { 'content-type': 'application/wasm' } })
}

export const carried = () => unpack(packed)
export const carriedRest = () => unpack(packedRest)
