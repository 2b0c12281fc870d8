/** Updates of a clone that are killed before each change of the file system. */
import test from 'brittle'
import { killClones } from '../drive/killed-clone.ts'

const ALL = { first: 1, every: 1 }

test('long: a clone of changes, killed at every step', { timeout: 600_000 }, async (t) => {
  const { killed, seen } = await killClones(t, ALL, false)
  t.ok(killed > 90, `${killed} were killed`)
  t.ok(seen > 90, `${seen} with files in place`)
})
