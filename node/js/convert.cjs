'use strict'

const { checkOptions, checkProgress, checkSignal, oneOf } = require('./arguments.cjs')
const { progressThrew, withSignal } = require('./calls.cjs')
const { fromNative } = require('./errors.cjs')
const { native } = require('./native.cjs')
const { checkPlace } = require('./open.cjs')

async function convert(from, to, options) {
  const given = checkOptions(options, ['storage', 'vectorFilePath', 'signal', 'onProgress'], 'convert')
  const { vectorFilePath } = given
  const args = {
    from: checkPlace(from, 'from'),
    to: checkPlace(to, 'to'),
    storage: oneOf(given.storage, 'storage', ['redb', 'rocksdb']),
    vectorFilePath: vectorFilePath === undefined ? undefined : checkPlace(vectorFilePath, 'vectorFilePath'),
  }
  const signal = checkSignal(given.signal)
  const onProgress = checkProgress(given.onProgress)
  return withSignal(signal ?? (onProgress && new AbortController().signal), async (flag) => {
    let thrown
    let last = -1
    const report = (done, total) => {
      if (thrown || done <= last) return
      last = done
      try {
        onProgress({ done, total })
      } catch (error) {
        thrown = { error }
        flag.abort()
      }
    }
    let converted
    try {
      const { total, ...rest } = await native().convert(args, flag, onProgress && report)
      converted = rest
      if (onProgress) report(total, total)
    } catch (error) {
      if (thrown) throw progressThrew(thrown.error, 'which aborted the call; nothing of it was kept')
      throw fromNative(error, signal)
    } finally {
      last = Number.POSITIVE_INFINITY
    }
    if (thrown) throw progressThrew(thrown.error, 'but the new database was already complete')
    return converted
  })
}

module.exports = { convert }
