import { test } from 'brittle'
import { memory, Synchronizer } from '../../lib/index.ts'
import { missingRanges } from '../../lib/feed/missing-ranges.ts'
import { Bitmap, PAGE_BITS } from '../../lib/primitives/bitmap.ts'
import { wholeNumbers } from '../fixtures/random.ts'

/** Bit by bit. */
function slowly(have: Bitmap, start: number, end: number): [number, number][] {
  const ranges: [number, number][] = []
  for (let at = start; at < end; at++) {
    if (have.get(at)) continue
    const last = ranges.at(-1)
    if (last?.[1] === at) last[1] = at + 1
    else ranges.push([at, at + 1])
  }
  return ranges
}

test('missing ranges are those found bit by bit, at all edges of words, pages and batches', (t) => {
  const next = wholeNumbers(3)
  for (let round = 0; round < 60; round++) {
    const have = new Bitmap()
    const edges = [
      0,
      31,
      32,
      PAGE_BITS - 1,
      PAGE_BITS,
      2 * PAGE_BITS,
      2 * PAGE_BITS + 1,
      4 * PAGE_BITS
    ]
    const at = (): number =>
      next(2) === 0 ? next(5 * PAGE_BITS) : (edges[next(edges.length)] as number)
    for (let i = 0; i < 12; i++) {
      const from = at()
      have.setRange(from, Math.max(from + next(40), at()), next(3) !== 0)
    }
    const start = at()
    const end = start + at()
    t.alike(missingRanges(have, start, end), slowly(have, start, end), `${start} to ${end}`)
  }
})

test('a feed of which nothing or all is here has one range or none, however long it is', (t) => {
  const have = new Bitmap()
  t.alike(missingRanges(have, 5, 2 ** 40), [[5, 2 ** 40]])
  have.setRange(0, 2 ** 30, true)
  t.alike(missingRanges(have, 0, 2 ** 30), [])
  t.alike(missingRanges(have, 7, 7), [])
  have.setRange(12, 13, false)
  t.alike(missingRanges(have, 0, 2 ** 30 + 2), [
    [12, 13],
    [2 ** 30, 2 ** 30 + 2]
  ])
})

test('a session tells what of its feed is not here', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  t.teardown(() => sync.close())
  const session = await sync.create('feed')
  await session.append(Array.from({ length: 10 }, (_, i) => `${i}`))
  t.alike(await session.missing(), [])
  await session.clear(3, 5)
  await session.clear(8, 10)
  t.alike(await session.missing(), [
    [3, 5],
    [8, 10]
  ])
  t.alike(await session.missing(4, 9), [
    [4, 5],
    [8, 9]
  ])
  t.alike(await session.missing(9, 100), [[9, 10]], 'what no feed has is not missing')
  await t.exception(session.missing(-1, 5), /BAD_ARGUMENT/)
})
