'use strict'

const { convert } = require('./convert.cjs')
const { AsteroidDB, open } = require('./database.cjs')
const { AsteroidError } = require('./errors.cjs')

exports.AsteroidDB = AsteroidDB
exports.AsteroidError = AsteroidError
exports.convert = convert
exports.open = open
