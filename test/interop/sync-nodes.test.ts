/** Nodes of the tree that are asked of real hypercores, without the blocks below them. */
import test from 'brittle'
import { isSynclineError } from '../../lib/index.ts'
import type { Feed } from '../../lib/feed/feed.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { depth, endBlock, firstBlock, fullRoots } from '../../lib/primitives/flat-tree.ts'
import type { TreeNode } from '../../lib/wire/message.ts'
import {
  blocksOf,
  connectSyncs,
  DIALLING,
  faultsOf,
  filledCore,
  openCore,
  openSync,
  replicatePair,
  until,
  VERSIONS
} from './helpers.ts'

const COUNT = 300

/** The same blocks under another key: a node is the same wherever it stands. */
async function tree(): Promise<Feed> {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(blocksOf(0, COUNT))
  return feed
}

/** All nodes, asked for at the same time; null where there is none. */
function nodesOf(from: { node(index: number): Promise<unknown> }): Promise<unknown[]> {
  return Promise.all(
    Array.from({ length: 2 * COUNT - 1 }, (_, index) => from.node(index).catch(() => null))
  )
}

for (const version of VERSIONS) {
  const { name } = version

  test(`every node of a feed is asked of ${name}, and none is stored`, async (t) => {
    const whole = await tree()
    const core = await filledCore(t, version, COUNT)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const copy = sync.add(core.key, { mode: 'both', ranges: [] })
    await DIALLING.connect(t, sync, core)
    await until(() => copy.length === COUNT)
    t.alike(await nodesOf(copy), await nodesOf(whole))
    const feed = await copy.feed()
    t.is(feed.have.count(0, COUNT), 0)
    t.ok((await feed.missingNodes(2 * 77)) > 5)
    // From the top down, as one compares.
    const [left, right] = await copy.children(255)
    t.alike([left, right], [await whole.node(127), await whole.node(383)])
    t.alike(faults, [])
  })

  test(`a ${name} with gaps is asked for what it has, and outlives it`, async (t) => {
    const whole = await tree()
    const core = await filledCore(t, version, COUNT)
    const part = await openCore(t, version, core.key)
    replicatePair(t, core, part)
    await part.download({ start: 64, end: 96 }).done()
    await part.get(5)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const copy = sync.add(core.key, { mode: 'both', ranges: [] })
    await DIALLING.connect(t, sync, part)
    await until(() => copy.length === COUNT)
    for (const index of [10, 8, 2 * 70, 159, 191, 223, 127]) {
      t.alike(await copy.node(index, { timeoutMs: 5000 }), await whole.node(index), `node ${index}`)
    }
    const error = await copy.node(2 * 200, { timeoutMs: 300 }).catch((error: unknown) => error)
    t.ok(isSynclineError(error, 'TIMEOUT'), 'a node that it lacks')
    t.alike(Buffer.from((await copy.get(64)) as Uint8Array), blocksOf(64, 65)[0])
    t.is(copy.peers.length, 1, 'it is still there')
    t.alike(faults, [])
  })

  test(`what is the same as in a ${name} is adopted, and only the rest is transferred`, async (t) => {
    const core = await filledCore(t, version, COUNT)
    const blocks = blocksOf(0, COUNT)
    blocks[123] = Buffer.from(blocks[123] as Uint8Array).fill(1)
    const old = await StoredFeed.open(memoryStore(newIdentity()))
    await old.append(blocks)
    const store = memoryStore(identityFromKey(core.key))
    const data = [{ offset: 0, parts: blocks }]
    await store.commit({ data, contiguousLength: 0, durability: 'os' })
    const sync = openSync(t)
    const copy = sync.host(core.key, () => StoredFeed.open(store), { mode: 'pull', ranges: [] })
    await DIALLING.connect(t, sync, core)
    await until(() => copy.length === COUNT)

    const feed = await copy.feed()
    const path: TreeNode[] = []
    const descend = async (index: number): Promise<void> => {
      const [ours, theirs] = [await old.node(index), await copy.node(index)]
      const [start, end] = [firstBlock(index), endBlock(index)]
      if (Buffer.compare(ours?.hash ?? new Uint8Array(0), theirs.hash) === 0) {
        t.is(await feed.adopt({ start, leaves: await old.leaves(start, end), path }), 'adopted')
      } else if (depth(index) > 0) {
        const children = await copy.children(index)
        path.push(...children)
        for (const child of children) await descend(child.index)
      }
    }
    for (const root of fullRoots(COUNT)) await descend(root)
    t.is(feed.have.count(0, COUNT), COUNT - 1)
    const taken: number[] = []
    copy.on('download', (index) => taken.push(index))
    await copy.want([0, Infinity])
    await copy.synced()
    t.alike(taken, [123])
    t.alike(await feed.audit(), { blocks: COUNT, bad: [], head: true })
  })
}

test('nodes are asked of a synchronizer as of a hypercore', async (t) => {
  const whole = await tree()
  const [from, to] = [openSync(t), openSync(t)]
  const source = await from.create('source')
  await source.append(blocksOf(0, COUNT))
  await connectSyncs(to, from)
  const copy = to.add(source.key, { mode: 'both', ranges: [] })
  await until(() => copy.length === COUNT)
  t.alike(await nodesOf(copy), await nodesOf(whole))
})
