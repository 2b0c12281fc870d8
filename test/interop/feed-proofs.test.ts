/** Stored feeds against hypercore: the same proofs, taken and given, under every kind of manifest. */
import { createRequire } from 'node:module'
import test, { type Assertions } from 'brittle'
import Hypercore from 'hypercore'
import { BlockEncryption } from '../../lib/feed/encryption.ts'
import type { Feed, ProofRequest } from '../../lib/feed/feed.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { createManifest, keyOf, type ManifestOptions } from '../../lib/feed/manifest.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Identity } from '../../lib/feed/store.ts'
import { endBlock, fullRoots } from '../../lib/primitives/flat-tree.ts'
import type { Proof } from '../../lib/wire/message.ts'
import { blocksFrom, bytesOf, flip, headProof, prng } from '../conformance/feed.ts'

const require = createRequire(import.meta.url)

/** Hypercore's own rules of signatures and proofs; only in its internals. */
interface HypercoreVerifier {
  assemble(inputs: object[]): Uint8Array
  signers: { _ctx(): Uint8Array }[]
}
const Verifier = require('hypercore/lib/verifier.js') as {
  fromManifest(manifest: object): HypercoreVerifier
}
const { MerkleTree } = require('hypercore/lib/merkle-tree.js') as {
  MerkleTree: {
    proof(state: object, reader: object, request: object): Promise<{ settle(): Promise<Proof> }>
  }
}
const caps = require('hypercore/lib/caps.js') as {
  treeSignable(ctx: Uint8Array, hash: Uint8Array, length: number, fork: number): Uint8Array
}
const crypto = require('hypercore-crypto') as {
  sign(message: Uint8Array, secretKey: Uint8Array): Uint8Array
  tree(roots: readonly object[]): Uint8Array
}
const Hypercore10 = require('hypercore10') as typeof Hypercore

const SEED = new Uint8Array(32).fill(42)

async function openFeed(t: Assertions, identity: Identity): Promise<StoredFeed> {
  const feed = await StoredFeed.open(memoryStore(identity))
  t.teardown(() => feed.close())
  return feed
}

async function openCore(
  t: Assertions,
  key: Uint8Array | null,
  options: object = {},
  Class: typeof Hypercore = Hypercore
): Promise<Hypercore> {
  const core = new Class(await t.tmp(), key, options)
  await core.ready()
  t.teardown(() => core.close(), { order: 1 })
  return core
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** A proof with its bytes as text, so that Buffers and plain arrays compare. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]))
}

/** What a replicating hypercore answers. (`core.proof` cannot seek: it reads before it knows what.) */
async function proofOf(core: Hypercore, request: ProofRequest): Promise<Proof> {
  const { block = null, hash = null, seek = null, upgrade = null } = structuredClone(request)
  const reader = core.core.state.storage.read()
  let tree: { settle(): Promise<Proof> }
  try {
    tree = await MerkleTree.proof(core.core.state, reader, { block, hash, seek, upgrade })
  } catch (error) {
    reader.destroy()
    throw error
  }
  reader.tryFlush()
  const proof = await tree.settle()
  const value = block && (await core.get(block.index, { wait: false }))
  if (proof.block !== null && value === null) throw new Error('no such block')
  return { ...proof, block: proof.block && value && { ...proof.block, value } }
}

async function applyToCore(core: Hypercore, proof: Proof): Promise<boolean> {
  return core.core.verify(proof, null)
}

