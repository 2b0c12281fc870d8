/** Peers that lie about nodes of the tree: each is found out, and nothing that they said is kept. */
import test from 'brittle'
import type { ErrorCode, FeedSession } from '../../lib/index.ts'
import type { Data, TreeNode } from '../../lib/wire/message.ts'
import type { Behaviour } from './hostile.ts'
import { Stage, until } from './stage.ts'

const LIES: readonly {
  readonly name: string
  readonly lie: (nodes: readonly TreeNode[]) => readonly TreeNode[]
  readonly codes: readonly ErrorCode[]
}[] = [
  {
    name: 'wrong hash',
    lie: changed(0, { hash: new Uint8Array(32) }),
    codes: ['INVALID_CHECKSUM']
  },
  {
    name: 'wrong hash beside it',
    lie: changed(1, { hash: new Uint8Array(32) }),
    codes: ['INVALID_CHECKSUM']
  },
  { name: 'wrong size', lie: changed(0, { size: 5 }), codes: ['INVALID_CHECKSUM'] },
  { name: 'size beyond all', lie: changed(0, { size: 2 ** 53 - 1 }), codes: ['INVALID_PROOF'] },
  { name: 'node at the wrong place', lie: changed(1, { index: 2 }), codes: ['INVALID_PROOF'] },
  { name: 'node too few', lie: (nodes) => nodes.slice(0, -1), codes: ['INVALID_PROOF'] },
  { name: 'node alone', lie: (nodes) => nodes.slice(0, 1), codes: ['INVALID_PROOF'] },
  {
    name: 'node too many',
    lie: (nodes) => [...nodes, ...nodes.slice(0, 1)],
    codes: ['INVALID_PROOF']
  },
  { name: 'proof without nodes', lie: () => [], codes: ['INVALID_PROOF'] }
]

function changed(
  at: number,
  change: Partial<TreeNode>
): (nodes: readonly TreeNode[]) => readonly TreeNode[] {
  return (nodes) => nodes.map((node, i) => (i === at ? { ...node, ...change } : node))
}

/** Changes the hash part of each answer. */
function lying(lie: (hash: NonNullable<Data['hash']>) => Data['hash']): Behaviour {
  return {
    mutate: (message) => [
      message.type === 'data' && message.hash !== null
        ? { ...message, hash: lie(message.hash) }
        : message
    ]
  }
}

/** Nothing but what the first head brought is stored. */
async function keepsNothing(copy: FeedSession, index: number): Promise<boolean> {
  const feed = await copy.feed()
  return feed.have.count(0, feed.length) === 0 && (await feed.node(index)) === null
}

for (const { name, lie, codes } of LIES) {
  test(`a ${name} costs the liar its connection`, async (t) => {
    const stage = await Stage.open(t, { ranges: [] })
    const { peer } = await stage.attack(lying((hash) => ({ ...hash, nodes: lie(hash.nodes) })))
    await until(() => stage.copy.length > 0)
    const asked = stage.copy.node(135)
    await stage.refuses(peer, ...codes)
    t.ok(await keepsNothing(stage.copy, 135))
    await stage.source.setDirection('both')
    t.alike(await asked, await stage.feed.node(135), 'somebody else is asked')
    await stage.recover()
  })
}

test('an answer without a node costs the liar its connection', async (t) => {
  const stage = await Stage.open(t, { ranges: [] })
  const { peer } = await stage.attack(lying(() => null))
  await until(() => stage.copy.length > 0)
  const asked = stage.copy.node(135)
  await stage.refuses(peer, 'BAD_MESSAGE')
  await stage.source.setDirection('both')
  t.alike(await asked, await stage.feed.node(135))
  await stage.recover()
})

test('who moved bytes from one node to its sibling is found once the nodes below are known', async (t) => {
  const stage = await Stage.open(t, { ranges: [] })
  // The sum is right, and with it the hash above.
  const { peer } = await stage.attack(
    lying((hash) => ({
      ...hash,
      nodes: hash.nodes.map((node, i) => {
        const moved = hash.index === 127 && i < 2 ? 7 - 14 * i : 0
        return { ...node, size: node.size + moved }
      })
    }))
  )
  await until(() => stage.copy.length > 0)
  const [left] = await stage.copy.children(255)
  const truth = await stage.feed.node(127)
  t.is(left.size, (truth?.size ?? 0) + 7, 'a claim')
  t.alike(left.hash, truth?.hash, 'and yet its hash is right')
  t.alike(
    await stage.copy.children(127),
    await Promise.all([63, 191].map((index) => stage.feed.node(index)))
  )
  await stage.refuses(peer, 'INVALID_CHECKSUM')
  t.alike(await stage.copy.node(127), truth, 'the claim is corrected')
  t.alike(await stage.copy.node(383), await stage.feed.node(383))
  await stage.recover()
})

test('a peer that says it lacks a node, or nothing at all, is waited for no longer than for others', async (t) => {
  const stage = await Stage.open(t, { ranges: [] })
  const mute = await stage.attack({ onrequest: (request) => request.hash !== null })
  await until(() => stage.copy.length > 0)
  const asked = stage.copy.node(135)
  await until(() =>
    mute.peer.received.some((message) => message.type === 'request' && message.hash !== null)
  )
  const refusing = await stage.attack({
    mutate: (message) => [
      message.type === 'data' && message.hash !== null
        ? { type: 'no-data', request: message.request, reason: 1 }
        : message
    ]
  })
  await stage.source.setDirection('both')
  t.alike(await asked, await stage.feed.node(135))
  t.is(refusing.peer.closed, false)
  await stage.recover()
})
