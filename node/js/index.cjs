'use strict'

const { AsteroidDB, open } = require('./database.cjs')
const { AsteroidError } = require('./errors.cjs')

exports.AsteroidDB = AsteroidDB
exports.AsteroidError = AsteroidError
exports.open = open
