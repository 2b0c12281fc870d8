/**
 * What every {@link Feed} must do. Bind it to an implementation with a few lines; see `feed-memory.test.ts`.
 *
 * @module
 */
import type { Assertions, TestFunction } from 'brittle'
import { type ErrorCode, isSynclineError } from '../../lib/errors.ts'
import { BLOCK_BYTES_MAX } from '../../lib/limits.ts'
import { type AdoptResult, type Feed, type FeedChange, HELD } from '../../lib/feed/feed.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import type { KeyPair } from '../../lib/feed/store.ts'
import type { Proof, TreeNode } from '../../lib/wire/message.ts'

/** Which feed is to be made. */
export interface MakeFeedOptions {
  /** Only the key is known: an empty copy. Default: a writable feed with a default manifest. */
  readonly key?: Uint8Array
  /** Key pair of the writable feed; default: a random one. */
  readonly keyPair?: KeyPair
}

/** Makes a feed and closes it at teardown. */
export type MakeFeed = (t: Assertions, options: MakeFeedOptions) => Promise<Feed>

/** What an implementation may lack. */
export interface FeedSupports {
  /** Proofs for blocks beside cleared ones still work. */
  readonly proofsAfterClear: boolean
  /** A fork can be given to `truncate`. */
  readonly chosenFork: boolean
  /** Blocks that lie in the store already can be adopted. */
  readonly adopts: boolean
}