/** Requests that are sensible, and some that are not. */
function anyRequest(
  length: number,
  byteLength: number,
  random: (below: number) => number
): ProofRequest {
  const start = random(length)
  const upgrade =
    random(2) === 0
      ? { start, length: 1 + random(length - start + (random(8) === 0 ? 2 : 0)) }
      : null
  const index = random(length + 1)
  const nodes = random(7)
  const kind = random(4)
  const hash = { index: random(2 * length), nodes }
  // Hypercore itself trips over a seek beside a node that lies half in the upgrade, and adds up the
  // bytes before a node to NaN if it lies behind the first root.
  const straddles = kind === 1 && upgrade !== null && endBlock(hash.index) > start
  const [firstRoot = 0] = fullRoots(length)
  const behind = kind < 2 && endBlock(kind === 0 ? 2 * index : hash.index) > endBlock(firstRoot)
  const bytes = random(byteLength + 2)
  const seek =
    random(3) === 0 && !straddles && !behind ? { bytes, padding: random(5) === 0 ? 1 : 0 } : null
  return {
    ...(kind === 0 && { block: { index, nodes } }),
    ...(kind === 1 && { hash }),
    ...(seek !== null && { seek }),
    ...(upgrade !== null && { upgrade })
  }
}

test('hypercore 11.37.1: proofs, signatures and tree hashes are the same', async (t) => {
  const random = prng(7)
  const keyPair = createKeyPair(SEED)
  let built = 0
  let refused = 0
  for (const length of [1, 2, 3, 8, 21, 64, 100, 173, 200]) {
    const core = await openCore(t, null, { keyPair })
    const feed = await openFeed(t, newIdentity({ keyPair }))
    t.is(hex(feed.key), hex(core.key))
    t.is(hex(feed.discoveryKey), hex(core.discoveryKey))
    const blocks = blocksFrom(0, length)
    await core.append(blocks)
    await feed.append(blocks.slice(0, random(length)))
    await feed.append(blocks.slice(feed.length))
    t.is(feed.byteLength, core.byteLength)
    for (let i = 0; i < 120; i++) {
      const request = anyRequest(length, feed.byteLength, random)
      const theirs = await proofOf(core, request).catch(() => null)
      const ours = await feed.proof(request).catch(() => null)
      if (theirs === null) refused++
      else built++
      t.alike(plain(ours), plain(theirs), `${length}: ${JSON.stringify(request)}`)
    }
  }
  t.ok(built > 500, `${built} built`)
  t.ok(refused > 50, `${refused} refused`)
})

test('hypercore 11.37.1: sparse copies of both kinds take proofs of both kinds', async (t) => {
  const random = prng(11)
  const keyPair = createKeyPair(SEED)
  for (let round = 0; round < 4; round++) {
    const sourceCore = await openCore(t, null, { keyPair })
    const source = await openFeed(t, newIdentity({ keyPair }))
    const core = await openCore(t, source.key)
    const feed = await openFeed(t, identityFromKey(source.key))
    const grow = async (): Promise<void> => {
      const blocks = blocksFrom(source.length, source.length + 1 + random(40))
      await source.append(blocks)
      await sourceCore.append(blocks)
    }
    await grow()
    const give = async (request: ProofRequest): Promise<void> => {
      const theirs = {
        ...(await proofOf(sourceCore, request)),
        manifest: source.manifest
      }
      const ours = await source.proof({ ...request, manifest: true })
      t.ok(await applyToCore(core, ours), `given ${JSON.stringify(request)}`)
      t.ok((await feed.applyProof(theirs)).applied, `taken ${JSON.stringify(request)}`)
    }
    for (let step = 0; step < 30; step++) {
      const { length } = feed
      const behind = source.length - length
      if (behind === 0 && random(4) === 0) await grow()
      if (behind > 0) {
        const upgrade = { start: length, length: 1 + random(behind) }
        const inside = length + random(upgrade.length)
        const parts: ProofRequest[] = [
          { block: { index: inside, nodes: 0 } },
          { hash: { index: 2 * inside, nodes: 0 } },
          { seek: { bytes: random(source.byteLength), padding: 0 } },
          {}
        ]
        await give({ upgrade, ...parts[random(parts.length)] })
        continue
      }
      const index = random(length)
      const nodes = await feed.missingNodes(2 * index)
      // Hypercore keeps nodes that we do not trust, so it may need fewer, never more.
      t.ok((await missingIn(core, index)) <= nodes)
      const requests: ProofRequest[] = [
        { block: { index, nodes } },
        { block: { index, nodes } },
        { hash: { index: 2 * index, nodes } },
        { block: { index, nodes }, seek: await seekBeside(source, index, nodes) }
      ]
      await give(requests[random(requests.length)] ?? {})
    }
    t.is(core.length, feed.length)
    t.is(hex(crypto.tree(core.core.state.roots)), hex(await sourceCore.treeHash(feed.length)))
    t.alike((await feed.audit()).bad, [])
    for (const [start, end] of feed.have.runs(0, feed.length)) {
      for (let index = start; index < end; index++) {
        t.is(hex((await feed.read(index)) as Uint8Array), hex(bytesOf(index)))
        t.is(hex((await core.get(index, { wait: false })) as Uint8Array), hex(bytesOf(index)))
      }
    }
    // What the sparse copy can prove is right for a stranger.
    const stranger = await openCore(t, source.key)
    const head = await feed.proof({ upgrade: { start: 0, length: feed.length }, manifest: true })
    t.ok(await applyToCore(stranger, head))
    const [held] = [...feed.have.runs(0, feed.length)][0] ?? [0]
    const proof = await feed.proof({
      block: { index: held, nodes: await missingIn(stranger, held) }
    })
    t.ok(await applyToCore(stranger, proof))
  }
})

