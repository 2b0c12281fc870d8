/** Kinds of feeds and of blocks, between a synchronizer and real hypercores, each way. */
import { randomBytes } from 'node:crypto'
import test, { type Assertions } from 'brittle'
import { createKeyPair, createManifest, type FeedSession, type Manifest } from '../../lib/index.ts'
import {
  blocksOf,
  dialCores,
  DIALLING,
  faultsOf,
  filledCore,
  listenOn,
  openCore,
  openSync,
  sameFeed,
  until,
  V11,
  VERSIONS,
  type Core,
  type Version
} from './helpers.ts'

const COUNT = 70

for (const version of VERSIONS) {
  const { name } = version

  for (const [kind, options] of [
    ['compat', { compat: true }],
    ['with a manifest of version 0', manifestOf(0)],
    ['with a manifest of version 1', manifestOf(1)]
  ] as const) {
    test(`a feed ${kind}, from ${name} to us and from us to another, TCP`, async (t) => {
      const core = await filledCore(t, version, COUNT, options)
      await bothWays(t, version, core)
    })
  }

  for (const [kind, options] of [
    ['compat', { compat: true }],
    ['with a manifest of version 0', manifestOf(0)],
    ['with a manifest of version 0 and two signers', manifestOf(0, 2)],
    ['with a manifest of version 1', manifestOf(1)],
    ['with a manifest of version 1 and two signers', manifestOf(1, 2)]
  ] as const) {
    test(`a feed of ours ${kind} to ${name}, and from there to another of ours, TCP`, async (t) => {
      const sync = openSync(t)
      const feed = await sync.create('feed', options)
      await feed.append(blocksOf(0, COUNT))
      const core = await openCore(t, version, feed.key)
      dialCores(t, await listenOn(sync), core)
      await core.download({ start: 0, end: COUNT }).done()
      await sameFeed(t, feed, core)
      const other = openSync(t)
      const copy = other.add(feed.key)
      await DIALLING.connect(t, other, core)
      await copy.synced()
      await sameFeed(t, copy, core)
    })
  }

  test(`a static feed with a prologue, from ${name} to us and from us to another, TCP`, async (t) => {
    const source = await filledCore(t, version, COUNT)
    const prologue = { hash: await source.treeHash(), length: COUNT }
    const manifest = createManifest({ signers: [], quorum: 0, prologue })
    const core = await openCore(t, version, null, { manifest, compat: false })
    const copying = core as unknown as {
      core: { copyPrologue(from: unknown, options?: object): Promise<void> }
    }
    const from = source as unknown as { core: unknown; state: unknown }
    await copying.core.copyPrologue(version.major === 11 ? from.state : from.core)
    t.is(core.length, COUNT)
    await bothWays(t, version, core)
  })

  test(`encrypted blocks of ${name} pass through raw, and are read with the key, TCP`, async (t) => {
    const encryptionKey = randomBytes(32)
    const core = await filledCore(t, version, COUNT, { encryptionKey })
    const [raw, read] = [openSync(t), openSync(t)]
    const passing = raw.add(core.key)
    await DIALLING.connect(t, raw, core)
    await passing.synced()
    await sameFeed(t, passing, core)
    t.unlike(Buffer.from(await passing.get(41)), blocksOf(41, 42)[0])
    const feed = read.add(core.key, { encryptionKey })
    await read.connect('127.0.0.1', await listenOn(raw))
    await feed.synced()
    for (const index of [0, 41, COUNT - 1]) {
      t.alike(Buffer.from(await feed.get(index)), blocksOf(index, index + 1)[0])
    }
    t.is(feed.byteLength, core.byteLength)
    const bytes = blocksOf(0, 33).reduce((sum, block) => sum + block.byteLength, 0)
    t.alike(await feed.seek(bytes + 2), [33, 2])
  })

  test(`our encrypted blocks are read by ${name} with the key, TCP`, async (t) => {
    const encryptionKey = randomBytes(32)
    const sync = openSync(t)
    const compat = version.major === 10
    const feed = await sync.create('feed', { encryptionKey, compat })
    await feed.append(blocksOf(0, COUNT))
    const core = await openCore(t, version, feed.key, { encryptionKey })
    dialCores(t, await listenOn(sync), core)
    for (const index of [41, 0, COUNT - 1]) {
      t.alike(Buffer.from((await core.get(index)) ?? []), blocksOf(index, index + 1)[0])
    }
    const bytes = blocksOf(0, 33).reduce((sum, block) => sum + block.byteLength, 0)
    t.alike(await core.seek(bytes + 2), [33, 2])
  })

  test(`blocks of 0 B, 1 B and 8 MB, from ${name} to us and from us to another, TCP`, async (t) => {
    const core = await openCore(t, version)
    const large = randomBytes(8 * 1024 * 1024)
    await core.append([Buffer.alloc(0), Buffer.from('x'), large, Buffer.alloc(0), large, 'end'])
    await bothWays(t, version, core)
  })

  test(`a feed that ends with an empty block, from ${name} to us, TCP`, async (t) => {
    const core = await openCore(t, version)
    await core.append([Buffer.alloc(0)])
    await bothWays(t, version, core)
  })

  test(`extension messages to and from ${name}, TCP`, async (t) => {
    const core = await filledCore(t, version, 3)
    const theirs: string[] = []
    const theirGreeting = core.registerExtension('greeting', {
      onmessage: (message: Uint8Array) => theirs.push(String(Buffer.from(message)))
    })
    const sync = openSync(t)
    const feed = sync.add(core.key)
    const ours: string[] = []
    const greeting = feed.registerExtension('greeting', {
      onmessage: (message, peer) => {
        ours.push(String(Buffer.from(message)))
        t.is(peer, feed.peers[0])
      }
    })
    const other = feed.registerExtension('unheard')
    await DIALLING.connect(t, sync, core)
    await feed.synced()
    await until(() => feed.peers.length === 1 && core.peers.length === 1)
    t.is(other.broadcast(Buffer.from('nobody')), 1)
    t.is(greeting.broadcast(Buffer.from('one')), 1)
    t.is(greeting.send(Buffer.from('two'), feed.peers[0] as never), true)
    theirGreeting.broadcast(Buffer.from('three'))
    theirGreeting.send(Buffer.from('four'), core.peers[0] as never)
    await until(() => theirs.length === 2 && ours.length === 2)
    t.alike(theirs, ['one', 'two'])
    t.alike(ours, ['three', 'four'])
    greeting.destroy()
    const json = core.registerExtension('json', {
      encoding: 'json',
      onmessage: (message: object) => json.broadcast({ answer: message })
    })
    const answers: unknown[] = []
    const extension = feed.registerExtension('json', {
      encoding: 'json',
      onmessage: (message) => answers.push(message)
    })
    await feed.feed()
    extension.broadcast({ one: 1 })
    await until(() => answers.length === 1)
    t.alike(answers, [{ answer: { one: 1 } }])
  })
}