/** Registers the tests of one implementation. */
export function feedSuite(
  test: TestFunction,
  name: string,
  make: MakeFeed,
  supports: FeedSupports
): void {
  const check = (behaviour: string, run: (t: Assertions) => Promise<void>): void =>
    test(`${name} feed: ${behaviour}`, run)

  const writer = async (t: Assertions, count: number): Promise<Feed> => {
    const feed = await make(t, {})
    if (count > 0) await feed.append(blocksFrom(0, count))
    return feed
  }

  /** A copy that has the head of `feed` and its block 0. */
  const copyOf = async (t: Assertions, feed: Feed): Promise<Feed> => {
    const copy = await make(t, { key: feed.key })
    await copy.applyProof(await headProof(feed))
    return copy
  }

  check('is empty at first', async (t) => {
    const feed = await make(t, {})
    t.alike(
      [feed.length, feed.byteLength, feed.fork, feed.contiguousLength, feed.frozen, feed.closed],
      [0, 0, 0, 0, false, false]
    )
    t.ok(feed.writable)
    t.is(feed.key.byteLength, 32)
    t.is(feed.discoveryKey.byteLength, 32)
    t.is(feed.manifest?.signers.length, 1)
    t.is(feed.compat, false)
    t.is(await feed.read(0), null)
    t.alike(await feed.readRun(0, 0), [])
    t.alike(await feed.seek(0), [0, 0])
    t.alike(await feed.audit(), { blocks: 0, bad: [], head: true })
  })

  check('knows of a copy nothing but the key', async (t) => {
    const { key, discoveryKey } = await make(t, {})
    const copy = await make(t, { key })
    t.alike(copy.key, key)
    t.alike(copy.discoveryKey, discoveryKey)
    t.is(copy.manifest, null)
    t.is(copy.writable, false)
    await fails(t, 'NOT_WRITABLE', copy.append([bytesOf(0)]))
    await fails(t, 'NOT_WRITABLE', copy.truncate(0))
  })

  check('appends batches and reads them back', async (t) => {
    const feed = await make(t, {})
    const changes = watch(feed)
    const first = blocksFrom(0, 3)
    t.alike(await feed.append(first), { length: 3, byteLength: sum(first) })
    await feed.append(blocksFrom(3, 40), { durability: 'os' })
    t.alike(changes, [
      { type: 'append', start: 0, length: 3 },
      { type: 'append', start: 3, length: 37 }
    ])
    t.is(feed.length, 40)
    t.is(feed.byteLength, sum(blocksFrom(0, 40)))
    t.is(feed.contiguousLength, 40)
    t.ok(feed.have.hasAll(0, 40))
    t.absent(feed.have.get(40))
    for (const index of [0, 1, 2, 3, 17, 39]) same(t, await feed.read(index), bytesOf(index))
    sameAll(t, await feed.readRun(0, 40), blocksFrom(0, 40))
    sameAll(t, await feed.readRun(5, 23), blocksFrom(5, 23))
    t.is(await feed.read(40), null)
    await fails(t, 'BLOCK_NOT_AVAILABLE', feed.readRun(38, 41))
    t.alike(await feed.audit(), { blocks: 40, bad: [], head: true })
  })

  check('appends nothing, empty blocks and many blocks', async (t) => {
    const feed = await make(t, {})
    t.alike(await feed.append([]), { length: 0, byteLength: 0 })
    await feed.append([new Uint8Array(0)])
    await feed.append([new Uint8Array(0), bytesOf(2), new Uint8Array(0)])
    t.is(feed.length, 4)
    t.is(feed.byteLength, bytesOf(2).byteLength)
    sameAll(t, await feed.readRun(0, 3), [new Uint8Array(0), new Uint8Array(0), bytesOf(2)])
    await feed.append(Array.from({ length: 1500 }, () => bytesOf(1)))
    t.is(feed.length, 1504)
    same(t, await feed.read(1503), bytesOf(1))
    t.alike(await feed.audit(), { blocks: 1504, bad: [], head: true })
  })

  check('keeps the order of concurrent appends', async (t) => {
    const feed = await make(t, {})
    const ends = await Promise.all(
      Array.from({ length: 20 }, (_, i) => feed.append(blocksFrom(2 * i, 2 * i + 2)))
    )
    t.alike(
      ends.map((end) => end.length),
      Array.from({ length: 20 }, (_, i) => 2 * i + 2)
    )
    t.is(ends[4]?.byteLength, sum(blocksFrom(0, 10)))
    sameAll(t, await feed.readRun(0, 40), blocksFrom(0, 40))
  })

  check('refuses blocks that cannot be replicated', async (t) => {
    const feed = await make(t, {})
    await fails(t, 'BAD_ARGUMENT', feed.append([new Uint8Array(BLOCK_BYTES_MAX + 1)]))
    t.is(feed.length, 0)
  })

  check('finds byte positions', async (t) => {
    const feed = await writer(t, 21)
    let offset = 0
    for (const [index, block] of blocksFrom(0, 21).entries()) {
      if (block.byteLength > 0) {
        // Between blocks, an empty block may be named as well as the one after it.
        const [found, within] = (await feed.seek(offset)) ?? [-1, -1]
        t.ok(found <= index && within === 0)
        t.is(sum(blocksFrom(0, found)), offset)
        t.alike(await feed.seek(offset + block.byteLength - 1), [index, block.byteLength - 1])
      }
      offset += block.byteLength
    }
    t.alike(await feed.seek(offset), [21, 0])
    t.is(await feed.seek(offset + 1), null)
    const copy = await copyOf(t, feed)
    t.alike(await copy.seek(0), [0, 0])
    t.is(await copy.seek(sum(blocksFrom(0, 11))), null, 'nodes on the way are missing')
  })

  check('learns manifest, head and a block from one proof', async (t) => {
    const feed = await writer(t, 37)
    const copy = await make(t, { key: feed.key })
    const changes = watch(copy)
    const applied = await copy.applyProof(await headProof(feed))
    t.ok(applied.applied)
    t.ok(applied.upgraded)
    t.is(applied.block, 0)
    t.alike(
      applied.path.map((node) => node.index),
      [0, 1, 3, 7, 15, 31]
    )
    t.is(applied.path[5]?.size, sum(blocksFrom(0, 32)))
    t.alike(applied.roots, [
      { index: 31, size: sum(blocksFrom(0, 32)) },
      { index: 67, size: sum(blocksFrom(32, 36)) },
      { index: 72, size: sum(blocksFrom(36, 37)) }
    ])
    t.alike([copy.length, copy.byteLength, copy.fork], [feed.length, feed.byteLength, feed.fork])
    t.alike(copy.manifest, feed.manifest)
    t.is(copy.compat, false)
    t.ok(copy.have.get(0))
    t.is(copy.contiguousLength, 1)
    same(t, await copy.read(0), bytesOf(0))
    t.alike(changes, [
      { type: 'manifest' },
      { type: 'upgrade', start: 0, length: 37 },
      { type: 'have', start: 0, end: 1 }
    ])
  })

  check('asks for exactly the nodes that it lacks', async (t) => {
    const feed = await writer(t, 45)
    const copy = await copyOf(t, feed)
    t.is(await copy.missingNodes(0), 0)
    t.is(await copy.missingNodes(2 * 45), 0, 'beyond the length')
    for (const index of [44, 7, 30, 31, 1, 6, 16]) {
      const nodes = await copy.missingNodes(2 * index)
      const applied = await copy.applyProof(await feed.proof({ block: { index, nodes } }))
      t.is(applied.block, index)
      t.is(applied.path[0]?.index, 2 * index)
      t.is(applied.path.length, nodes + 1)
      t.is(await copy.missingNodes(2 * index), 0)
      same(t, await copy.read(index), bytesOf(index))
    }
    const path = await copy.trustedPath(30)
    t.alike(
      path.map((node) => node.index),
      [60, 61, 59, 55, 47, 31]
    )
    t.is(path[1]?.size, sum(blocksFrom(30, 32)))
    t.is(copy.have.count(0, 45), 8)
    t.alike(await copy.audit(), { blocks: 8, bad: [], head: true })
  })

  check('grows by upgrades', async (t) => {
    const feed = await writer(t, 5)
    const copy = await copyOf(t, feed)
    for (let length = 5; length < 30; length += 3) {
      await feed.append(blocksFrom(length, length + 3))
      const proof = await feed.proof({
        block: { index: length + 1, nodes: 0 },
        upgrade: { start: length, length: 2 }
      })
      const applied = await copy.applyProof(proof)
      t.ok(applied.upgraded)
      t.is(copy.length, length + 3)
      same(t, await copy.read(length + 1), bytesOf(length + 1))
    }
    t.alike(await copy.audit(), { blocks: 10, bad: [], head: true })
  })

  check('takes proofs that come too late for what they are', async (t) => {
    const feed = await writer(t, 5)
    const copy = await copyOf(t, feed)
    const early = await feed.proof({ upgrade: { start: 0, length: 5 } })
    const before = await stateOf(copy)
    const unchanged = { applied: false, upgraded: false, block: null, path: [], roots: [] }
    t.alike(await copy.applyProof(early), unchanged)
    t.alike(await copy.applyProof({ ...early, fork: 1 }), unchanged)
    t.alike(await stateOf(copy), before)
  })

  check('refuses proofs that do not hold, and changes nothing', async (t) => {
    const feed = await writer(t, 20)
    const copy = await copyOf(t, feed)
    await feed.append(blocksFrom(20, 33))
    const nodes = await copy.missingNodes(18)
    const proof = await feed.proof({
      block: { index: 9, nodes },
      upgrade: { start: 20, length: 9 }
    })
    const before = await stateOf(copy)
    for (const lie of liesAbout(proof)) {
      const error = await refusal(copy.applyProof(lie.proof))
      t.ok(
        isSynclineError(error, 'INVALID_PROOF', 'INVALID_CHECKSUM', 'INVALID_SIGNATURE'),
        `${lie.name}: ${String(error)}`
      )
    }
    t.alike(await stateOf(copy), before)
    t.ok((await copy.applyProof(proof)).applied)
  })

  check('refuses a manifest of another feed', async (t) => {
    const feed = await writer(t, 3)
    const other = await writer(t, 3)
    const copy = await make(t, { key: feed.key })
    const proof = { ...(await headProof(feed)), manifest: other.manifest }
    await fails(t, 'INVALID_MANIFEST', copy.applyProof(proof))
    await fails(t, 'INVALID_SIGNATURE', copy.applyProof({ ...proof, manifest: null }))
    await fails(
      t,
      'INVALID_SIGNATURE',
      copy.applyProof({ ...(await headProof(other)), manifest: feed.manifest })
    )
    t.is(copy.length, 0)
    t.is(copy.have.count(0, 3), 0)
  })

  check('says what it cannot prove', async (t) => {
    const feed = await writer(t, 10)
    const copy = await copyOf(t, feed)
    await fails(t, 'INVALID_OPERATION', feed.proof({ block: { index: 10, nodes: 0 } }))
    await fails(t, 'INVALID_OPERATION', feed.proof({ block: { index: 9, nodes: 2 } }))
    await fails(t, 'INVALID_OPERATION', feed.proof({ upgrade: { start: 10, length: 1 } }))
    await fails(t, 'INVALID_OPERATION', feed.proof({ upgrade: { start: 0, length: 11 } }))
    await fails(t, 'BLOCK_NOT_AVAILABLE', copy.proof({ block: { index: 4, nodes: 0 } }))
    await fails(t, 'BLOCK_NOT_AVAILABLE', copy.proof({ hash: { index: 8, nodes: 0 } }))
  })

  check('stores chunks whose blocks arrived in any order', async (t) => {
    const feed = await writer(t, 50)
    const copy = await copyOf(t, feed)
    await getBlock(feed, copy, 17)
    const chunk = chunkOf(31, [...Array.from({ length: 32 }, (_, i) => (i * 13) % 32)])
    const changes = watch(copy)
    t.is(await copy.putChunk(chunk), 'stored')
    t.alike(changes, [{ type: 'have', start: 0, end: 32 }])
    t.is(copy.contiguousLength, 32)
    sameAll(t, await copy.readRun(0, 32), blocksFrom(0, 32))
    t.is(await copy.missingNodes(2 * 20), 0)
    t.alike(await copy.audit(), { blocks: 32, bad: [], head: true })
    const block = await copy.proof({ block: { index: 20, nodes: 5 } })
    t.alike(block, await feed.proof({ block: { index: 20, nodes: 5 } }))
  })

  check('stores chunks around blocks that it holds', async (t) => {
    const feed = await writer(t, 16)
    const copy = await copyOf(t, feed)
    for (const index of [3, 4, 9]) await getBlock(feed, copy, index)
    const chunk = chunkOf(
      15,
      Array.from({ length: 16 }, (_, i) => i)
    )
    for (const index of [0, 3, 9]) chunk.lengths[index] = HELD
    t.is(await copy.putChunk(chunk), 'stored')
    t.is(copy.contiguousLength, 16)
    sameAll(t, await copy.readRun(0, 16), blocksFrom(0, 16))
    t.alike(await copy.audit(), { blocks: 16, bad: [], head: true })
  })

  check('refuses chunks that are wrong or late', async (t) => {
    const feed = await writer(t, 16)
    const copy = await copyOf(t, feed)
    const before = await stateOf(copy)
    const order = Array.from({ length: 16 }, (_, i) => i)
    const flipped = chunkOf(15, order)
    flipped.bytes[flipped.bytes.byteLength - 1] = 255 ^ (flipped.bytes.at(-1) as number)
    t.is(await copy.putChunk(flipped), 'wrong')
    const shifted = chunkOf(15, order)
    shifted.lengths[4] = (shifted.lengths[4] as number) - 1
    t.is(await copy.putChunk(shifted), 'wrong')
    t.is(await copy.putChunk({ ...chunkOf(15, order), fork: 1 }), 'stale')
    t.is(await copy.putChunk(chunkOf(31, [...order, ...order])), 'stale', 'beyond the length')
    t.is(await copy.putChunk(chunkOf(25, [12, 13])), 'stale', 'its root is not trusted')
    t.alike(await stateOf(copy), before)
    t.is(await copy.putChunk(chunkOf(15, order)), 'stored')
  })

  check('tells the nodes that are stored', async (t) => {
    const feed = await writer(t, 11)
    const copy = await copyOf(t, feed)
    const root = await copy.node(7)
    t.is(root?.size, sum(blocksFrom(0, 8)))
    t.alike(root, await feed.node(7))
    t.is(await copy.node(9), null, 'not stored')
    t.is((await feed.node(9))?.size, sum(blocksFrom(4, 6)))
    t.is(await feed.node(23), null, 'beyond the length')
    root?.hash.fill(0)
    t.alike(await copy.node(7), await feed.node(7), 'what is given belongs to the caller')
  })

  check('adopts blocks by their leaves', async (t) => {
    const feed = await writer(t, 40)
    const copy = await copyOf(t, feed)
    const leaves = await leavesOf(feed, 0, 40)
    const adopt = (start: number, end: number, path: TreeNode[] = []): Promise<AdoptResult> =>
      copy.adopt({ start, leaves: leaves.slice(40 * start, 40 * end), path })
    if (!supports.adopts) {
      await fails(t, 'UNSUPPORTED', adopt(0, 32))
      return
    }
    const changes = watch(copy)
    t.is(await adopt(20, 24), 'stale', 'nothing trusted leads there')
    t.is(await adopt(20, 24, await nodesOf(feed, [35])), 'stale')
    t.is(await adopt(30, 41), 'stale', 'beyond the length')
    t.is(copy.have.count(0, 40), 1)
    t.is(await adopt(20, 24, await nodesOf(feed, [35, 55, 77])), 'adopted')
    t.alike(await copy.node(35), await feed.node(35), 'what lies beside is stored with them')
    t.is(await adopt(0, 20), 'adopted', 'and leads to others')
    t.is(await adopt(21, 23), 'adopted', 'again')
    t.is(await adopt(24, 40), 'adopted', 'to the end, over several roots')
    t.alike(changes, [
      { type: 'have', start: 20, end: 24 },
      { type: 'have', start: 0, end: 20 },
      { type: 'have', start: 24, end: 40 }
    ])
    t.is(copy.contiguousLength, 40)
    t.alike(await nodesOf(copy, upTo(79)), await nodesOf(feed, upTo(79)))
  })

  const checkAdopting = supports.adopts ? check : () => {}

  checkAdopting('adopts nothing that is not what the tree says', async (t) => {
    const feed = await writer(t, 64)
    const copy = await copyOf(t, feed)
    const path = await nodesOf(feed, [43, 55])
    const leaves = await leavesOf(feed, 16, 20)
    const before = await stateOf(copy)
    const bent = (bend: (node: TreeNode) => Partial<TreeNode>): { path: TreeNode[] } => ({
      path: path.map((node) => ({ ...node, ...bend(node) }))
    })
    for (const [what, lie] of [
      ['hashes beside', bent(({ hash }) => ({ hash: flip(hash) }))],
      ['sizes beside', bent(({ size }) => ({ size: size + 1 }))],
      ['sizes below zero', bent(() => ({ size: -1e9 }))],
      ['sizes too large', bent(() => ({ size: 2 ** 53 - 1 }))],
      ['the hash of a leaf', { leaves: leaves.map((byte, i) => (i === 90 ? byte ^ 1 : byte)) }],
      ['the size of a leaf', { leaves: leaves.map((byte, i) => (i === 80 ? byte ^ 1 : byte)) }],
      ['no leaf', { leaves: leaves.map((byte, i) => (i < 40 ? 0 : byte)) }]
    ] as const) {
      t.is(await copy.adopt({ start: 16, leaves, path, ...lie }), 'wrong', what)
    }
    const elsewhere = await nodesOf(feed, [35, 55])
    t.is(await copy.adopt({ start: 20, leaves, path: elsewhere }), 'wrong', 'another place')
    t.alike(await stateOf(copy), before)
    for (const bad of [
      { start: 16, leaves: leaves.subarray(1) },
      { start: 16, leaves: new Uint8Array(0) },
      { start: -16, leaves }
    ]) {
      await fails(t, 'BAD_ARGUMENT', copy.adopt({ path, ...bad }))
    }
    t.is(await copy.adopt({ start: 16, leaves, path }), 'adopted')
  })

  checkAdopting('adopts below nodes of which only the sum of the sizes is sure', async (t) => {
    const feed = await writer(t, 64)
    const copy = await copyOf(t, feed)
    const indexes = [35, 43, 39, 55]
    // The pairs on the way down, each with bytes moved from one to the other.
    const path = (await nodesOf(feed, indexes)).map((node) => {
      const moved = node.index === 35 || node.index === 39 ? 5 : -5
      return { ...node, size: node.size + moved }
    })
    t.is(await copy.adopt({ start: 16, leaves: await leavesOf(feed, 16, 20), path }), 'adopted')
    t.alike(await nodesOf(copy, indexes), await nodesOf(feed, indexes))
  })

  check('truncates and goes on under a new fork', async (t) => {
    const feed = await writer(t, 20)
    const changes = watch(feed)
    await feed.truncate(11)
    t.alike([feed.length, feed.fork, feed.contiguousLength], [11, 1, 11])
    t.is(feed.byteLength, sum(blocksFrom(0, 11)))
    t.is(await feed.read(11), null)
    t.is(feed.have.count(0, 20), 11)
    await feed.append(blocksFrom(60, 65))
    sameAll(t, await feed.readRun(8, 16), [...blocksFrom(8, 11), ...blocksFrom(60, 65)])
    t.alike(changes, [
      { type: 'truncate', length: 11, fork: 1 },
      { type: 'append', start: 11, length: 5 }
    ])
    const copy = await make(t, { key: feed.key })
    t.alike(await copy.applyProof(await headProof(feed)), {
      applied: false,
      upgraded: false,
      block: null,
      path: [],
      roots: []
    })
    await fails(t, 'BAD_ARGUMENT', feed.truncate(17))
    if (supports.chosenFork) {
      await feed.truncate(0, 7)
      t.alike([feed.length, feed.fork], [0, 7])
      await fails(t, 'BAD_ARGUMENT', feed.truncate(0, 7))
    }
    await feed.truncate(0)
    t.alike([feed.length, feed.byteLength, feed.have.count(0, 20)], [0, 0, 0])
    await feed.append(blocksFrom(0, 2))
    t.alike(await feed.audit(), { blocks: 2, bad: [], head: true })
  })

  check('follows a rewritten feed and keeps what is common', async (t) => {
    for (const [held, kept, end] of [
      [100, 37, 97],
      [100, 64, 200],
      [33, 0, 5],
      [20, 20, 26],
      [64, 63, 64],
      [7, 3, 90]
    ] as const) {
      const feed = await writer(t, held)
      const copy = await copyOf(t, feed)
      await getAll(feed, copy)
      await feed.truncate(kept)
      await feed.append(blocksFrom(1000, 1000 + end - kept))
      t.is(await copy.reorg(await upgradeProof(copy)), null, 'no higher fork')
      const reorg = await copy.reorg(await upgradeProof(feed))
      if (reorg === null) return t.fail('the fork is higher')
      t.alike([reorg.fork, reorg.length], [1, end])
      for (let steps = 0; reorg.next !== null; steps++) {
        if (steps > 20) return t.fail('no end of requests')
        await reorg.accept(await feed.proof({ hash: reorg.next }))
      }
      t.is(copy.fork, 0, 'nothing changes before the commit')
      t.is(await reorg.commit(), kept)
      t.alike([copy.fork, copy.length, copy.byteLength], [1, end, feed.byteLength])
      t.is(copy.contiguousLength, kept)
      t.is(copy.have.count(0, 300), kept)
      t.alike(await copy.audit(), { blocks: kept, bad: [], head: true })
      await getAll(feed, copy)
      sameAll(t, await copy.readRun(0, end), await feed.readRun(0, end))
      t.alike(await copy.audit(), { blocks: end, bad: [], head: true })
    }
    return undefined
  })

  check('refuses wrong answers while it follows a rewritten feed', async (t) => {
    const feed = await writer(t, 40)
    const copy = await copyOf(t, feed)
    await getAll(feed, copy)
    await feed.truncate(21)
    await feed.append(blocksFrom(1000, 1020))
    const proof = await upgradeProof(feed)
    const wrong = {
      ...proof,
      upgrade: proof.upgrade && { ...proof.upgrade, signature: flip(proof.upgrade.signature) }
    }
    await fails(t, 'INVALID_SIGNATURE', copy.reorg(wrong))
    const before = await stateOf(copy)
    const reorg = await copy.reorg(proof)
    if (reorg === null || reorg.next === null) return t.fail('something must be asked')
    const answer = await feed.proof({ hash: reorg.next })
    const hash = answer.hash as NonNullable<Proof['hash']>
    const [first, ...rest] = hash.nodes
    await fails(t, 'INVALID_PROOF', reorg.accept({ ...answer, hash: { ...hash, nodes: rest } }))
    await fails(t, 'INVALID_PROOF', reorg.accept({ ...answer, fork: 0 }))
    const bent = { ...first, hash: flip((first as { hash: Uint8Array }).hash) }
    await fails(
      t,
      'INVALID_CHECKSUM',
      reorg.accept({ ...answer, hash: { ...hash, nodes: [bent as (typeof rest)[0], ...rest] } })
    )
    t.alike(await stateOf(copy), before)
    return undefined
  })

  check('freezes when two histories are signed', async (t) => {
    const keyPair = createKeyPair(new Uint8Array(32).fill(9))
    const left = await make(t, { keyPair })
    const right = await make(t, { keyPair })
    await left.append(blocksFrom(0, 12))
    await right.append(blocksFrom(0, 9))
    t.is(await left.checkConflict(await upgradeProof(right)), false, 'the same so far')
    await right.append(blocksFrom(50, 53))
    const proof = await upgradeProof(right)
    const upgrade = proof.upgrade as NonNullable<Proof['upgrade']>
    const unsigned = { ...proof, upgrade: { ...upgrade, signature: flip(upgrade.signature) } }
    t.absent(await left.checkConflict(unsigned).catch(() => false), 'not signed')
    t.is(left.frozen, false)
    const changes = watch(left)
    t.is(await left.checkConflict(proof), true)
    t.is(left.frozen, true)
    t.alike(changes, [{ type: 'freeze' }])
    await fails(t, 'FEED_FROZEN', left.append([bytesOf(0)]))
  })

  check('clears ranges', async (t) => {
    const feed = await writer(t, 30)
    const changes = watch(feed)
    await feed.clear(5, 8)
    await feed.clear(20, 99)
    t.alike(changes, [
      { type: 'clear', start: 5, end: 8 },
      { type: 'clear', start: 20, end: 30 }
    ])
    t.is(feed.length, 30)
    t.is(feed.contiguousLength, 5)
    t.is(await feed.read(6), null)
    same(t, await feed.read(8), bytesOf(8))
    sameAll(t, await feed.readRun(8, 20), blocksFrom(8, 20))
    await fails(t, 'BLOCK_NOT_AVAILABLE', feed.readRun(4, 9))
    await feed.append(blocksFrom(30, 31))
    same(t, await feed.read(30), bytesOf(30))
    if (supports.proofsAfterClear) {
      const copy = await make(t, { key: feed.key })
      await copy.applyProof(await headProof(feed))
      for (const index of [4, 8, 19, 30]) await getBlock(feed, copy, index)
      t.is(copy.have.count(0, 31), 5)
      await fails(t, 'BLOCK_NOT_AVAILABLE', feed.proof({ block: { index: 6, nodes: 0 } }))
    }
  })

  check('forgets blocks and takes them again', async (t) => {
    const feed = await writer(t, 16)
    const copy = await copyOf(t, feed)
    await getAll(feed, copy)
    const changes = watch(copy)
    await copy.forget([3, 7])
    t.alike(changes, [
      { type: 'forget', start: 3, end: 4 },
      { type: 'forget', start: 7, end: 8 }
    ])
    t.is(copy.contiguousLength, 3)
    t.is(await copy.read(7), null)
    t.is(copy.have.count(0, 16), 14)
    await getAll(feed, copy)
    sameAll(t, await copy.readRun(0, 16), blocksFrom(0, 16))
  })

  check('keeps user data', async (t) => {
    const feed = await make(t, {})
    t.is(await feed.getUserData('note'), null)
    await feed.setUserData('note', bytesOf(5))
    await feed.setUserData('other', bytesOf(6))
    same(t, await feed.getUserData('note'), bytesOf(5))
    await feed.setUserData('note', null)
    t.is(await feed.getUserData('note'), null)
    same(t, await feed.getUserData('other'), bytesOf(6))
  })

  check('calls nobody back who stopped listening', async (t) => {
    const feed = await make(t, {})
    const seen: FeedChange[] = []
    const stop = feed.onchange((change) => {
      t.is(feed.length, 1, 'the change is visible')
      seen.push(change)
    })
    await feed.append([bytesOf(1)])
    stop()
    await feed.append([bytesOf(2)])
    t.is(seen.length, 1)
  })

  check('copies partial downloads at random, and then the rest', async (t) => {
    const random = prng(20261120)
    for (let round = 0; round < 6; round++) {
      const feed = await writer(t, 1 + random(70))
      const copy = await copyOf(t, feed)
      for (let step = 0; step < 25; step++) {
        if (random(5) === 0) {
          await feed.append(blocksFrom(feed.length, feed.length + 1 + random(9)))
          const start = copy.length
          await copy.applyProof(
            await feed.proof({ upgrade: { start, length: feed.length - start } })
          )
        } else if (random(6) === 0) {
          const start = random(copy.length)
          await copy.clear(start, start + random(8))
        } else {
          await getBlock(feed, copy, random(copy.length))
        }
        const index = random(copy.length)
        const block = await copy.read(index)
        t.is(block !== null, copy.have.get(index))
        if (block !== null) same(t, block, bytesOf(index))
      }
      t.alike((await copy.audit()).bad, [])
      await getAll(feed, copy)
      t.is(copy.contiguousLength, feed.length)
      sameAll(t, await copy.readRun(0, feed.length), blocksFrom(0, feed.length))
    }
  })

  check('is closed for good', async (t) => {
    const feed = await writer(t, 3)
    await feed.flush()
    await Promise.all([feed.close(), feed.close()])
    t.is(feed.closed, true)
    await fails(t, 'SESSION_CLOSED', feed.append([bytesOf(0)]))
    await fails(t, 'SESSION_CLOSED', feed.read(0))
    await fails(t, 'SESSION_CLOSED', feed.proof({ upgrade: { start: 0, length: 3 } }))
  })
}

