/** Imports that are killed before each change of the file system. */
import test from 'brittle'
import { killImports } from '../drive/killed-import.ts'

const ALL = { first: 1, every: 1 }

test('long: an import of a new folder, killed at every step', { timeout: 600_000 }, async (t) => {
  const { killed, seen } = await killImports(t, ALL, true)
  t.ok(killed > 50, `${killed} were killed`)
  t.ok(seen > 10, `${seen} after a peer had got something`)
})

test('long: an import of changes, killed at every step', { timeout: 600_000 }, async (t) => {
  const { killed, seen } = await killImports(t, ALL, false)
  t.ok(killed > 40, `${killed} were killed`)
  t.ok(seen > 2, `${seen} after a peer had got something`)
})
