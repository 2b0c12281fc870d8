/** Peers that lie about a feed, break the protocol, or ask for what nobody has: each costs only its own connection. */
import test from 'brittle'
import type { ErrorCode } from '../../lib/index.ts'
import type { Data, Message, TreeNode } from '../../lib/wire/message.ts'
import { HostilePeer, type Sent } from './hostile.ts'
import { RETRY_MS_START } from '../../lib/limits.ts'
import { blockOf, Stage, until } from './stage.ts'

/** Lies in answers: what is sent instead of an answer, or null to leave it as it is. */
const LIES: readonly {
  readonly name: string
  readonly lie: (data: Data) => Data | null
  readonly codes: readonly ErrorCode[]
  /** True if the lie is about a block that comes with a proof. */
  readonly proven?: boolean
}[] = [
  {
    name: 'a wrong bare value',
    lie: (data) => (isBare(data) ? withValue(data, flip) : null),
    codes: ['INVALID_CHECKSUM']
  },
  {
    name: 'a bare value with a byte too many',
    lie: (data) =>
      isBare(data) ? withValue(data, (value) => Buffer.concat([value, value, Buffer.of(1)])) : null,
    codes: ['INVALID_CHECKSUM']
  },
  {
    name: 'a wrong value with a proof',
    lie: (data) => (isProof(data) ? withValue(data, flip) : null),
    codes: ['INVALID_CHECKSUM'],
    proven: true
  },
  {
    name: 'a wrong value with the first head',
    lie: (data) => (data.upgrade !== null ? withValue(data, flip) : null),
    codes: ['INVALID_SIGNATURE', 'INVALID_CHECKSUM']
  },
  {
    name: 'a wrong hash in a proof',
    lie: (data) =>
      isProof(data) ? withNode(data, ({ hash, ...node }) => ({ ...node, hash: flip(hash) })) : null,
    codes: ['INVALID_CHECKSUM'],
    proven: true
  },
  {
    name: 'a wrong size in a proof',
    lie: (data) =>
      isProof(data) ? withNode(data, (node) => ({ ...node, size: node.size + 1 })) : null,
    codes: ['INVALID_CHECKSUM'],
    proven: true
  },
  {
    name: 'a node at the wrong place in a proof',
    lie: (data) =>
      isProof(data) ? withNode(data, (node) => ({ ...node, index: node.index + 4 })) : null,
    codes: ['INVALID_PROOF'],
    proven: true
  },
  {
    name: 'a proof without its nodes',
    lie: (data) =>
      isProof(data) ? { ...data, block: data.block && { ...data.block, nodes: [] } } : null,
    codes: ['INVALID_PROOF', 'INVALID_CHECKSUM'],
    proven: true
  },
  {
    name: 'a head with a wrong hash',
    lie: (data) =>
      withHead(data, (nodes) => nodes.map((node) => ({ ...node, hash: flip(node.hash) }))),
    codes: ['INVALID_SIGNATURE']
  },
  {
    name: 'a head with a wrong size',
    lie: (data) =>
      withHead(data, (nodes) => nodes.map((node) => ({ ...node, size: node.size + 1 }))),
    codes: ['INVALID_SIGNATURE']
  },
  {
    name: 'a head without nodes',
    lie: (data) => withHead(data, () => []),
    codes: ['INVALID_PROOF', 'INVALID_SIGNATURE']
  },
  {
    name: 'a wrong signature',
    lie: (data) =>
      data.upgrade && {
        ...data,
        upgrade: { ...data.upgrade, signature: flip(data.upgrade.signature) }
      },
    codes: ['INVALID_SIGNATURE', 'INVALID_PROOF']
  },
  {
    name: 'a signature that is none',
    lie: (data) =>
      data.upgrade && { ...data, upgrade: { ...data.upgrade, signature: Buffer.alloc(3) } },
    codes: ['INVALID_SIGNATURE', 'INVALID_PROOF', 'BAD_MESSAGE']
  },
  {
    name: 'a head of a length that was not signed',
    lie: (data) =>
      data.upgrade && { ...data, upgrade: { ...data.upgrade, length: data.upgrade.length + 1 } },
    codes: ['INVALID_PROOF', 'INVALID_SIGNATURE']
  },
  {
    name: 'a bare value for another block',
    lie: (data) =>
      isBare(data)
        ? { ...data, block: data.block && { ...data.block, index: data.block.index + 1 } }
        : null,
    codes: ['BAD_MESSAGE']
  },
  {
    name: 'a proof for another block',
    lie: (data) =>
      isProof(data)
        ? { ...data, block: data.block && { ...data.block, index: data.block.index + 1 } }
        : null,
    codes: ['BAD_MESSAGE'],
    proven: true
  },
  {
    name: 'an answer without what was asked for',
    lie: (data) => (isBare(data) ? { ...data, block: null } : null),
    codes: ['BAD_MESSAGE']
  }
]