/** Block `index`: lengths from 0 to 42, content by index. */
export function bytesOf(index: number): Uint8Array {
  return new Uint8Array((index * 7 + 3) % 43).fill(index)
}

/** Blocks `[start, end)`. */
export function blocksFrom(start: number, end: number): Uint8Array[] {
  return Array.from({ length: end - start }, (_, i) => bytesOf(start + i))
}

/** What one round trip brings: block 0, the whole length, the manifest. */
export function headProof(feed: Feed): Promise<Proof> {
  return feed.proof({
    block: { index: 0, nodes: 0 },
    upgrade: { start: 0, length: 1 },
    manifest: true
  })
}

/** Copies one block, with the nodes that it lacks. */
export async function getBlock(from: Feed, to: Feed, index: number): Promise<void> {
  const nodes = await to.missingNodes(2 * index)
  await to.applyProof(await from.proof({ block: { index, nodes } }))
}

/** A xorshift generator: numbers in `[0, below)`. */
export function prng(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** Proofs that differ from an honest one in one place each. */
export function liesAbout(honest: Proof): { name: string; proof: Proof }[] {
  const lies: { name: string; proof: Proof }[] = []
  const { block, hash, seek, upgrade } = honest
  const lie = (name: string, part: Partial<Proof>): void => {
    lies.push({ name, proof: { ...honest, ...part } })
  }
  const listLies = (name: string, nodes: Nodes, put: (nodes: Nodes) => Partial<Proof>): void => {
    for (const [what, list] of bentLists(nodes)) lie(`${name} ${what}`, put(list))
  }
  if (block !== null) {
    lie('block value', { block: { ...block, value: flip(block.value) } })
    lie('block longer', { block: { ...block, value: Uint8Array.of(...block.value, 0) } })
    if (block.value.byteLength > 0) {
      lie('block shorter', { block: { ...block, value: block.value.subarray(1) } })
    }
    lie('block index', { block: { ...block, index: block.index + 1 } })
    lie('block index huge', { block: { ...block, index: 2 ** 52 } })
    listLies('block nodes', block.nodes, (nodes) => ({ block: { ...block, nodes } }))
  }
  if (hash !== null) {
    lie('hash index', { hash: { ...hash, index: hash.index + 2 } })
    listLies('hash nodes', hash.nodes, (nodes) => ({ hash: { ...hash, nodes } }))
  }
  if (seek !== null) listLies('seek nodes', seek.nodes, (nodes) => ({ seek: { ...seek, nodes } }))
  if (upgrade !== null) {
    lie('signature', { upgrade: { ...upgrade, signature: flip(upgrade.signature) } })
    lie('no signature', { upgrade: { ...upgrade, signature: new Uint8Array(0) } })
    lie('upgrade longer', { upgrade: { ...upgrade, length: upgrade.length + 1 } })
    lie('upgrade of nothing', { upgrade: { ...upgrade, length: 0 } })
    lie('upgrade from later', { upgrade: { ...upgrade, start: upgrade.start + 1 } })
    lie('upgrade beyond all', { upgrade: { ...upgrade, length: 2 ** 53 - 1 } })
    listLies('upgrade nodes', upgrade.nodes, (nodes) => ({ upgrade: { ...upgrade, nodes } }))
    listLies('additional nodes', upgrade.additionalNodes, (additionalNodes) => ({
      upgrade: { ...upgrade, additionalNodes }
    }))
  }
  return lies
}

type Nodes = NonNullable<Proof['hash']>['nodes']

function* bentLists(nodes: Nodes): Iterable<readonly [what: string, nodes: Nodes]> {
  yield [
    'with one too many',
    [...nodes, { index: 2 ** 20, size: 1, hash: new Uint8Array(32).fill(1) }]
  ]
  yield [
    'without end',
    Array.from({ length: 5000 }, () => ({ index: 0, size: 0, hash: new Uint8Array(32) }))
  ]
  for (const [i, node] of nodes.entries()) {
    const put = (bent: typeof node): Nodes => nodes.map((old, j) => (i === j ? bent : old))
    yield [`${i} hash`, put({ ...node, hash: flip(node.hash) })]
    yield [`${i} short hash`, put({ ...node, hash: node.hash.subarray(1) })]
    yield [`${i} size`, put({ ...node, size: node.size + 1 })]
    yield [`${i} size huge`, put({ ...node, size: 2 ** 53 - 1 })]
    yield [`${i} index`, put({ ...node, index: node.index + 2 })]
    yield [`${i} missing`, nodes.filter((_, j) => j !== i)]
    yield [`${i} twice`, [...nodes.slice(0, i), node, ...nodes.slice(i)]]
  }
}

/** The same bytes with one bit changed, or one byte if there were none. */
export function flip(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === 0) return Uint8Array.of(1)
  const copy = new Uint8Array(bytes)
  copy[bytes.byteLength - 1] = (copy.at(-1) as number) ^ 1
  return copy
}

