import test from 'brittle'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'

const blocks = (count: number, byte: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => new Uint8Array([byte, i, ...new Uint8Array(i)]))

test('after a reorg every stored node has its sibling, so that what comes next can be proven', async (t) => {
  const writer = await StoredFeed.open(memoryStore(newIdentity({ seed: new Uint8Array(32) })))
  const reader = await StoredFeed.open(memoryStore(identityFromKey(writer.key)))
  t.teardown(() => writer.close())
  t.teardown(() => reader.close())
  await writer.append(blocks(8, 1))
  await reader.applyProof(
    await writer.proof({
      upgrade: { start: 0, length: 8 },
      block: { index: 0, nodes: 0 },
      manifest: true
    })
  )
  await writer.truncate(4)
  await writer.append(blocks(10, 2))
  // Asked for 6 blocks, the writer proves all its 14: what lies between are nodes without sure sizes.
  const reorg = await reader.reorg(await writer.proof({ upgrade: { start: 0, length: 6 } }))
  while (reorg?.next) {
    await reorg.accept(await writer.proof({ hash: reorg.next }))
  }
  t.is(await reorg?.commit(), 4)
  const nodes = await reader.missingNodes(2 * 5)
  await reader.applyProof(await writer.proof({ block: { index: 5, nodes } }))
  t.alike(await reader.audit(), { blocks: 2, bad: [], head: true })
  const proof = await reader.proof({ block: { index: 5, nodes: 3 } })
  t.is(proof.block?.nodes.length, 3)
})