for (const { name, lie, codes, proven = false } of LIES) {
  test(`${name} costs the liar its connection`, async (t) => {
    const stage = await Stage.open(t, proven ? { ranges: [] } : {})
    const { peer } = await stage.attack({ mutate: mutating(lie) })
    // Somebody waits for a block, which is then asked for with its proof.
    const got = proven ? stage.copy.get(77) : null
    await stage.refuses(peer, ...codes)
    await stage.recover()
    if (got !== null) t.alike(Buffer.from((await got) as Uint8Array), blockOf(77))
  })
}

for (const { name, lie, codes } of LIES.filter(({ name }) => /bare|an answer/.test(name))) {
  test(`${name} among the answers of two peers is found, and the honest one goes on`, async (t) => {
    const stage = await Stage.open(t, { blocks: 3000 })
    let turn = 0
    const { peer } = await stage.attack({
      // One in three, so that chunks hold answers of both.
      mutate: mutating((data) => (data.upgrade !== null || ++turn % 3 === 0 ? lie(data) : null))
    })
    await stage.source.setDirection('both')
    await stage.copy.synced({ timeoutMs: 20_000 })
    for (const { peer: one, error } of stage.ended) {
      const liar = Buffer.from(peer.keyPair.publicKey).equals(one.remotePublicKey as Uint8Array)
      if (!liar || !codes.includes(error?.code as ErrorCode))
        t.fail(`${one.name}: ${error?.message}`)
    }
    await stage.recover()
  })
}

test('a peer that lies in bare values only is found, also where nobody else has the feed', async (t) => {
  const stage = await Stage.open(t, { blocks: 3000 })
  const { peer } = await stage.attack({
    mutate: mutating((data) =>
      isBare(data) && data.block?.index === 2500 ? withValue(data, flip) : null
    )
  })
  await stage.refuses(peer, 'INVALID_CHECKSUM')
  t.ok(stage.copy.progress().heldBlocks > 0, 'what it gave rightly is kept')
  t.is(await stage.copy.has(2500), false)
  await stage.recover()
})

test('a liar that we dialled is closed, and dialled again only after a while', async (t) => {
  const stage = await Stage.open(t)
  const dialled: number[] = []
  const port = await HostilePeer.listen(t, (peer) => {
    dialled.push(performance.now())
    peer.open(stage.feed, {
      mutate: mutating((data) => (isBare(data) ? withValue(data, flip) : null))
    })
  })
  await stage.victim.connect('127.0.0.1', port)
  await until(() => stage.ended.length === 1)
  const endedAt = performance.now()
  const [ended] = stage.ended
  t.is(ended?.error?.code, 'INVALID_CHECKSUM')
  t.ok(ended?.fault)
  await until(() => dialled.length > 1)
  // The end is noticed here a little after the wait began.
  const waitedMs = (dialled[1] as number) - endedAt
  t.ok(waitedMs > RETRY_MS_START / 2, `dialled again after ${waitedMs} ms`)
  await stage.recover()
})

function mutating(lie: (data: Data) => Data | null): (message: Message) => readonly Sent[] {
  return (message) => [message.type === 'data' ? (lie(message) ?? message) : message]
}

function isBare(data: Data): boolean {
  return data.block !== null && data.block.nodes.length === 0 && data.upgrade === null
}

function isProof(data: Data): boolean {
  return data.block !== null && data.block.nodes.length > 0 && data.upgrade === null
}

function flip(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === 0) return Uint8Array.of(1)
  const other = Uint8Array.from(bytes)
  other[0] = (other[0] as number) ^ 1
  return other
}

function withValue(data: Data, change: (value: Uint8Array) => Uint8Array): Data | null {
  return data.block && { ...data, block: { ...data.block, value: change(data.block.value) } }
}

function withNode(data: Data, change: (node: TreeNode) => TreeNode): Data | null {
  const { block } = data
  if (block === null) return null
  const [first, ...others] = block.nodes
  return { ...data, block: { ...block, nodes: [...(first ? [change(first)] : []), ...others] } }
}

function withHead(data: Data, change: (nodes: readonly TreeNode[]) => TreeNode[]): Data | null {
  const { upgrade } = data
  if (upgrade === null) return null
  const [nodes, additionalNodes] = [change(upgrade.nodes), change(upgrade.additionalNodes)]
  return { ...data, upgrade: { ...upgrade, nodes, additionalNodes } }
}
