/** The adapter over a live Hypercore, against other live Hypercores as sources of proofs. */
import Hypercore from 'hypercore'
import test, { type Assertions } from 'brittle'
import { SynclineError } from '../../lib/errors.ts'
import { HypercoreFeed } from '../../lib/feed/hypercore/hypercore-feed.ts'
import { type FeedChange, HELD } from '../../lib/feed/feed.ts'
import { Bitmap } from '../../lib/primitives/bitmap.ts'
import * as flat from '../../lib/primitives/flat-tree.ts'
import type { Proof } from '../../lib/wire/message.ts'
import { prng } from '../conformance/feed.ts'

interface Pair {
  readonly source: HypercoreFeed
  readonly sourceCore: Hypercore
  readonly copy: HypercoreFeed
  readonly copyCore: Hypercore
}

async function createCore(t: Assertions, key: Uint8Array | null = null): Promise<Hypercore> {
  const core = new Hypercore(await t.tmp(), key)
  await core.ready()
  t.teardown(() => core.close(), { order: 1 })
  return core
}

async function open(t: Assertions, core: Hypercore): Promise<HypercoreFeed> {
  const feed = await HypercoreFeed.open(core)
  t.teardown(() => feed.close(), { order: 0 })
  return feed
}

/** A source of `count` blocks of 0 to 6 bytes, and an empty copy. */
async function createPair(t: Assertions, count: number): Promise<Pair> {
  const sourceCore = await createCore(t)
  await sourceCore.append(Array.from({ length: count }, (_, i) => blockBytes(i)))
  const copyCore = await createCore(t, sourceCore.key)
  const source = await open(t, sourceCore)
  return { source, sourceCore, copy: await open(t, copyCore), copyCore }
}

function blockBytes(index: number): Buffer {
  return Buffer.from(`${index}`.repeat(index % 3))
}

async function upgrade({ source, copy }: Pair): Promise<void> {
  const { length } = copy
  const proof = await source.proof({
    upgrade: { start: length, length: source.length - length },
    manifest: true
  })
  await copy.applyProof(proof)
}

/** Has the copy take over the fork of its source; returns the blocks that it kept. */
async function followFork({ source, copy }: Pair): Promise<number | null> {
  const head = await source.proof({ upgrade: { start: 0, length: source.length } })
  const reorg = await copy.reorg(head)
  while (reorg?.next) await reorg.accept(await source.proof({ hash: reorg.next }))
  return reorg && reorg.commit()
}

async function blockProof({ source, copy }: Pair, index: number): Promise<Proof> {
  return source.proof({ block: { index, nodes: await copy.missingNodes(2 * index) } })
}

/** Makes the root of a chunk trusted and hands over all of its blocks that the copy lacks. */
async function chunkOf({ source, copy }: Pair, root: number): ReturnType<typeof assemble> {
  const nodes = await copy.missingNodes(root)
  if (nodes > 0) {
    const first = flat.firstBlock(root)
    const missing = await copy.missingNodes(2 * first)
    await copy.applyProof(await source.proof({ block: { index: first, nodes: missing } }))
  }
  return assemble({ source, copy }, root)
}

async function assemble({ source, copy }: Pick<Pair, 'source' | 'copy'>, root: number) {
  const blocks = await source.readRun(flat.firstBlock(root), flat.endBlock(root))
  const offsets = new Uint32Array(blocks.length)
  const lengths = new Uint32Array(blocks.length)
  const parts: Uint8Array[] = []
  let byteLength = 0
  for (const [i, block] of blocks.entries()) {
    if (copy.have.get(flat.firstBlock(root) + i)) {
      lengths[i] = HELD
      continue
    }
    offsets[i] = byteLength
    lengths[i] = block.byteLength
    byteLength += block.byteLength
    parts.push(block)
  }
  const bytes = Uint8Array.from(Buffer.concat(parts))
  return { fork: copy.fork, root, bytes, offsets, lengths }
}

/** Hypercore prints a line for each conflict. */
function hushHypercore(t: Assertions): void {
  const { log } = console
  console.log = (...words: unknown[]) => {
    if (!String(words[0]).startsWith('[hypercore]')) log(...words)
  }
  t.teardown(() => (console.log = log))
}

function record(feed: HypercoreFeed): FeedChange[] {
  const changes: FeedChange[] = []
  feed.onchange((change) => changes.push(change))
  return changes
}

async function code(run: Promise<unknown>): Promise<string> {
  try {
    await run
    return 'none'
  } catch (error) {
    return error instanceof SynclineError ? error.code : `not ours: ${String(error)}`
  }
}

test('what is no signed Hypercore 11 is refused', async (t) => {
  const core = await createCore(t)
  await core.append('a')
  const snapshot = core.snapshot()
  await snapshot.ready()
  t.teardown(() => snapshot.close())
  const other = Object.assign(Object.create(core), { applyProof: undefined })
  const strangers: unknown[] = [{}, null, { ready: async () => {} }, snapshot, other]
  for (const stranger of strangers) {
    t.is(await code(HypercoreFeed.open(stranger as Hypercore)), 'UNSUPPORTED')
  }
  await core.close()
  t.is(await code(HypercoreFeed.open(core)), 'SESSION_CLOSED')
})

