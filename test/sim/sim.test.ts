/**
 * Seeds of simulated worlds. `SEED=n` replays one and prints what happens, `SEEDS=n` runs that many.
 *
 * @module
 */
import test from 'brittle'
import { World } from './world.ts'

const seed = process.env['SEED']
const seeds = Number(process.env['SEEDS'] ?? 500)
/** Seeds in one test: enough to see where the time goes, few enough to read. */
const SEEDS_PER_TEST = 50
/** Seeds that run twice. */
const TWICE = 5

/** Runs a seed; returns what stands for all that happened. */
async function run(seed: number, verbose: boolean): Promise<string> {
  const world = new World(seed, verbose)
  try {
    await world.run()
    return world.trace.digest
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    throw new Error(`SEED=${seed} npm run test:sim\n${text}`, { cause: error })
  } finally {
    await world.close()
  }
}

if (seed !== undefined) {
  test(`seed ${seed}`, { timeout: 600_000 }, async (t) => {
    t.comment(await run(Number(seed), process.env['QUIET'] === undefined))
    t.pass('nothing is wrong')
  })
} else {
  test('a seed stands for one course of events', { timeout: 120_000 }, async (t) => {
    for (let i = 1; i <= TWICE; i++) t.is(await run(i, false), await run(i, false), `seed ${i}`)
  })
  for (let first = 1; first <= seeds; first += SEEDS_PER_TEST) {
    const last = Math.min(seeds, first + SEEDS_PER_TEST - 1)
    test(`seeds ${first} to ${last}`, { timeout: 600_000 }, async (t) => {
      const failures: string[] = []
      for (let i = first; i <= last; i++) {
        await run(i, false).catch((error: unknown) => {
          failures.push(error instanceof Error ? error.message : String(error))
        })
      }
      t.is(failures.length, 0, failures.join('\n'))
    })
  }
}
