/**
 * Imports and clones that are killed before a change of the file system, each so many-th of all; test/long has every one.
 */
import test from 'brittle'
import { killClones } from './killed-clone.ts'
import { killImports, killMirrors } from './killed-import.ts'

test('an import of a new folder that is killed goes on, under one key', async (t) => {
  const { killed, seen } = await killImports(t, { first: 2, every: 13 }, true)
  t.ok(killed > 3, `${killed} were killed`)
  t.ok(seen > 0, `${seen} after a peer had got something`)
})

test('an import of changes that is killed goes on with the history that a peer saw', async (t) => {
  const { killed, seen } = await killImports(t, { first: 3, every: 8 }, false)
  t.ok(killed > 3, `${killed} were killed`)
  t.ok(seen > 0, `${seen} after a peer had got something`)
})

test('a mirror that is killed goes on under its name', async (t) => {
  const { killed, seen } = await killMirrors(t, { first: 7, every: 9 })
  t.ok(killed > 3, `${killed} were killed`)
  t.ok(seen > 1, `${seen} when the name was taken`)
})

test('a clone into a new folder that is killed is whole at any name, and goes on', async (t) => {
  const { killed, seen } = await killClones(t, { first: 4, every: 21 }, true)
  t.ok(killed > 3, `${killed} were killed`)
  t.ok(seen > 2, `${seen} with files in place`)
})

test('a clone of changes that is killed is whole at any name, and goes on', async (t) => {
  const { killed, seen } = await killClones(t, { first: 5, every: 19 }, false)
  t.ok(killed > 3, `${killed} were killed`)
  t.ok(seen > 3, `${seen} with files in place`)
})