test('identity and state are those of the core', async (t) => {
  const { source, sourceCore, copy } = await createPair(t, 10)
  t.alike(Buffer.from(source.key), sourceCore.key)
  t.alike(Buffer.from(source.discoveryKey), sourceCore.discoveryKey)
  t.is(source.length, 10)
  t.is(source.byteLength, sourceCore.byteLength)
  t.is(source.contiguousLength, 10)
  t.ok(source.writable)
  t.absent(source.compat)
  t.is(source.manifest?.signers.length, 1)
  t.absent(copy.writable)
  t.is(copy.manifest, null)
  t.is(copy.length, 0)
})

test('a copy grows by proofs and ends equal to its source', async (t) => {
  const pair = await createPair(t, 37)
  const { copy, copyCore, sourceCore } = pair
  const changes = record(copy)
  await upgrade(pair)
  t.alike(changes, [{ type: 'manifest' }, { type: 'upgrade', start: 0, length: 37 }])
  t.is(copy.length, 37)
  t.is(copy.contiguousLength, 0)
  for (const index of [20, 0, 36, 21, 5]) {
    const applied = await copy.applyProof(await blockProof(pair, index))
    t.is(applied.block, index)
    t.ok(applied.applied)
    t.absent(applied.upgraded)
    const [leaf] = applied.path
    t.alike(leaf, { index: 2 * index, size: blockBytes(index).byteLength })
    t.alike(await copy.read(index), Uint8Array.from(blockBytes(index)))
    t.ok(copy.have.get(index))
  }
  t.alike(changes.slice(2, 4), [
    { type: 'have', start: 20, end: 21 },
    { type: 'have', start: 0, end: 1 }
  ])
  for (let index = 0; index < 37; index++) await copy.applyProof(await blockProof(pair, index))
  t.is(copy.contiguousLength, 37)
  t.alike(await copyCore.treeHash(), await sourceCore.treeHash())
  t.alike(await copy.audit(), { blocks: 37, bad: [], head: true })
})

test('the first round trip brings block, head and manifest at once', async (t) => {
  const { source, copy } = await createPair(t, 9)
  const changes = record(copy)
  const proof = await source.proof({
    block: { index: 0, nodes: 0 },
    upgrade: { start: 0, length: 1 },
    manifest: true
  })
  const applied = await copy.applyProof(proof)
  t.alike(applied, {
    applied: true,
    upgraded: true,
    block: 0,
    path: [
      { index: 0, size: 0 },
      { index: 1, size: 1 },
      { index: 3, size: 3 },
      { index: 7, size: 7 }
    ],
    roots: [
      { index: 7, size: 7 },
      { index: 16, size: 2 }
    ]
  })
  t.is(copy.length, 9)
  t.alike(
    changes.map((change) => change.type),
    ['manifest', 'upgrade', 'have']
  )
})

test('what is wrong is told apart, and nothing of it stays', async (t) => {
  const pair = await createPair(t, 16)
  const { source, copy } = pair
  const head = await source.proof({ upgrade: { start: 0, length: 16 }, manifest: true })
  const first = head.upgrade
  const manifest = head.manifest
  if (!first || !manifest) throw new Error('no upgrade')
  const badSignature = first.signature.slice()
  badSignature[20] = (badSignature[20] as number) ^ 1
  const forged = { ...head, upgrade: { ...first, signature: badSignature } }
  t.is(await code(copy.applyProof(forged)), 'INVALID_SIGNATURE')
  const foreign = { ...head, manifest: { ...manifest, allowPatch: true } }
  t.is(await code(copy.applyProof(foreign)), 'INVALID_MANIFEST')
  t.is(await code(copy.applyProof({ ...head, upgrade: { ...first, nodes: [] } })), 'INVALID_PROOF')
  t.is(copy.length, 0)
  await copy.applyProof(head)

  const good = await blockProof(pair, 5)
  if (!good.block) throw new Error('no block')
  const bad = { ...good, block: { ...good.block, value: Buffer.from('x') } }
  t.is(await code(copy.applyProof(bad)), 'INVALID_CHECKSUM')
  const bare = { ...good, block: { ...good.block, nodes: [] } }
  t.is(await code(copy.applyProof(bare)), 'INVALID_PROOF')
  const shuffled = { ...good, block: { ...good.block, nodes: good.block.nodes.toReversed() } }
  t.is(await code(copy.applyProof(shuffled)), 'INVALID_PROOF')
  t.absent(copy.have.get(5))
  t.is(await copy.read(5), null)
  t.alike(await copy.applyProof({ ...good, fork: 3 }), {
    applied: false,
    upgraded: false,
    block: null,
    path: [],
    roots: []
  })
})

