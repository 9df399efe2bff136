'use strict'

const { checkOptions, checkProgress, checkSignal, oneOf } = require('./arguments.cjs')
const { progressRelay, progressThrew, withSignal } = require('./calls.cjs')
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
    const progress = progressRelay(onProgress, flag)
    let converted
    try {
      const { total, ...rest } = await native().convert(args, flag, onProgress && progress.report)
      converted = rest
      if (onProgress) progress.report(total, total)
    } catch (error) {
      if (progress.thrown)
        throw progressThrew(progress.thrown.error, 'which aborted the call; nothing of it was kept')
      throw fromNative(error, signal)
    } finally {
      progress.end()
    }
    if (progress.thrown)
      throw progressThrew(progress.thrown.error, 'but the new database was already complete')
    return converted
  })
}

module.exports = { convert }