/** A seek that leads somewhere below the node to which block `index` climbs. */
async function seekBeside(
  source: Feed,
  index: number,
  nodes: number
): Promise<{ bytes: number; padding: number }> {
  const first = index - (index % 2 ** nodes)
  const blocks = await source.readRun(0, first + 2 ** nodes)
  const sizes = blocks.map((block) => block.byteLength)
  const start = sizes.slice(0, first).reduce((sum, size) => sum + size, 0)
  const inside = sizes.slice(first).reduce((sum, size) => sum + size, 0)
  return { bytes: start + Math.floor(inside / 2), padding: 0 }
}

function missingIn(core: Hypercore, index: number): Promise<number> {
  return (core as unknown as { missingNodes(index: number): Promise<number> }).missingNodes(index)
}

test('hypercore 11.37.1: what hash and seek proofs say about sizes is not kept unless it is sure', async (t) => {
  const keyPair = createKeyPair(SEED)
  const source = await openFeed(t, newIdentity({ keyPair }))
  await source.append(blocksFrom(0, 64))
  for (const [kind, honest] of [
    ['hash', await source.proof({ hash: { index: 33, nodes: 5 } })],
    [
      'seek',
      await source.proof({ block: { index: 1, nodes: 6 }, seek: { bytes: 900, padding: 0 } })
    ]
  ] as const) {
    const copy = await openFeed(t, identityFromKey(source.key))
    await copy.applyProof(await source.proof({ upgrade: { start: 0, length: 64 }, manifest: true }))
    const part = (kind === 'hash' ? honest.hash : honest.seek) as NonNullable<Proof['hash']>
    const [first, second, ...rest] = part.nodes
    if (first === undefined || second === undefined) return t.fail('the proof is too short')
    // A byte moved between siblings: the parent's hash covers only the sum.
    const moved = second.size > 0 ? 1 : -1
    const nodes = [
      { ...first, size: first.size + moved },
      { ...second, size: second.size - moved },
      ...rest
    ]
    const lie = { ...honest, [kind]: { ...part, nodes } }
    await copy.applyProof(lie)
    for (const { index } of [first, second]) {
      t.ok((await copy.missingNodes(index)) > 0, `${kind}: node ${index} is not trusted`)
    }
    for (let index = 0; index < 64; index++) {
      const nodes = await copy.missingNodes(2 * index)
      await copy.applyProof(await source.proof({ block: { index, nodes } }))
    }
    const all = await copy.readRun(0, 64)
    t.alike(all.map(hex), blocksFrom(0, 64).map(hex))
  }
  return undefined
})

const SINGLE = createKeyPair(new Uint8Array(32).fill(1))
const NAMESPACE = new Uint8Array(32).fill(77)