test('a head that came too late is no fault', async (t) => {
  const pair = await createPair(t, 12)
  const { source, copy } = pair
  const late = await source.proof({
    block: { index: 0, nodes: 0 },
    upgrade: { start: 0, length: 1 },
    manifest: true
  })
  await upgrade(pair)
  const unchanged = { applied: false, upgraded: false, block: null, path: [], roots: [] }
  t.alike(await copy.applyProof(late), unchanged)
  t.absent(copy.have.get(0))
})

test('sizes that no hash covers are not stored', async (t) => {
  const pair = await createPair(t, 8)
  const { source, copy } = pair
  await upgrade(pair)
  const proof = await source.proof({ hash: { index: 0, nodes: 3 } })
  const [node, sibling, ...rest] = proof.hash?.nodes ?? []
  if (!proof.hash || !node || !sibling) throw new Error('no nodes')
  const nodes = [{ ...node, size: node.size + 1 }, { ...sibling, size: sibling.size - 1 }, ...rest]
  await copy.applyProof({ ...proof, hash: { ...proof.hash, nodes } })
  t.is(await copy.missingNodes(0), 1, 'the leaf is not taken over, its parent is')
  const [root] = (await source.proof({ hash: { index: 7, nodes: 0 } })).hash?.nodes ?? []
  if (!root) throw new Error('no node')
  const grown = { ...root, size: root.size + 1 }
  const lie = { ...proof, hash: { index: 7, nodes: [grown] } }
  t.is(await code(copy.applyProof(lie)), 'INVALID_CHECKSUM')
  t.alike(await copy.trustedPath(0), [
    { index: 1, size: blockBytes(1).byteLength },
    { index: 3, size: 3 },
    { index: 7, size: root.size }
  ])
})

test('missing nodes and trusted paths follow what is stored', async (t) => {
  const pair = await createPair(t, 20)
  const { copy } = pair
  await upgrade(pair)
  t.is(await copy.missingNodes(0), 4)
  t.is(await copy.missingNodes(2 * 17), 2)
  t.is(await copy.missingNodes(15), 0)
  t.is(await copy.missingNodes(2 * 20), 0)
  await copy.applyProof(await blockProof(pair, 0))
  t.is(await copy.missingNodes(0), 0)
  t.is(await copy.missingNodes(2), 0)
  t.is(await copy.missingNodes(4), 1)
  t.alike(
    (await copy.trustedPath(3)).map((node) => node.index),
    [5, 3, 7, 15]
  )
  t.alike(await copy.trustedPath(20), [])
})

test('a chunk is stored whole, or not at all', async (t) => {
  const pair = await createPair(t, 100)
  const { copy, copyCore, sourceCore } = pair
  await upgrade(pair)
  const waiting = copyCore.get(33)
  const range = copyCore.download({ start: 0, end: 64 }).done()
  const changes = record(copy)
  const chunk = await chunkOf(pair, 63)
  const spoiled = { ...chunk, bytes: chunk.bytes.slice() }
  spoiled.bytes[7] = (spoiled.bytes[7] as number) ^ 1
  t.is(await copy.putChunk(spoiled), 'wrong')
  const shifted = { ...chunk, lengths: chunk.lengths.slice(), offsets: chunk.offsets.slice() }
  shifted.lengths[1] = 2
  t.is(await copy.putChunk(shifted), 'wrong')
  t.alike(changes, [])
  t.is(await copy.putChunk({ ...chunk, fork: 1 }), 'stale')
  t.is(await copy.putChunk(chunk), 'stored')
  t.alike(await waiting, blockBytes(33), 'a get of the user wakes')
  t.ok(await range, 'a download of the user ends')
  t.is(copy.contiguousLength, 64)
  t.alike(changes, [{ type: 'have', start: 0, end: 64 }])
  t.alike(await copy.audit(), { blocks: 64, bad: [], head: true })
  t.alike(await copyCore.treeHash(64), await sourceCore.treeHash(64))
})

test('held blocks enter a chunk by their nodes', async (t) => {
  const pair = await createPair(t, 40)
  const { copy, copyCore } = pair
  await upgrade(pair)
  for (const index of [0, 3, 4, 16, 17, 24, 31]) {
    await copy.applyProof(await blockProof(pair, index))
  }
  const chunk = await assemble(pair, 31)
  t.is(chunk.lengths.filter((length) => length === HELD).length, 7)
  t.is(await copy.putChunk(chunk), 'stored')
  t.is(copy.contiguousLength, 32)
  t.alike(await copy.audit(), { blocks: 32, bad: [], head: true })
  for (let index = 0; index < 32; index++) t.alike(await copyCore.get(index), blockBytes(index))
})

test('a chunk of one block, and a chunk whose root is not known', async (t) => {
  const pair = await createPair(t, 5)
  const { copy } = pair
  await upgrade(pair)
  t.is(await copy.putChunk(await assemble(pair, 8)), 'stored')
  t.ok(copy.have.get(4))
  t.is(await copy.putChunk(await assemble(pair, 1)), 'stale')
})

