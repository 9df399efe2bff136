// One copy of the classes, whichever way an application's parts load them: instanceof holds across both.
import asteroid from './index.cjs'

export const { AsteroidDB, AsteroidError, convert, open } = asteroid
