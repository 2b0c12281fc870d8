/** Copies into a mirror that are killed before each change of the file system. */
import test from 'brittle'
import { killMirrors } from '../drive/killed-import.ts'

const ALL = { first: 1, every: 1 }

test('long: a copy into a new mirror, killed at every step', { timeout: 600_000 }, async (t) => {
  const { killed, seen } = await killMirrors(t, ALL)
  t.ok(killed > 40, `${killed} were killed`)
  t.ok(seen > 30, `${seen} when the name was taken`)
})
