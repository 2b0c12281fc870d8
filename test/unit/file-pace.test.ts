import test from 'brittle'
import { Pace, SMALL_BYTES } from '../../lib/feed/file/pace.ts'

/** A pace whose operations take as long as they are told, with and without interruptions. */
function gauged(): {
  readonly pass: (ms: number) => void
  readonly where: (
    ms: number,
    options?: { interrupted?: boolean; bytes?: number }
  ) => Promise<string>
} {
  let now = 0
  let interruptions = 0
  const pace = new Pace({ now: () => now, interruptions: () => interruptions })
  return {
    pass: (ms) => {
      now += ms
    },
    where: (ms, { interrupted = false, bytes = 100 } = {}) =>
      pace.run(
        bytes,
        () => {
          now += ms
          if (interrupted) interruptions++
          return 'now'
        },
        async () => 'later'
      )
  }
}

test('quick operations run now, large ones later', async (t) => {
  const { where } = gauged()
  for (let i = 0; i < 1000; i++) t.is(await where(0.1), 'now')
  t.is(await where(0.1, { bytes: SMALL_BYTES }), 'now')
  t.is(await where(0.1, { bytes: SMALL_BYTES + 1 }), 'later')
})

test('after some slow operations all run later for a while, and the longer the slower they were', async (t) => {
  const { where, pass } = gauged()
  let slow = 0
  while ((await where(10)) === 'now') slow++
  t.ok(slow >= 2 && slow <= 10, `${slow} slow ones were forgiven`)
  t.is(await where(0.01), 'later')
  pass(1000)
  t.is(await where(0.01), 'now', 'it is tried again')
  await where(5000)
  pass(60_000)
  t.is(await where(0.01), 'later', 'a disk that hung is left alone')
  pass(60_000)
  t.is(await where(0.01), 'now')
})

test('in the long run slow operations take a small share of the time', async (t) => {
  const { where, pass } = gauged()
  let lost = 0
  for (let ms = 0; ms < 100_000; ms += 10) {
    pass(10)
    if ((await where(10)) === 'now') lost += 10
  }
  t.ok(lost > 0 && lost < 10_000, `${lost} of 100,000 ms`)
})

test('an operation that was interrupted is not slow, unless it took too long for that', async (t) => {
  const { where } = gauged()
  for (let i = 0; i < 100; i++) t.is(await where(15, { interrupted: true }), 'now')
  await where(500, { interrupted: true })
  t.is(await where(0.01), 'later')
})

test('an error of an operation is passed on', async (t) => {
  const pace = new Pace()
  await t.exception(
    pace.run(
      0,
      () => {
        throw new Error('no such file')
      },
      async () => {}
    ),
    /no such file/
  )
})

test('thousands of operations at once leave turns to others', async (t) => {
  const pace = new Pace()
  let done = 0
  let looks = 0
  const look = (): void => {
    looks++
    if (done < 3000) setImmediate(look)
  }
  setImmediate(look)
  const spin = (): void => {
    const end = performance.now() + 0.05
    while (performance.now() < end);
    done++
  }
  await Promise.all(Array.from({ length: 3000 }, () => pace.run(0, spin, async () => spin())))
  t.is(done, 3000)
  t.ok(looks > 5, `${looks} turns`)
})
