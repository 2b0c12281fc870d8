import test from 'brittle'
import * as flat from '../../lib/primitives/flat-tree.ts'
import { Bitmap, PAGE_BITS } from '../../lib/primitives/bitmap.ts'

test('flat tree: parents, siblings and children agree with each other', (t) => {
  for (let index = 0; index < 2000; index++) {
    const up = flat.parent(index)
    if (flat.leftChild(up) !== index && flat.rightChild(up) !== index) t.fail(`parent of ${index}`)
    if (flat.sibling(flat.sibling(index)) !== index) t.fail(`sibling of ${index}`)
    if (flat.endBlock(index) - flat.firstBlock(index) !== flat.blockCount(index))
      t.fail(`span of ${index}`)
  }
  t.pass('compared')
})

test('flat tree: full roots cover every block once and are beyond 32 bits exact', (t) => {
  for (const length of [0, 1, 2, 3, 5, 7, 1000, 1023, 1024, 2 ** 40 + 12345]) {
    let next = 0
    for (const root of flat.fullRoots(length)) {
      t.is(flat.firstBlock(root), next)
      next = flat.endBlock(root)
    }
    t.is(next, length)
  }
  t.alike(flat.fullRoots(5), [3, 8])
  t.is(flat.rootOf(4, 5), 8)
  t.is(flat.rootOf(5, 5), -1)
})

test('bitmap: every question gives what a plain array of booleans gives', (t) => {
  const bitmap = new Bitmap()
  const plain: boolean[] = []
  let seed = 7
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    return seed % limit
  }
  const size = PAGE_BITS * 2 + 500
  for (let i = 0; i < size; i++) plain.push(false)
  for (let round = 0; round < 300; round++) {
    const start = random(size)
    const end = Math.min(size, start + random(round % 10 === 0 ? PAGE_BITS * 2 : 100))
    const value = random(3) !== 0
    bitmap.setRange(start, end, value)
    plain.fill(value, start, end)
    const a = random(size)
    const b = Math.min(size, a + random(PAGE_BITS))
    let count = 0
    for (let i = a; i < b; i++) if (plain[i]) count++
    const first = plain.indexOf(true, a)
    const unset = plain.indexOf(false, a)
    if (bitmap.count(a, b) !== count) return t.fail(`count ${a} ${b} in round ${round}`)
    if (bitmap.firstSet(a) !== first) return t.fail(`firstSet ${a} in round ${round}`)
    if (bitmap.firstUnset(a) !== (unset === -1 ? size : unset)) return t.fail(`firstUnset ${a}`)
    if (bitmap.get(a) !== plain[a]) return t.fail(`get ${a}`)
    if (bitmap.hasAll(a, b) !== (count === b - a)) return t.fail(`hasAll ${a} ${b}`)
    if (bitmap.hasAny(a, b) !== count > 0) return t.fail(`hasAny ${a} ${b}`)
  }
  const copy = new Bitmap()
  copy.setWords(0, bitmap.words(0, Math.ceil(size / 32)))
  t.alike([...copy.runs(0, size)], [...bitmap.runs(0, size)])
  t.alike([...bitmap.clone().runs(0, size)], [...bitmap.runs(0, size)])
})

test('bitmap: pages are kept only while they are neither empty nor full, however they came to be so', (t) => {
  const bitmap = new Bitmap()
  const check = (what: string, pages: number, count: number): void => {
    t.is(bitmap.pages, pages, `pages ${what}`)
    t.is(bitmap.count(0, 4 * PAGE_BITS), count, `count ${what}`)
    t.alike(
      [...bitmap.runs(0, 4 * PAGE_BITS)].reduce((sum, [start, end]) => sum + end - start, 0),
      count
    )
  }
  for (let i = 0; i < PAGE_BITS; i++) if (!bitmap.set(i, true)) t.fail(`bit ${i} was set`)
  t.is(bitmap.set(7, true), false, 'nothing changes')
  check('after all bits were set one by one', 0, PAGE_BITS)
  bitmap.set(PAGE_BITS - 1, false)
  check('after one bit was cleared', 1, PAGE_BITS - 1)
  bitmap.setWords(PAGE_BITS - 64, Uint32Array.of(0xffffffff, 0xffffffff))
  check('after words made it full', 0, PAGE_BITS)
  bitmap.setWords(PAGE_BITS - 32, Uint32Array.of(0, 1, 0x80000000))
  check('after words across two pages', 2, PAGE_BITS - 30)
  bitmap.setRange(PAGE_BITS - 100, PAGE_BITS + 64, false)
  check('after a range across both', 1, PAGE_BITS - 100)
  bitmap.setWords(0, new Uint32Array(1024))
  check('after empty words', 0, 0)
  bitmap.setRange(5, 2 * PAGE_BITS + 5, true)
  check('after a long range', 2, 2 * PAGE_BITS)
  bitmap.setRange(0, Number.MAX_SAFE_INTEGER, false)
  check('after everything was cleared', 0, 0)
})

test('bitmap: whole words in any place do what setting their bits does', (t) => {
  const [given, plain] = [new Bitmap(), new Bitmap()]
  let seed = 11
  const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0)
  for (let round = 0; round < 60; round++) {
    const start = 32 * ((random() >>> 8) % 2500)
    const kind = round % 3
    const words = Uint32Array.from({ length: (random() >>> 8) % 1500 }, () =>
      kind === 0 ? random() ^ (random() >>> 13) : kind === 1 ? 0xffffffff : 0
    )
    given.setWords(start, words)
    words.forEach((word, i) => {
      for (let k = 0; k < 32; k++) plain.set(start + 32 * i + k, ((word >>> k) & 1) === 1)
    })
    if (given.pages !== plain.pages) return t.fail(`pages in round ${round}`)
    t.alike(given.words(0, 4096), plain.words(0, 4096))
  }
})

test('bitmap: questions about a few bits do not look beyond them', (t) => {
  const bitmap = new Bitmap()
  bitmap.setRange(100, 200, true)
  t.is(bitmap.firstSet(0, 100), -1)
  t.is(bitmap.firstSet(0, 101), 100)
  t.is(bitmap.firstSet(200), -1)
  t.is(bitmap.firstSet(250, 210), -1, 'an empty range')
  t.ok(bitmap.hasAll(100, 200))
  t.absent(bitmap.hasAll(100, 201))
  t.ok(bitmap.hasAll(300, 300), 'of nothing')
  t.absent(bitmap.hasAny(200, 2 ** 40))
  t.alike([...bitmap.runs(150, 2 ** 40)], [[150, 200]])
  t.alike([...bitmap.runs(150, 160)], [[150, 160]])
  t.alike([...bitmap.runs(160, 150)], [])
})

test('bitmap: it may change while its runs are listed', (t) => {
  const bitmap = new Bitmap()
  for (let i = 0; i < 10; i++) bitmap.set(10 * i, true)
  const seen: number[] = []
  for (const [start] of bitmap.runs(0, 100)) {
    seen.push(start)
    if (start === 30) bitmap.setRange(40, 80, false)
    if (start === 80) bitmap.setRange(0, PAGE_BITS, false)
  }
  t.alike(seen, [0, 10, 20, 30, 80])
})