test('the core serves what it was given to another core', async (t) => {
  const pair = await createPair(t, 80)
  await upgrade(pair)
  await pair.copy.putChunk(await assemble(pair, 63))
  const other = await createCore(t, pair.copyCore.key)
  const left = pair.copyCore.replicate(true)
  const right = other.replicate(false)
  left.on('error', () => {})
  right.on('error', () => {})
  left.pipe(right).pipe(left)
  t.teardown(() => left.destroy())
  for (const index of [63, 0, 40]) t.alike(await other.get(index), blockBytes(index))
})

test('changes that the user makes are told', async (t) => {
  const { source, sourceCore } = await createPair(t, 4)
  const changes = record(source)
  await sourceCore.append(['a', 'b'])
  await sourceCore.clear(1, 3)
  t.is(source.contiguousLength, 1)
  t.absent(source.have.hasAll(0, 4))
  await sourceCore.truncate(2)
  await source.append([Buffer.from('c')])
  await source.truncate(2, 7)
  t.alike(changes, [
    { type: 'append', start: 4, length: 2 },
    { type: 'clear', start: 1, end: 3 },
    { type: 'truncate', length: 2, fork: 1 },
    { type: 'append', start: 2, length: 1 },
    { type: 'truncate', length: 2, fork: 7 }
  ])
  t.is(source.fork, 7)
  t.is(source.length, 2)
})

test('what the core downloads by itself is told', async (t) => {
  const { source, sourceCore, copy, copyCore } = await createPair(t, 6)
  const changes = record(copy)
  const left = sourceCore.replicate(true)
  const right = copyCore.replicate(false)
  left.on('error', () => {})
  right.on('error', () => {})
  left.pipe(right).pipe(left)
  t.teardown(() => left.destroy())
  await copyCore.get(3)
  await copyCore.download({ start: 0, end: 6 }).done()
  t.is(copy.contiguousLength, source.length)
  t.ok(changes.some((change) => change.type === 'upgrade' && change.length === 6))
  const told = new Set(changes.map((change) => (change.type === 'have' ? change.start : -1)))
  t.ok([0, 1, 2, 3, 4, 5].every((index) => told.has(index)))
})

test('chunks and the replicator of the core work side by side', async (t) => {
  const pair = await createPair(t, 300)
  const { copy, copyCore, sourceCore } = pair
  await upgrade(pair)
  const left = sourceCore.replicate(true)
  const right = copyCore.replicate(false)
  left.on('error', () => {})
  right.on('error', () => {})
  left.pipe(right).pipe(left)
  t.teardown(() => left.destroy())
  const seen = new Bitmap()
  copy.onchange((change) => {
    if (change.type === 'have') seen.setRange(change.start, change.end, true)
  })
  const range = copyCore.download({ start: 0, end: 300 })
  const chunks: string[] = []
  for (const root of [255, 527, 583, 295]) {
    chunks.push(await copy.putChunk(await assemble(pair, root)))
    await sourceCore.append(`more ${root}`)
  }
  await range.done()
  t.is(chunks[0], 'stored')
  t.absent(chunks.includes('wrong'))
  t.is(copy.contiguousLength >= 300, true)
  t.ok(seen.hasAll(0, 300))
  t.alike((await copy.audit()).bad, [])
})

test('bits read as those of the core', async (t) => {
  const { source } = await createPair(t, 70)
  await source.clear(10, 20)
  await source.clear(64, 65)
  const { have } = source
  t.is(have.firstUnset(0), 10)
  t.is(have.firstSet(10), 20)
  t.is(have.firstSet(10, 15), -1)
  t.is(have.firstSet(70), -1)
  t.is(have.firstUnset(70), 70)
  t.is(have.firstUnset(2 ** 40), 2 ** 40)
  t.is(have.count(0, 100), 59)
  t.is(have.count(5, 25), 10)
  t.alike(
    [...have.runs(0, 70)],
    [
      [0, 10],
      [20, 64],
      [65, 70]
    ]
  )
  const [low, middle, high, ...beyond] = have.words(0, 65_540)
  t.is(low, 0xfff003ff)
  t.is(middle, 0xffffffff)
  t.is(high, 0b111110)
  t.absent(beyond.some((word) => word !== 0))
  t.alike([...have.words(64, 1)], [0b111110])
})

test('bits far apart read as in a bitmap of ours', async (t) => {
  const core = await createCore(t)
  const feed = await open(t, core)
  const mirror = new Bitmap()
  const random = prng(77)
  const edges = [0, 32, 32_768, 65_536, 2_097_152, 2_129_920, 4_194_304]
  const around = (): number => Math.max(0, (edges[random(7)] as number) + random(201) - 100)
  const end = 4_300_000
  for (let round = 0; round < 300; round++) {
    const start = around()
    const stop = random(20) === 0 ? Math.max(start, around()) : start + random(70)
    const value = random(3) > 0
    core.core.bitfield.setRange(start, stop, value)
    mirror.setRange(start, stop, value)
    const at = around()
    t.is(feed.have.get(at), mirror.get(at), `get ${at} in round ${round}`)
    t.is(feed.have.firstSet(at), mirror.firstSet(at), `firstSet ${at} in round ${round}`)
    t.is(feed.have.firstUnset(at), mirror.firstUnset(at), `firstUnset ${at} in round ${round}`)
    t.is(feed.have.count(at, at + 99), mirror.count(at, at + 99))
    const word = 32 * Math.floor(at / 32)
    t.alike(feed.have.words(word, 5), mirror.words(word, 5))
  }
  t.is(feed.have.count(0, end), mirror.count(0, end))
  t.alike([...feed.have.runs(0, end)], [...mirror.runs(0, end)])
  t.alike(feed.have.words(2_097_056, 8), mirror.words(2_097_056, 8))
})

