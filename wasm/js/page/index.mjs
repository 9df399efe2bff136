// The browser's face: the classes of the Node package over an engine in a worker. Importing it starts nothing.
import database from '../../../node/js/database.cjs'
import errors from '../../../node/js/errors.cjs'

export const { AsteroidDB, open } = database
export const { AsteroidError } = errors
