// Takes the place of binary.mjs in the build that is one file: the engine, deflated, as Base64.
import packed from 'asteroid-packed'

/** The engine's WebAssembly, as a response to compile while it is unpacked. */
export function carried() {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Response(stream, { headers: { 'content-type': 'application/wasm' } })
}
