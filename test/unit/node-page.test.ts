import test from 'brittle'
import {
  dropPage,
  keepPage,
  NodePage,
  PAGE_BLOCKS,
  PAGE_NODES
} from '../../lib/feed/tree/node-page.ts'
import { putNode } from '../../lib/feed/tree/tree-nodes.ts'
import { NODE_BYTES } from '../../lib/kernels/fold.ts'
import { NODE_PAGES_MAX } from '../../lib/limits.ts'

const HASH = new Uint8Array(32).fill(7)

/** A page whose leaf i has i bytes, but for those that are absent. */
function pageOf(number: number, absent: readonly number[] = []): NodePage {
  const bytes = new Uint8Array(NODE_BYTES * PAGE_NODES)
  for (let i = 0; i < PAGE_BLOCKS; i++) {
    if (!absent.includes(i)) putNode(bytes, 2 * NODE_BYTES * i, { size: i, hash: HASH })
  }
  return new NodePage(number, bytes, new Map())
}

test('a page knows where its blocks begin once it knows it of the first', (t) => {
  const page = pageOf(3)
  const first = 3 * PAGE_BLOCKS
  t.ok(Number.isNaN(page.offsetOf(first)))
  page.setOffset(1000)
  t.is(page.offsetOf(first), 1000)
  t.is(page.offsetOf(first + 1), 1000, 'block 0 is empty')
  t.is(page.offsetOf(first + 10), 1045)
  t.is(page.offsetOf(first + PAGE_BLOCKS - 1), 1000 + (62 * 63) / 2)
  page.changed()
  t.ok(Number.isNaN(page.offsetOf(first)), 'not after a node was written')
})

test('a page does not know what lies behind a leaf that is absent', (t) => {
  const page = pageOf(0, [5])
  page.setOffset(0)
  t.is(page.offsetOf(5), 10)
  t.ok(Number.isNaN(page.offsetOf(6)))
})

test('a page that ends early has no place for the rest', (t) => {
  const page = new NodePage(1, new Uint8Array(NODE_BYTES * 3), new Map())
  t.is(page.placeOf(PAGE_NODES + 2), 2 * NODE_BYTES)
  t.is(page.placeOf(PAGE_NODES + 3), -1)
})

test('a page that was read again is not taken for the older one', (t) => {
  const owner = new Map<number, NodePage>()
  const older = new NodePage(0, new Uint8Array(0), owner)
  const newer = new NodePage(0, new Uint8Array(0), owner)
  keepPage(older)
  keepPage(newer)
  older.used = false
  const others = new Map<number, NodePage>()
  // As many as let the older one go, while the newer one has its second chance.
  for (let number = 0; number < NODE_PAGES_MAX; number++) {
    const page = new NodePage(number, new Uint8Array(0), others)
    page.used = false
    keepPage(page)
  }
  t.is(owner.get(0), newer)
  for (const page of [...others.values(), newer]) dropPage(page)
})

test('pages of all feeds are bounded together, and those in use stay', (t) => {
  const one = new Map<number, NodePage>()
  const other = new Map<number, NodePage>()
  const bytes = new Uint8Array(0)
  const hot = new NodePage(0, bytes, one)
  keepPage(hot)
  for (let number = 0; number < 3 * NODE_PAGES_MAX; number++) {
    const page = new NodePage(number, bytes, other)
    keepPage(page)
    page.used = false
    hot.used = true
  }
  t.is(one.get(0), hot)
  t.ok(other.size < NODE_PAGES_MAX)
  t.absent(other.has(0))
  for (const page of [...other.values(), hot]) dropPage(page)
  t.is(other.size + one.size, 0)
})