function upgradeProof(feed: Feed): Promise<Proof> {
  return feed.proof({ upgrade: { start: 0, length: feed.length }, manifest: true })
}

async function getAll(from: Feed, to: Feed): Promise<void> {
  for (let index = 0; index < from.length; index++) {
    if (!to.have.get(index)) await getBlock(from, to, index)
  }
}

/** Leaves of blocks `[start, end)`, as an adoption wants them. */
async function leavesOf(feed: Feed, start: number, end: number): Promise<Uint8Array> {
  const leaves = new Uint8Array(40 * (end - start))
  for (const { index, size, hash } of await nodesOf(
    feed,
    upTo(end).map((block) => 2 * block)
  )) {
    const at = 40 * (index / 2 - start)
    if (at < 0) continue
    new DataView(leaves.buffer).setUint32(at, size, true)
    leaves.set(hash, at + 8)
  }
  return leaves
}

async function nodesOf(feed: Feed, indexes: readonly number[]): Promise<TreeNode[]> {
  const nodes = await Promise.all(indexes.map((index) => feed.node(index)))
  return nodes.filter((node) => node !== null)
}

function upTo(end: number): number[] {
  return Array.from({ length: end }, (_, i) => i)
}

/** A chunk whose blocks lie in memory in the given order of arrival. */
function chunkOf(
  root: number,
  arrival: readonly number[]
): { fork: number; root: number; bytes: Uint8Array; offsets: Uint32Array; lengths: Uint32Array } {
  const first = Math.min(...arrival)
  const offsets = new Uint32Array(arrival.length)
  const lengths = new Uint32Array(arrival.length)
  const bytes = new Uint8Array(sum(arrival.map(bytesOf)))
  let at = 0
  for (const index of arrival) {
    const block = bytesOf(index)
    bytes.set(block, at)
    offsets[index - first] = at
    lengths[index - first] = block.byteLength
    at += block.byteLength
  }
  return { fork: 0, root, bytes, offsets, lengths }
}