const MANIFESTS: readonly (readonly [name: string, options: ManifestOptions])[] = [
  ['version 0', { version: 0, signers: [{ publicKey: SINGLE.publicKey, namespace: NAMESPACE }] }],
  ['version 1', { version: 1, signers: [{ publicKey: SINGLE.publicKey }] }],
  ['version 1 with patches', { allowPatch: true, signers: [{ publicKey: SINGLE.publicKey }] }],
  [
    'version 2',
    {
      signers: [{ publicKey: SINGLE.publicKey }],
      linked: [new Uint8Array(32).fill(3)],
      userData: new Uint8Array([1, 2, 3])
    }
  ],
  ['version 3', { version: 3, signers: [{ publicKey: SINGLE.publicKey }] }]
]

for (const [name, options] of MANIFESTS) {
  test(`hypercore 11.37.1: a manifest of ${name} in both directions`, async (t) => {
    const manifest = createManifest(options)
    const core = await openCore(t, null, { manifest, keyPair: SINGLE })
    const feed = await openFeed(t, newIdentity({ manifest, keyPair: SINGLE }))
    t.is(hex(feed.key), hex(core.key))
    t.ok(feed.writable)
    await core.append(blocksFrom(0, 9))
    await feed.append(blocksFrom(0, 9))
    const ours = await headProof(feed)
    const theirs = { ...(await core.proof({ upgrade: { start: 0, length: 9 } })), manifest }
    t.is(hex(ours.upgrade?.signature ?? new Uint8Array(0)), hex(theirs.upgrade.signature))
    const copy = await openFeed(t, identityFromKey(feed.key))
    t.ok((await copy.applyProof(theirs)).upgraded)
    t.alike(plain(copy.manifest), plain(manifest))
    t.ok(await applyToCore(await openCore(t, feed.key), ours))
  })
}

test('hypercore 11.37.1: two of three signers, with and without patches', async (t) => {
  const signers = [1, 2, 3].map((seed) => createKeyPair(new Uint8Array(32).fill(seed)))
  for (const version of [0, 1]) {
    for (const allowPatch of [false, true]) {
      const manifest = createManifest({
        version,
        allowPatch,
        signers: signers.map(({ publicKey }) => ({ publicKey }))
      })
      t.is(manifest.quorum, 2)
      const key = keyOf(manifest)
      const verifier = Verifier.fromManifest(manifest)
      // A feed of the same blocks gives the tree; whose key it has does not matter to it.
      const tree = await openFeed(t, newIdentity({ keyPair: SINGLE }))
      await tree.append(blocksFrom(0, 6))
      const proof = await tree.proof({ upgrade: { start: 0, length: 6 } })
      await tree.append(blocksFrom(6, 11))
      const patch = (await tree.proof({ upgrade: { start: 6, length: 5 } })).upgrade?.nodes ?? []
      const longer = (await tree.proof({ upgrade: { start: 0, length: 11 } })).upgrade?.nodes ?? []
      const signature = (signer: number, nodes: readonly object[], length: number): Uint8Array => {
        const context = verifier.signers[signer]?._ctx() ?? key
        const secretKey = signers[signer]?.secretKey ?? new Uint8Array(64)
        return crypto.sign(caps.treeSignable(context, crypto.tree(nodes), length, 0), secretKey)
      }
      const nodes = proof.upgrade?.nodes ?? []
      const first = { signer: 2, signature: signature(2, nodes, 6), patch: 0, nodes: null }
      const second = { signer: 0, signature: signature(0, nodes, 6), patch: 0, nodes: null }
      const ahead = { signer: 0, signature: signature(0, longer, 11), patch: 5, nodes: patch }
      for (const [signers, valid] of [
        [[first, second], true],
        [[first, ahead], allowPatch],
        [[first], false],
        [[first, first], false],
        [[first, { ...second, signature: flip(second.signature) }], false],
        [[first, { ...second, signer: 1 }], false]
      ] as const) {
        const signed = {
          ...proof,
          upgrade: proof.upgrade && {
            ...proof.upgrade,
            signature: verifier.assemble([...signers])
          },
          manifest
        }
        const copy = await openFeed(t, identityFromKey(key))
        const core = await openCore(t, key)
        const name = `v${version} ${allowPatch}: ${signers.length} signatures`
        t.is(await copy.applyProof(signed).then(applied, refused), valid, name)
        t.is(await applyToCore(core, signed).catch(refused), valid, `hypercore, ${name}`)
        t.is(copy.length, valid ? 6 : 0)
      }
    }
  }
})

