/** Clones into a new folder that are killed before each change of the file system. */
import test from 'brittle'
import { killClones } from '../drive/killed-clone.ts'

const ALL = { first: 1, every: 1 }

test('long: a clone into a new folder, killed at every step', { timeout: 600_000 }, async (t) => {
  const { killed, seen } = await killClones(t, ALL, true)
  t.ok(killed > 100, `${killed} were killed`)
  t.ok(seen > 50, `${seen} with files in place`)
})