/** All that a peer or user could see of a feed. */
async function stateOf(feed: Feed): Promise<unknown> {
  const missing: number[] = []
  for (let index = 0; index < feed.length; index++) missing.push(await feed.missingNodes(2 * index))
  return {
    length: feed.length,
    byteLength: feed.byteLength,
    fork: feed.fork,
    contiguousLength: feed.contiguousLength,
    frozen: feed.frozen,
    have: [...feed.have.runs(1, feed.length)],
    missing: missing.slice(2)
  }
}

function watch(feed: Feed): FeedChange[] {
  const changes: FeedChange[] = []
  feed.onchange((change) => changes.push(change))
  return changes
}

async function refusal(result: Promise<unknown>): Promise<unknown> {
  try {
    await result
  } catch (error) {
    return error
  }
  return null
}

async function fails(t: Assertions, code: ErrorCode, result: Promise<unknown>): Promise<void> {
  const error = await refusal(result)
  t.ok(isSynclineError(error, code), `${code}: ${String(error)}`)
}

function sum(blocks: readonly Uint8Array[]): number {
  return blocks.reduce((total, block) => total + block.byteLength, 0)
}

/** Compares bytes whatever the class of the arrays is. */
function same(t: Assertions, actual: Uint8Array | null, expected: Uint8Array): void {
  t.ok(actual !== null && Buffer.compare(actual, expected) === 0, `${expected.byteLength} bytes`)
}

function sameAll(
  t: Assertions,
  actual: readonly Uint8Array[],
  expected: readonly Uint8Array[]
): void {
  t.is(actual.length, expected.length)
  t.ok(
    actual.every((block, i) => Buffer.compare(block, expected[i] as Uint8Array) === 0),
    'the same blocks'
  )
}
