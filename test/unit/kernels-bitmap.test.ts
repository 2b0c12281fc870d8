import test from 'brittle'
import {
  andNot,
  BITMAP_WORDS_MAX,
  countSet,
  firstSet,
  firstUnset,
  fromRuns,
  setRuns,
  unsetRuns
} from '../../lib/kernels/bitmap.ts'
import {
  referenceAndNot,
  referenceBits,
  referenceCount,
  referenceFirst,
  referenceFromRuns,
  type ReferenceRun,
  referenceRuns,
  referenceWords
} from '../reference/bitmap.ts'
import { randomBytes } from '../reference/bytes.ts'

const PATTERNS = ['empty', 'full', 'alternating', 'half', 'sparse', 'dense', 'runs'] as const

/** Words of a pattern; those that look random depend on the seed only. */
function pattern(name: (typeof PATTERNS)[number], count: number, seed: number): Uint32Array {
  const random = (seed: number) => new Uint32Array(randomBytes(4 * count, seed).buffer)
  const [a, b, c, d] = [0, 1, 2, 3].map((i) => random(7 * seed + i)) as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array
  ]
  return a.map((half, i) => {
    const rare = half & b[i]! & c[i]! & d[i]! & (a[(i + 1) % count]! >>> 3)
    if (name === 'empty') return 0
    if (name === 'full') return 0xffffffff
    if (name === 'alternating') return 0x55555555
    if (name === 'half') return half
    if (name === 'sparse') return rare
    if (name === 'dense') return ~rare
    // Words that are mostly empty or full, so that runs go on over many of them.
    return b[i]! % 5 === 0 ? half : b[i >>> 3]! & 1 ? 0xffffffff : 0
  })
}

const pairs = (runs: Uint32Array): ReferenceRun[] =>
  Array.from({ length: runs.length / 2 }, (_, i) => [runs[2 * i]!, runs[2 * i + 1]!])

const flat = (runs: readonly ReferenceRun[]): Uint32Array => Uint32Array.from(runs.flat())

/** What the kernel says of a range that differs from what the slow twin says, or null. */
function difference(
  words: Uint32Array,
  bits: readonly boolean[],
  start: number,
  end: number
): string | null {
  const answers: [string, unknown, unknown][] = [
    ['count', countSet(words, start, end), referenceCount(bits, start, end)],
    ['firstSet', firstSet(words, start, end), referenceFirst(bits, start, end, true)],
    ['firstUnset', firstUnset(words, start, end), referenceFirst(bits, start, end, false)],
    ['setRuns', pairs(setRuns(words, start, end)), referenceRuns(bits, start, end, true)],
    ['unsetRuns', pairs(unsetRuns(words, start, end)), referenceRuns(bits, start, end, false)]
  ]
  for (const [name, given, expected] of answers) {
    if (JSON.stringify(given) !== JSON.stringify(expected)) return `${name} ${start} ${end}`
  }
  return null
}

test('every range from every bit of a word, of every length from 0 to 300, is answered as the slow twin does', (t) => {
  for (const name of PATTERNS) {
    const words = pattern(name, 11, 1)
    const bits = referenceBits(words)
    for (let start = 0; start < 34; start++) {
      for (let length = 0; length <= 300; length++) {
        const wrong = difference(words, bits, start, start + length)
        if (wrong !== null) return t.fail(`${name}: ${wrong}`)
      }
    }
    t.pass(name)
  }
})

test('whole bitmaps of 0 to 300 words are answered as the slow twin does', (t) => {
  for (const name of PATTERNS) {
    for (let count = 0; count <= 300; count += count < 40 ? 1 : 13) {
      const words = pattern(name, count, count)
      const wrong = difference(words, referenceBits(words), 0, 32 * count)
      if (wrong !== null) return t.fail(`${name}, ${count} words: ${wrong}`)
    }
    t.pass(name)
  }
})

test('a bitmap of several kernel calls is answered as the slow twin does', (t) => {
  for (const name of PATTERNS) {
    const words = pattern(name, 5000, 2)
    const bits = referenceBits(words)
    for (const start of [0, 31, 65_535, 65_536, 100_000, 131_071]) {
      for (const end of [131_072, 131_073, 159_999, 160_000]) {
        const wrong = difference(words, bits, start, end)
        if (wrong !== null) return t.fail(`${name}: ${wrong}`)
      }
    }
    t.pass(name)
  }
  const last = new Uint32Array(5000)
  last[4999] = 0x80000000
  t.is(firstSet(last, 0, 160_000), 159_999)
  t.is(
    firstUnset(
      last.map((word) => ~word),
      0,
      160_000
    ),
    159_999
  )
})

test('words are read where they lie: a view into a buffer is one like any other', (t) => {
  const all = pattern('half', 80, 3)
  for (let from = 0; from < 9; from++) {
    const words = all.subarray(from, from + 33)
    const wrong = difference(words, referenceBits(words), 5, 1040)
    if (wrong !== null) t.fail(`from word ${from}: ${wrong}`)
  }
  t.pass('compared')
})

test('andNot of every count of words from 0 to 300 equals the slow twin', (t) => {
  for (let count = 0; count <= 300; count++) {
    const [wanted, have, inFlight] = [
      pattern('half', count, 3 * count),
      pattern('runs', count, 3 * count + 1),
      pattern('sparse', count, 3 * count + 2)
    ] as [Uint32Array, Uint32Array, Uint32Array]
    const before = [wanted.slice(), have.slice(), inFlight.slice()]
    const expected = referenceAndNot(
      referenceBits(wanted),
      referenceBits(have),
      referenceBits(inFlight)
    )
    const result = andNot(wanted, have, inFlight)
    if (Buffer.compare(asBytes(result), asBytes(referenceWords(expected))) !== 0) {
      t.fail(`${count} words`)
    }
    const after = [wanted, have, inFlight]
    if (after.some((words, i) => Buffer.compare(asBytes(words), asBytes(before[i]!)) !== 0)) {
      t.fail(`${count} words: an argument was changed`)
    }
  }
  t.pass('compared')
})