test('hypercore 11.37.1: a prologue is proven by itself', async (t) => {
  const blocks = blocksFrom(0, 14)
  const plainFeed = await openCore(t, null, { keyPair: SINGLE })
  await plainFeed.append(blocks.slice(0, 10))
  const prologue = { hash: new Uint8Array(await plainFeed.treeHash(10)), length: 10 }
  const feed = await openFeed(t, newIdentity({ keyPair: SINGLE, prologue }))
  const core = await openCore(t, null, { manifest: feed.manifest, keyPair: SINGLE })
  t.is(hex(core.key), hex(feed.key))
  await fails(t, 'INVALID_OPERATION', feed.append(blocks.slice(0, 9)))
  await fails(t, 'INVALID_OPERATION', feed.append([...blocks.slice(0, 9), bytesOf(77)]))
  t.is(feed.length, 0)
  await feed.append(blocks.slice(0, 10))
  const proof = await feed.proof({ upgrade: { start: 3, length: 2 }, manifest: true })
  t.alike([proof.upgrade?.start, proof.upgrade?.length], [0, 10])
  // The key itself vouches for the prologue.
  const unsigned = {
    ...proof,
    upgrade: proof.upgrade && { ...proof.upgrade, signature: new Uint8Array(0) }
  }
  const copy = await openFeed(t, identityFromKey(feed.key))
  const copyCore = await openCore(t, feed.key)
  t.ok((await copy.applyProof(unsigned)).upgraded)
  t.ok(await applyToCore(copyCore, proof))
  await fails(t, 'INVALID_OPERATION', feed.truncate(9))
  await feed.append(blocks.slice(10))
  const next = await feed.proof({
    upgrade: { start: 10, length: 4 },
    block: { index: 12, nodes: 0 }
  })
  t.ok((await copy.applyProof(next)).upgraded)
  t.ok(await applyToCore(copyCore, next))
  t.is(copyCore.length, 14)
  const whole = await openFeed(t, identityFromKey(feed.key))
  t.ok(
    (await whole.applyProof(await feed.proof({ upgrade: { start: 0, length: 1 }, manifest: true })))
      .upgraded
  )
  t.is(whole.length, 14)
})

test('hypercore 11.37.1 and 10.38.2: compat feeds, whose key signs', async (t) => {
  for (const Class of [Hypercore, Hypercore10]) {
    const core = await openCore(t, null, { compat: true, keyPair: SINGLE }, Class)
    const feed = await openFeed(t, newIdentity({ keyPair: SINGLE, compat: true }))
    t.is(hex(core.key), hex(SINGLE.publicKey))
    t.is(hex(feed.key), hex(SINGLE.publicKey))
    t.ok(feed.compat)
    t.is(feed.manifest, null)
    await core.append(blocksFrom(0, 9))
    await feed.append(blocksFrom(0, 9))
    const ours = await headProof(feed)
    t.is(ours.manifest, null)
    t.is(ours.upgrade?.signature.byteLength, 64)
    const copy = await openFeed(t, identityFromKey(feed.key))
    t.is(copy.compat, false)
    t.ok((await copy.applyProof(ours)).upgraded)
    t.ok(copy.compat)
    const copyCore = await openCore(t, feed.key, {}, Class)
    t.ok(await applyToCore(copyCore, ours))
    t.is(hex((await copyCore.get(0, { wait: false })) as Uint8Array), hex(bytesOf(0)))
  }
})

