/** Appends of blocks of which only the leaves are given. */
import test from 'brittle'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { leafHashes, NODE_BYTES } from '../../lib/kernels/fold.ts'
import { blocksFrom } from '../conformance/feed.ts'

const open = (): Promise<StoredFeed> =>
  StoredFeed.open(memoryStore(newIdentity({ seed: new Uint8Array(32).fill(7) })))

function leavesOf(blocks: readonly Uint8Array[]): Uint8Array {
  const hashes = leafHashes(blocks)
  const leaves = new Uint8Array(NODE_BYTES * blocks.length)
  const view = new DataView(leaves.buffer)
  blocks.forEach((block, i) => {
    view.setBigUint64(NODE_BYTES * i, BigInt(block.byteLength), true)
    leaves.set(hashes.subarray(32 * i, 32 * i + 32), NODE_BYTES * i + 8)
  })
  return leaves
}

test('append leaves: the tree is the one of the blocks', async (t) => {
  const whole = await open()
  const leaves = await open()
  t.teardown(() => Promise.all([whole.close(), leaves.close()]))
  for (const count of [1, 2, 3, 7, 40, 1, 100]) {
    const blocks = blocksFrom(whole.length, count)
    const end = await whole.append(blocks)
    t.alike(await leaves.appendLeaves(leavesOf(blocks)), end, `${count} more`)
    const upgrade = { start: 0, length: whole.length }
    const block = { index: whole.length - 1, nodes: 0 }
    const proof = await whole.proof({ upgrade })
    t.alike(await leaves.proof({ upgrade }), proof)
    t.is(await leaves.missingNodes(2 * block.index), 0, 'the leaf is stored')
  }
  t.ok(leaves.have.hasAll(0, leaves.length), 'they count as held')
  t.alike(await leaves.leaves(5, 150), await whole.leaves(5, 150))
})

test('append leaves: half a leaf is refused', async (t) => {
  const feed = await open()
  t.teardown(() => feed.close())
  await t.exception(feed.appendLeaves(new Uint8Array(NODE_BYTES + 1)), /BAD_ARGUMENT/)
  t.is(feed.length, 0)
})
