'use strict'

const { checkOptions, checkProgress, checkSignal, oneOf } = require('./arguments.cjs')
const { copying } = require('./calls.cjs')
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
  const watching = { signal: checkSignal(given.signal), onProgress: checkProgress(given.onProgress) }
  return copying(watching, 'new database', (flag, report) => native().convert(args, flag, report))
}

module.exports = { convert }