test('andNot of more words than one kernel call takes', (t) => {
  const [wanted, have, inFlight] = [0, 1, 2].map((seed) => pattern('half', 5001, seed)) as [
    Uint32Array,
    Uint32Array,
    Uint32Array
  ]
  const expected = wanted.map((word, i) => word & ~have[i]! & ~inFlight[i]!)
  t.is(Buffer.compare(asBytes(andNot(wanted, have, inFlight)), asBytes(expected)), 0)
})

test('runs give back the words that they were listed from', (t) => {
  for (const name of PATTERNS) {
    for (const count of [0, 1, 2, 3, 4, 5, 63, 64, 65, 1024, 5000]) {
      const words = pattern(name, count, count)
      const again = fromRuns(setRuns(words, 0, 32 * count), count)
      if (Buffer.compare(asBytes(again), asBytes(words)) !== 0) t.fail(`${name}, ${count} words`)
      const gaps = fromRuns(unsetRuns(words, 0, 32 * count), count).map((word) => ~word)
      if (Buffer.compare(asBytes(gaps), asBytes(words)) !== 0) t.fail(`${name}, ${count}: gaps`)
    }
  }
  t.pass('compared')
})

test('fromRuns takes runs in any order, of any length, also those that overlap', (t) => {
  const bounds = new Uint16Array(randomBytes(4000, 4).buffer)
  for (let round = 0; round < 200; round++) {
    const runs = Array.from({ length: round % 7 }, (_, i): ReferenceRun => {
      const start = bounds[2 * (5 * round + i)]! % 600
      return [start, bounds[2 * (5 * round + i) + 1]! % (641 - start)]
    })
    const expected = referenceWords(referenceFromRuns(runs, 640))
    if (Buffer.compare(asBytes(fromRuns(flat(runs), 20)), asBytes(expected)) !== 0) {
      t.fail(JSON.stringify(runs))
    }
  }
  t.pass('compared')
})

test('fromRuns of more words and of more runs than one kernel call takes', (t) => {
  const count = 2 ** 20 + 5
  const edge = 2 ** 25
  const runs: ReferenceRun[] = [
    [edge - 3, 6],
    [0, 1],
    [edge + 159, 1],
    [edge + 100, 0]
  ]
  const words = fromRuns(flat(runs), count)
  t.alike(pairs(setRuns(words, 0, 32 * count)), [
    [0, 1],
    [edge - 3, 6],
    [edge + 159, 1]
  ])
  const many = Array.from({ length: 20_000 }, (_, i): ReferenceRun => [3 * i, 2])
  t.alike(pairs(setRuns(fromRuns(flat(many), 1875), 0, 60_000)), many)
})

test("results are the caller's: later calls leave them alone", (t) => {
  const words = pattern('runs', 100, 5)
  const results = [
    andNot(words, words, words),
    setRuns(words, 0, 3200),
    fromRuns(flat([[1, 2]]), 4)
  ]
  const before = results.map((result) => result.slice())
  const other = pattern('half', 3000, 6)
  andNot(other, other, other)
  setRuns(other, 0, 96_000)
  results.forEach((result, i) => t.alike(result, before[i]))
  t.ok(results.every((result) => result.buffer.byteLength === result.byteLength))
})

test('the bitmap kernels refuse arguments that do not fit each other', async (t) => {
  const words = new Uint32Array(4)
  const huge = { length: BITMAP_WORDS_MAX + 1 } as Uint32Array
  const cases: [string, () => unknown][] = [
    ['fewer have', () => andNot(words, new Uint32Array(3), words)],
    ['more in flight', () => andNot(words, words, new Uint32Array(5))],
    ['behind the end', () => countSet(words, 0, 129)],
    ['before the start', () => firstSet(words, -1, 5)],
    ['backwards', () => setRuns(words, 6, 5)],
    ['no number', () => firstUnset(words, NaN, 5)],
    ['a fraction', () => unsetRuns(words, 0, 5.5)],
    ['no end', () => unsetRuns(words, 0, Infinity)],
    ['too many words', () => countSet(huge, 0, 5)],
    ['half a run', () => fromRuns(Uint32Array.of(1), 4)],
    ['a run behind the end', () => fromRuns(Uint32Array.of(0, 1, 127, 2), 4)],
    ['a run of everything', () => fromRuns(Uint32Array.of(0xffffffff, 0xffffffff), 4)],
    ['a run that wraps around', () => fromRuns(Uint32Array.of(1, 0xffffffff), 4)],
    ['a run in no words', () => fromRuns(Uint32Array.of(0, 1), 0)],
    ['an empty run far away', () => fromRuns(Uint32Array.of(1000, 0), 4)],
    ['a negative count', () => fromRuns(words, -1)],
    ['a fraction of words', () => fromRuns(words, 1.5)],
    ['too many', () => fromRuns(words, BITMAP_WORDS_MAX + 1)]
  ]
  for (const [name, run] of cases) {
    await t.exception(run, /BAD_ARGUMENT/)
    t.comment(name)
  }
})

function asBytes(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}