test('cleared blocks are gone, all others can still be proven', async (t) => {
  const { source, sourceCore } = await createPair(t, 40)
  const changes = record(source)
  await source.clear(3, 17)
  await source.forget([20, 2, 20])
  await source.clear(38, 1000)
  t.alike(changes, [
    { type: 'clear', start: 3, end: 17 },
    { type: 'forget', start: 20, end: 21 },
    { type: 'forget', start: 2, end: 3 },
    { type: 'clear', start: 38, end: 40 }
  ])
  t.is(await source.read(5), null)
  t.is(await code(source.readRun(0, 6)), 'BLOCK_NOT_AVAILABLE')
  t.is(await code(source.proof({ block: { index: 5, nodes: 0 } })), 'BLOCK_NOT_AVAILABLE')
  t.absent(await sourceCore.has(20))
  t.is(await sourceCore.get(20, { wait: false }), null)
  for (const [start, end] of source.have.runs(0, 40)) {
    for (let index = start; index < end; index++) {
      t.is((await source.proof({ block: { index, nodes: 3 } })).block?.nodes.length, 3)
    }
  }
  t.alike(await source.audit(), { blocks: 22, bad: [], head: true })
})

test('blocks forgotten and cleared side by side are told apart', async (t) => {
  const { source, sourceCore } = await createPair(t, 40)
  const changes = record(source)
  await Promise.all([
    source.forget([1]),
    sourceCore.clear(10, 12),
    source.forget([2]),
    source.clear(20, 22),
    source.forget([3])
  ])
  const cleared = changes.filter(({ type }) => type === 'clear')
  t.alike(
    cleared.map((change) => ('start' in change ? change.start : -1)).toSorted((a, b) => a - b),
    [10, 20]
  )
  const forgotten = changes.filter(({ type }) => type === 'forget')
  t.alike(
    forgotten.map((change) => 'start' in change && change.start),
    [1, 2, 3]
  )
})

test('cleared blocks stay cleared when the core is opened again', async (t) => {
  const folder = await t.tmp()
  const core = new Hypercore(folder)
  await core.append(['a', 'b', 'c', 'd'])
  const feed = await HypercoreFeed.open(core)
  await feed.clear(1, 3)
  await feed.close()
  await core.close()
  const again = new Hypercore(folder)
  t.teardown(() => again.close(), { order: 1 })
  const reopened = await open(t, again)
  t.alike(
    [...reopened.have.runs(0, 4)],
    [
      [0, 1],
      [3, 4]
    ]
  )
  t.is(again.contiguousLength, 1)
})

test('a proof for which the user cleared a node fails, and does not hang', async (t) => {
  const { source, sourceCore } = await createPair(t, 8)
  // Hypercore's own clear takes nodes along that the blocks before it need.
  await sourceCore.clear(3)
  t.alike(await source.read(2), Uint8Array.from(blockBytes(2)))
  t.is(await code(source.proof({ block: { index: 2, nodes: 3 } })), 'BLOCK_NOT_AVAILABLE')
  t.is((await source.proof({ block: { index: 2, nodes: 0 } })).block?.index, 2)
  t.alike(await source.audit(), { blocks: 7, bad: [0, 1, 2], head: true })
})

test('requests for what cannot exist are refused', async (t) => {
  const { source, copy } = await createPair(t, 6)
  const refused = [
    { block: { index: 6, nodes: 0 } },
    { block: { index: 5, nodes: 2 } },
    { hash: { index: 11, nodes: 0 } },
    { upgrade: { start: 0, length: 7 } },
    { upgrade: { start: 6, length: 0 } },
    { block: { index: 3, nodes: 0 }, upgrade: { start: 0, length: 2 } },
    { seek: { bytes: 1_000_000, padding: 0 }, block: { index: 0, nodes: 1 } }
  ]
  for (const request of refused) t.is(await code(source.proof(request)), 'INVALID_OPERATION')
  t.is(await code(copy.proof({ upgrade: { start: 0, length: 1 } })), 'INVALID_OPERATION')
  t.is(await code(copy.proof({ block: { index: 0, nodes: 0 } })), 'INVALID_OPERATION')
  t.alike(await copy.proof({}), {
    fork: 0,
    block: null,
    hash: null,
    seek: null,
    upgrade: null,
    manifest: null
  })
})

