// Errors between the worker and its callers: text of a code and a message on lines of their own.

export class Failure extends Error {
  constructor(code, message, cause) {
    const said = cause
      ? `\n${cause.name ?? 'Error'}: ${String(cause.message ?? cause).replaceAll('\n', ' ')}`
      : ''
    super(`${code}\n${message}${said}`)
  }
}

/** What a browser's storage threw, by its name. */
export function storageFailure(what, error) {
  if (error instanceof Failure) return error
  if (error?.name === 'QuotaExceededError') {
    return new Failure('STORAGE_FULL', `${what}: the browser's quota is used up`, error)
  }
  return new Failure('IO', `${what}: the browser refused`, error)
}

export function aborted() {
  return new Failure('ABORTED', 'the call was aborted by its signal; nothing of it was kept')
}