test('hypercore 11.37.1 and 10.38.2: encrypted blocks', async (t) => {
  const encryptionKey = new Uint8Array(32).fill(5)
  for (const Class of [Hypercore, Hypercore10]) {
    for (const compat of [false, true]) {
      const options = { compat, keyPair: SINGLE, encryptionKey: Buffer.from(encryptionKey) }
      const core = await openCore(t, null, options, Class)
      await core.append(blocksFrom(0, 5))
      const encryption = new BlockEncryption({ feedKey: core.key, encryptionKey, compat })
      for (let index = 0; index < 5; index++) {
        const stored = (await core.get(index, { raw: true, decrypt: false })) as Uint8Array
        t.is(hex(encryption.decrypt(index, stored)), hex(bytesOf(index)))
        t.is(hex(encryption.encrypt(index, 0, bytesOf(index))), hex(stored))
      }
      const again = encryption.encrypt(3, 2, bytesOf(3))
      t.is(hex(encryption.decrypt(3, again)), hex(bytesOf(3)))
      t.unlike(
        hex(again),
        hex(encryption.encrypt(3, 1, bytesOf(3))),
        'each fork has its own stream'
      )
    }
  }
  const keys = { feedKey: SINGLE.publicKey, encryptionKey }
  const blockKey = new BlockEncryption({ ...keys, compat: false, isBlockKey: true })
  const core = await openCore(t, null, {
    keyPair: SINGLE,
    encryption: { key: Buffer.from(encryptionKey), block: true }
  })
  await core.append(blocksFrom(6, 7))
  const stored = (await core.get(0, { raw: true, decrypt: false })) as Uint8Array
  t.is(hex(blockKey.decrypt(0, stored)), hex(bytesOf(6)))
})

test('hypercore 11.37.1: a truncated feed is followed by both kinds', async (t) => {
  const core = await openCore(t, null, { keyPair: SINGLE })
  await core.append(blocksFrom(0, 60))
  const copy = await openFeed(t, identityFromKey(core.key))
  const manifest = createManifest({ signers: [{ publicKey: SINGLE.publicKey }] })
  await copy.applyProof({ ...(await core.proof({ upgrade: { start: 0, length: 60 } })), manifest })
  for (let index = 0; index < 60; index++) {
    const nodes = await copy.missingNodes(2 * index)
    await copy.applyProof({ ...(await core.proof({ block: { index, nodes } })), manifest: null })
  }
  await core.truncate(41)
  await core.append(blocksFrom(100, 130))
  const reorg = await copy.reorg({
    ...(await core.proof({ upgrade: { start: 0, length: core.length } })),
    manifest: null
  })
  if (reorg === null) return t.fail('the fork is higher')
  while (reorg.next !== null) await reorg.accept(await core.proof({ hash: reorg.next }))
  t.is(await reorg.commit(), 41)
  t.alike([copy.fork, copy.length, copy.byteLength], [core.fork, core.length, core.byteLength])
  for (let index = 41; index < core.length; index++) {
    const nodes = await copy.missingNodes(2 * index)
    await copy.applyProof({ ...(await core.proof({ block: { index, nodes } })), manifest: null })
  }
  t.alike(await copy.audit(), { blocks: core.length, bad: [], head: true })
  const stranger = await openCore(t, core.key)
  const truncated = await copy.proof({ upgrade: { start: 0, length: copy.length }, manifest: true })
  const batch = await stranger.core.verifyReorg(truncated)
  t.ok(await stranger.core.reorg(batch))
  t.is(stranger.length, core.length)
  return undefined
})

function applied(result: { applied: boolean }): boolean {
  return result.applied
}

function refused(): boolean {
  return false
}

async function fails(t: Assertions, code: string, result: Promise<unknown>): Promise<void> {
  const error = await result.then(
    () => null,
    (error: unknown) => error
  )
  t.is((error as { code?: string } | null)?.code, code)
}
