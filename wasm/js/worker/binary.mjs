// carried.mjs takes this place in the build that is one file.

/** The engine's WebAssembly where the page names no URL of it. */
export function carried() {
  return undefined
}

export const carriedRest = carried