test('seeks find blocks, and prove them', async (t) => {
  const pair = await createPair(t, 20)
  const { source, copy } = pair
  t.alike(await source.seek(0), [0, 0])
  t.alike(await source.seek(source.byteLength), [20, 0])
  t.is(await source.seek(source.byteLength + 1), null)
  let offset = 0
  for (let index = 0; index < 20; index++) {
    const { byteLength } = blockBytes(index)
    if (byteLength > 1) t.alike(await source.seek(offset + 1), [index, 1])
    offset += byteLength
  }
  await upgrade(pair)
  t.is(await copy.seek(10), null, 'nodes on the way are missing')
  const proof = await source.proof({
    block: { index: 0, nodes: 4 },
    seek: { bytes: 10, padding: 0 }
  })
  t.is((await copy.applyProof(proof)).block, 0)
  t.is(await copy.missingNodes(2 * 10), 1, 'the leaf alone was not proven')
  await copy.applyProof(await blockProof(pair, 10))
  t.alike(await copy.seek(10), await source.seek(10))
})

test('a rewritten feed is followed', async (t) => {
  const pair = await createPair(t, 50)
  const { source, copy, sourceCore, copyCore } = pair
  await upgrade(pair)
  await copy.putChunk(await assemble(pair, 31))
  await source.truncate(21)
  await sourceCore.append(Array.from({ length: 20 }, (_, i) => `new ${i}`))
  const head = await source.proof({
    block: { index: 0, nodes: 0 },
    upgrade: { start: 0, length: 41 }
  })
  t.is(await copy.reorg({ ...head, fork: 0 }), null)
  const reorg = await copy.reorg(head)
  if (!reorg) throw new Error('stale')
  t.is(reorg.fork, 1)
  t.is(reorg.length, 41)
  t.is(await code(reorg.commit()), 'INVALID_OPERATION')
  const wrong = await source.proof({ hash: { index: 2 * 33, nodes: 0 } })
  t.is(await code(reorg.accept(wrong)), 'INVALID_PROOF')
  let steps = 0
  while (reorg.next) {
    const answer = await source.proof({ hash: reorg.next })
    if (!answer.hash) throw new Error('no answer')
    const [first, ...rest] = answer.hash.nodes
    const lie = {
      ...answer,
      hash: { ...answer.hash, nodes: [{ ...first, hash: source.key }, ...rest] }
    }
    t.is(await code(reorg.accept(lie as Proof)), 'INVALID_CHECKSUM')
    await reorg.accept(answer)
    steps++
  }
  t.ok(steps > 0 && steps < 10)
  const changes = record(copy)
  t.is(await reorg.commit(), 21)
  t.alike(changes, [
    { type: 'truncate', length: 21, fork: 1 },
    { type: 'upgrade', start: 21, length: 20 }
  ])
  t.is(copy.length, 41)
  t.is(copy.fork, 1)
  t.is(copy.contiguousLength, 21)
  t.is(await reorg.commit(), null)
  await copy.applyProof(await blockProof(pair, 21))
  await copy.applyProof(await blockProof(pair, 40))
  t.alike(await copyCore.get(40), Buffer.from('new 19'))
  t.alike((await copy.audit()).bad, [])
  t.alike(await copyCore.treeHash(), await sourceCore.treeHash())
})

test('a core that allows no fork is not rewritten', async (t) => {
  const sourceCore = await createCore(t)
  await sourceCore.append(['a', 'b', 'c'])
  const copyCore = new Hypercore(await t.tmp(), sourceCore.key, { allowFork: false })
  t.teardown(() => copyCore.close(), { order: 1 })
  const [source, copy] = [await open(t, sourceCore), await open(t, copyCore)]
  await upgrade({ source, sourceCore, copy, copyCore })
  await sourceCore.truncate(1)
  await sourceCore.append(['x', 'y', 'z'])
  t.is(await copy.reorg(await source.proof({ upgrade: { start: 0, length: 4 } })), null)
  t.absent(copy.allowsForks)
  t.ok(source.allowsForks)
  t.is(copyCore.length, 3)
})

for (const length of [1, 2, 4]) {
  test(`nodes of what was cut off at ${length} are no other history`, async (t) => {
    const pair = await createPair(t, 2 * length)
    const { source, sourceCore, copy, copyCore } = pair
    await upgrade(pair)
    for (let index = 0; index < 2 * length; index++) {
      await copy.applyProof(await blockProof(pair, index))
    }
    await source.truncate(length)
    const cut = await copy.reorg(await source.proof({ upgrade: { start: 0, length } }))
    while (cut?.next) await cut.accept(await source.proof({ hash: cut.next }))
    await cut?.commit()
    t.is(copy.length, length)
    await sourceCore.append(Array.from({ length }, (_, i) => `new ${i}`))
    const proof = await source.proof({ upgrade: { start: 0, length: 2 * length } })
    t.absent(await copy.checkConflict(proof))
    t.absent(copy.frozen)
    await upgrade(pair)
    for (let index = length; index < 2 * length; index++) {
      await copy.applyProof(await blockProof(pair, index))
    }
    t.alike(await copyCore.treeHash(), await sourceCore.treeHash())
  })
}

