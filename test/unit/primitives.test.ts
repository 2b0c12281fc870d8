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