test(`a manifest of version 2 with linked feeds and user data, to and from ${V11.name}, TCP`, async (t) => {
  const linked = [randomBytes(32)]
  const keyPair = createKeyPair()
  const manifest = createManifest({
    signers: [{ publicKey: keyPair.publicKey }],
    linked,
    userData: Buffer.from('data')
  })
  t.is(manifest.version, 2)
  const core = await filledCore(t, V11, COUNT, { manifest, keyPair })
  const feed = await bothWays(t, V11, core)
  t.alike(
    feed.manifest?.linked?.map((key) => Buffer.from(key)),
    linked
  )
  const sync = openSync(t)
  const ours = await sync.create('feed', { manifest, keyPair })
  t.alike(Buffer.from(ours.key), Buffer.from(core.key), 'the same key')
})

/** What both generations and we make a feed from. */
function manifestOf(
  version: 0 | 1,
  signers: 1 | 2 = 1
): {
  readonly manifest: Manifest
  readonly keyPair: ReturnType<typeof createKeyPair>
  readonly compat: false
} {
  const keyPair = createKeyPair()
  const keys = [keyPair.publicKey, createKeyPair().publicKey].slice(0, signers)
  const manifest = createManifest({
    version,
    quorum: 1,
    signers: keys.map((publicKey) => ({ publicKey }))
  })
  return { manifest, keyPair, compat: false }
}

/** From a hypercore to us, and from our copy to another hypercore. */
async function bothWays(t: Assertions, version: Version, core: Core): Promise<FeedSession> {
  const sync = openSync(t)
  const faults = faultsOf(sync)
  const feed = sync.add(core.key)
  await DIALLING.connect(t, sync, core)
  await feed.synced()
  await sameFeed(t, feed, core)
  t.is((await feed.audit()).bad.length, 0)
  const copy = await openCore(t, version, core.key)
  dialCores(t, await listenOn(sync), copy)
  await copy.download({ start: 0, end: core.length }).done()
  await sameFeed(t, feed, copy)
  t.alike(faults, [])
  return feed
}