test('a run of blocks ends where it grows too large, however small most of them are', async (t) => {
  const large = Buffer.alloc(300_000)
  const { source } = await createPair(t, 2000)
  await source.append([large, large, large])
  t.is((await source.readPacked(2000, 2003)).lengths.length, 1)
  t.is((await source.readPacked(1990, 2003)).lengths.length, 11)
  t.is((await source.readPacked(0, 2003)).lengths.length, 2001)
  await source.append([Buffer.alloc(1_000_000)])
  t.is((await source.readPacked(2003, 2004)).lengths.length, 1, 'one at least')
})

test('a fork that comes back to what was cut off is followed', async (t) => {
  for (const length of [8, 13, 21]) {
    const pair = await createPair(t, 8)
    const { copy, sourceCore, copyCore } = pair
    await upgrade(pair)
    for (let index = 0; index < 8; index++) await copy.applyProof(await blockProof(pair, index))
    await sourceCore.truncate(4)
    t.is(await followFork(pair), 4)
    await sourceCore.truncate(3)
    await sourceCore.append(Array.from({ length: length - 3 }, (_, i) => blockBytes(3 + i)))
    const changes = record(copy)
    t.is(await followFork(pair), 4)
    t.alike(changes, [
      { type: 'truncate', length: 4, fork: 2 },
      { type: 'upgrade', start: 4, length: length - 4 }
    ])
    t.is(copy.contiguousLength, 4)
    for (let index = 4; index < length; index++) {
      await copy.applyProof(await blockProof(pair, index))
      t.alike(await copyCore.get(index), blockBytes(index))
    }
    t.alike(await copy.audit(), { blocks: length, bad: [], head: true })
    t.alike(await copyCore.treeHash(), await sourceCore.treeHash())
  }
})

test('two histories freeze the feed for good', async (t) => {
  const folder = await t.tmp()
  const pair = await createPair(t, 3)
  const { source, sourceCore } = pair
  const { keyPair } = sourceCore
  const twin = new Hypercore(folder, null, { keyPair })
  await twin.append(['x', 'y', 'z'])
  const feed = await HypercoreFeed.open(twin)
  const changes = record(feed)
  const own = await feed.proof({ upgrade: { start: 0, length: 3 } })
  t.absent(await feed.checkConflict(own))
  const other = await source.proof({ upgrade: { start: 0, length: 3 } })
  if (!other.upgrade) throw new Error('no upgrade')
  const forged = { ...other, upgrade: { ...other.upgrade, signature: new Uint8Array(68) } }
  t.is(await code(feed.checkConflict(forged)), 'INVALID_SIGNATURE')
  t.absent(feed.frozen)
  hushHypercore(t)
  t.ok(await feed.checkConflict(other))
  t.ok(feed.frozen)
  t.alike(changes, [{ type: 'freeze' }])
  t.is(await code(feed.append([Buffer.from('a')])), 'FEED_FROZEN')
  t.ok(feed.closed, 'hypercore closes what it freezes')
  await feed.close()
  await twin.close()
  const again = new Hypercore(folder)
  t.teardown(() => again.close(), { order: 1 })
  const reopened = await open(t, again)
  t.ok(reopened.frozen)
  t.absent(reopened.writable)
  t.absent((await reopened.applyProof(other)).applied)
})

test('a freeze by the core itself stays when it is opened again', async (t) => {
  hushHypercore(t)
  const one = await createCore(t)
  const { keyPair } = one
  const folder = await t.tmp()
  const twin = new Hypercore(folder, null, { keyPair })
  await one.append(['a', 'b'])
  await twin.append(['x', 'y'])
  const feed = await HypercoreFeed.open(twin)
  const frozen = new Promise<void>((resolve) => {
    feed.onchange(({ type }) => type === 'freeze' && resolve())
  })
  const closed = new Promise((resolve) => twin.once('close', () => resolve(null)))
  const left = one.replicate(true)
  const right = twin.replicate(false)
  for (const stream of [left, right]) stream.on('error', () => {})
  left.pipe(right).pipe(left)
  t.teardown(() => left.destroy())
  await twin.append('z')
  await frozen
  await closed
  const again = new Hypercore(folder)
  t.teardown(() => again.close(), { order: 1 })
  const reopened = await open(t, again)
  t.ok(reopened.frozen)
  t.absent(reopened.writable)
})

test('a proof that ends beyond the end of a truncated core is not believed', async (t) => {
  const pair = await createPair(t, 8)
  const { source, copy, sourceCore } = pair
  await upgrade(pair)
  await copy.applyProof(await blockProof(pair, 0))
  const old = await source.proof({ block: { index: 6, nodes: 3 } })
  await source.truncate(4)
  t.is(await followFork(pair), 4)
  t.is(await code(copy.applyProof({ ...old, fork: 1 })), 'INVALID_PROOF')
  t.absent(copy.have.get(6))
  await sourceCore.append(['a', 'b', 'c', 'd'])
  await upgrade(pair)
  t.absent(copy.have.get(6))
})

