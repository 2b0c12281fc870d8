/** Blocks that lie in their place before the feed holds them. */
import test from 'brittle'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { blocksFrom, getBlock, headProof } from '../conformance/feed.ts'

const LENGTH = 1000

test('a file that is here already becomes the copy of a feed, which is there when it is opened again', async (t) => {
  const blocks = blocksFrom(0, LENGTH)
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(blocks)
  const folder = `${await t.tmp()}/feed`
  const store = await FileStore.create(folder, identityFromKey(feed.key))
  const copy = await StoredFeed.open(store)
  await copy.applyProof(await headProof(feed))
  // Block 300 is not the same, which only its hash tells.
  const bytes = Buffer.concat(blocks)
  const wrong = Buffer.concat(blocks.slice(0, 300)).byteLength
  bytes[wrong] = 1 ^ (bytes[wrong] as number)
  await store.commit({
    data: [{ offset: 0, parts: [bytes] }],
    contiguousLength: 1,
    durability: 'os'
  })

  const path = await Promise.all(
    Array.from({ length: 2 * LENGTH - 1 }, (_, index) => feed.node(index))
  ).then((nodes) => nodes.filter((node) => node !== null))
  for (const [start, end] of [
    [301, 302],
    [302, LENGTH],
    [0, 300]
  ] as const) {
    t.is(await copy.adopt({ start, leaves: await feed.leaves(start, end), path }), 'adopted')
  }
  t.alike(await copy.audit(), { blocks: LENGTH - 1, bad: [], head: true })
  await copy.close()

  const again = await StoredFeed.open(FileStore.open(folder))
  t.teardown(() => again.close())
  t.alike(await again.audit(), { blocks: LENGTH - 1, bad: [], head: true })
  t.is(again.contiguousLength, 300)
  await getBlock(feed, again, 300)
  t.alike(await again.audit(), { blocks: LENGTH, bad: [], head: true })
})

test('nodes of a large adoption are written only where what they hang from is stored', async (t) => {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(blocksFrom(0, LENGTH))
  const store = memoryStore(identityFromKey(feed.key))
  const copy = await StoredFeed.open(store)
  t.teardown(() => copy.close())
  await copy.applyProof(await headProof(feed))
  const commit = store.commit.bind(store)
  store.commit = async (change) => {
    for (const { first, bytes } of change.nodeRuns ?? []) {
      const root = first + (bytes.byteLength / 40 - 1) / 2
      t.alike(await store.getNode(root), await feed.node(root), 'its root')
    }
    await commit(change)
  }
  const path = await Promise.all([223, 319].map((index) => feed.node(index)))
  const leaves = await feed.leaves(64, 96)
  const given = path.filter((node) => node !== null)
  t.is(await copy.adopt({ start: 64, leaves, path: given }), 'adopted')
})