test('user data stands beside that of the user', async (t) => {
  const core = await createCore(t)
  const feed = await open(t, core)
  t.is(await feed.getUserData('name'), null)
  await feed.setUserData('name', Uint8Array.of(1, 2))
  t.alike(await feed.getUserData('name'), Uint8Array.of(1, 2))
  t.is(await core.core.state.sessions[0].getUserData('name'), null)
  await feed.setUserData('name', null)
  t.is(await feed.getUserData('name'), null)
})

test('audit finds blocks that rotted', async (t) => {
  const { source, sourceCore } = await createPair(t, 30)
  const { state } = sourceCore.core
  const writer = state.storage.write()
  writer.putBlock(4, Buffer.from('rot'))
  writer.deleteBlock(9)
  writer.putTreeNode({ index: 2 * 17, size: 2, hash: Buffer.alloc(32, 1) })
  await writer.flush()
  const report = await source.audit()
  t.alike(report, { blocks: 30, bad: [4, 9, 16, 17], head: true })
  t.is(await code(source.readRun(8, 10)), 'BLOCK_NOT_AVAILABLE')
  await source.forget(report.bad)
  t.alike(await source.audit(), { blocks: 26, bad: [], head: true })
  const reason = new Error('enough')
  await t.exception(source.audit({ signal: AbortSignal.abort(reason) }), /enough/)
})

test('closing the feed leaves the core open', async (t) => {
  const core = await createCore(t)
  await core.append('a')
  const feed = await HypercoreFeed.open(core)
  const changes = record(feed)
  await feed.close()
  await feed.close()
  t.ok(feed.closed)
  t.absent(core.closed)
  await core.append('b')
  await core.clear(0)
  t.is(core.length, 2)
  t.alike(changes, [])
  t.absent(Object.hasOwn(core.core.replicator, 'onhave'), 'nothing of ours stays in the core')
  t.is(await code(feed.append([Buffer.from('c')])), 'SESSION_CLOSED')
})

test('two feeds over one core both hear of it', async (t) => {
  const core = await createCore(t)
  const first = await HypercoreFeed.open(core)
  const second = await open(t, core)
  const heard = [record(first), record(second)]
  await first.append([Buffer.from('a')])
  t.alike(heard[0], heard[1])
  await first.close()
  await core.append('b')
  t.is(heard[0]?.length, 1)
  t.is(heard[1]?.length, 2)
})

test('closing the core closes the feed', async (t) => {
  const { sourceCore, source } = await createPair(t, 5)
  const proof = await source.proof({ upgrade: { start: 0, length: 5 } })
  const other = sourceCore.session()
  await other.ready()
  t.teardown(() => other.close())
  const pending = [source.append([Buffer.from('a')]), source.readRun(0, 5), source.audit()]
  const closing = sourceCore.close()
  t.ok(source.closed)
  const calls = [
    () => source.append([Buffer.from('a')]),
    () => source.read(0),
    () => source.readRun(0, 1),
    () => source.seek(1),
    () => source.proof({ upgrade: { start: 0, length: 1 } }),
    () => source.missingNodes(0),
    () => source.trustedPath(0),
    () => source.applyProof(proof),
    () => source.clear(0, 1),
    () => source.forget([0]),
    () => source.truncate(0),
    () => source.reorg(proof),
    () => source.checkConflict(proof),
    () => source.getUserData('a'),
    () => source.setUserData('a', null),
    () => source.flush(),
    () => source.audit()
  ]
  for (const call of calls) t.is(await code(call()), 'SESSION_CLOSED')
  await closing
  for (const result of await Promise.all(pending.map((run) => code(run)))) {
    t.ok(['none', 'SESSION_CLOSED'].includes(result), result)
  }
  await source.close()
})

test('a compat feed shows no manifest', async (t) => {
  const sourceCore = new Hypercore(await t.tmp(), null, { compat: true })
  await sourceCore.append(['a', 'b'])
  t.teardown(() => sourceCore.close(), { order: 1 })
  const source = await open(t, sourceCore)
  t.ok(source.compat)
  t.is(source.manifest, null)
  const copy = await open(t, await createCore(t, sourceCore.key))
  const proof = await source.proof({ upgrade: { start: 0, length: 2 }, manifest: true })
  t.is(proof.manifest, null)
  await copy.applyProof(proof)
  t.ok(copy.compat)
  t.is(copy.manifest, null)
  t.is(copy.length, 2)
})

test('an encrypted core keeps its blocks encrypted', async (t) => {
  const encryption = { key: Buffer.alloc(32, 7) }
  const core = new Hypercore(await t.tmp(), null, { encryption })
  t.teardown(() => core.close(), { order: 1 })
  await core.append('secret')
  const feed = await open(t, core)
  const stored = await feed.read(0)
  t.is(stored?.byteLength, 8 + 6)
  t.is(feed.byteLength, 14)
  t.absent(Buffer.from(stored ?? []).includes('secret'))
  const bytes = Buffer.from('more')
  await feed.append([bytes])
  t.alike(await core.get(1), Buffer.from('more'))
  t.alike(bytes, Buffer.from('more'), 'the array of the caller is left alone')
  t.alike(await feed.seek(14), [1, 0])
})
