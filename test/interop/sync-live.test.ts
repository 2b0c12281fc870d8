/** The user's own: live hypercores, and connections on which other things run. */
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import test, { type Assertions } from 'brittle'
import type { FeedSession, Peer, SynclineError } from '../../lib/index.ts'
import type { HypercoreLike } from '../../lib/feed/hypercore/hypercore-like.ts'
import { duplexPair } from '../../lib/transport/memory.ts'
import {
  blockBytes,
  blocksOf,
  connectSyncs,
  DIALLED,
  DIALLING,
  faultsOf,
  filledCore,
  openCoreIn,
  openCore,
  openSync,
  replicatePair,
  sameFeed,
  until,
  V11,
  VERSIONS,
  type CoreStream
} from './helpers.ts'
import { securePair } from '../fixtures/secure-pair.ts'

interface Mux {
  createChannel(options: object): {
    readonly messages: readonly { send(message: unknown): void }[]
    open(): void
  }
}

const require = createRequire(import.meta.url)
const Protomux = require('protomux') as { from(stream: unknown): Mux }
const c = require('compact-encoding') as { readonly string: object }
const COUNT = 200

test(`get and download that wait in a live ${V11.name} wake, TCP from us`, async (t) => {
  const source = openSync(t)
  const feed = await source.create('feed')
  await feed.append(blocksOf(0, COUNT))
  const core = await openCore(t, V11, feed.key)
  const getting = core.get(7)
  const downloading = core.download({ start: 50, end: 100 }).done()
  const sync = openSync(t)
  const live = sync.add(core as unknown as HypercoreLike, { ranges: [[0, 100]] })
  await connectSyncs(sync, source)
  t.alike(Buffer.from((await getting) ?? []), blockBytes(7))
  await downloading
  t.is(await core.has(50, 100), true)
  await live.synced()
  t.is(await core.has(100), false, 'no more than was asked for')
  t.alike(Buffer.from((await live.get(150)) as Uint8Array), blockBytes(150))
  t.is(await core.has(150), true)
  await feed.append('late')
  await until(() => core.length === COUNT + 1)
})

for (const keyOf of ['none', 'its own', 'another'] as const) {
  test(`a live ${V11.name} that encrypts, key given: ${keyOf}`, async (t) => {
    const encryptionKey = randomBytes(32)
    const core = await filledCore(t, V11, 20, { encryptionKey })
    const key = keyOf === 'another' ? randomBytes(32) : encryptionKey
    const options = keyOf === 'none' ? {} : { encryptionKey: key }
    const live = openSync(t).add(core as unknown as HypercoreLike, options)
    await Promise.all([live.append([blockBytes(20), blockBytes(21)]), core.append(blockBytes(22))])
    const { length, byteLength } = await live.append(blockBytes(23))
    t.is(length, 24)
    t.is(byteLength, core.byteLength)
    const [theirs, ours]: [string[], string[]] = [[], []]
    for (let index = 0; index < 24; index++) {
      theirs.push(String(Buffer.from((await core.get(index)) ?? [])))
      ours.push(String(Buffer.from((await live.get(index)) as Uint8Array)))
    }
    t.alike(theirs.toSorted(), blocksOf(0, 24).map(String).toSorted(), 'read by the core')
    t.alike(ours, theirs, 'and by us')
    const run = (await live.getRun(20, 24)) ?? []
    t.ok(run.length > 0)
    t.alike(
      run.map((block) => String(Buffer.from(block))),
      theirs.slice(20, 20 + run.length)
    )
    t.is(live.byteLength, core.byteLength)
    t.alike(await live.seek(9), await core.seek(9))
    const raw = Buffer.from((await live.get(3, { raw: true })) as Uint8Array)
    t.is(raw.byteLength, 8 + blockBytes(3).byteLength)
    t.absent(raw.includes(blockBytes(3)))
  })
}

test(`a live ${V11.name} that encrypts only after it was added`, async (t) => {
  const core = await openCore(t, V11)
  const live = openSync(t).add(core as unknown as HypercoreLike)
  await live.ready()
  const encrypting = core as unknown as { setEncryptionKey(key: Uint8Array): Promise<void> }
  await encrypting.setEncryptionKey(randomBytes(32))
  await live.append('secret')
  t.is(String(Buffer.from((await core.get(0)) ?? [])), 'secret')
  t.is(String(Buffer.from((await live.get(0)) as Uint8Array)), 'secret')
})

for (const version of VERSIONS) {
  const { name } = version

  test(`a live ${V11.name} gets everything from ${name} through us, TCP`, async (t) => {
    const source = await filledCore(t, version, COUNT)
    const core = await openCore(t, V11, source.key)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const live = sync.add(core as unknown as HypercoreLike)
    const downloading = core.download({ start: 0, end: COUNT }).done()
    await DIALLING.connect(t, sync, source)
    await downloading
    await live.synced()
    await sameFeed(t, live, source)
    await source.truncate(150)
    await source.append(['a', 'b'])
    await until(() => core.fork === 1 && core.contiguousLength === 152)
    await sameFeed(t, live, source)
    t.alike(faults, [])
  })

  test(`what a live ${V11.name} appends reaches ${name} and us, TCP`, async (t) => {
    const core = await filledCore(t, V11, 20, { compat: true })
    const sync = openSync(t)
    const live = sync.add(core as unknown as HypercoreLike)
    const theirs = await openCore(t, version, core.key)
    await DIALLED.connect(t, sync, theirs)
    const other = openSync(t)
    const ours = other.add(core.key)
    await connectSyncs(other, sync)
    theirs.download({ start: 0, end: -1 })
    for (let length = 20; length < 60; length += 10) {
      await core.append(blocksOf(length, length + 10))
      await until(() => theirs.contiguousLength === length + 10)
      await until(() => ours.contiguousLength === length + 10)
    }
    await sameFeed(t, ours, core)
    await live.synced({ peers: 2 })
    await live.close()
    await core.append("it is still the user's")
    t.is(core.length, 61)
  })
}

test(`a live ${V11.name} replicates by itself beside us`, async (t) => {
  const source = await filledCore(t, V11, COUNT)
  const other = await openCore(t, V11, source.key)
  const core = await openCore(t, V11, source.key)
  const sync = openSync(t)
  sync.add(core as unknown as HypercoreLike)
  replicatePair(t, core, other)
  await DIALLING.connect(t, sync, source)
  await other.download({ start: 0, end: COUNT }).done()
  t.is(other.contiguousLength, COUNT, 'through the core, from what came through us')
  await until(() => core.contiguousLength === COUNT)
  await source.append('more')
  await until(() => other.length === COUNT + 1)
  t.alike(String(await other.get(COUNT)), 'more')
})

test(`a live ${V11.name} that its user closes can be opened and added again`, async (t) => {
  const source = openSync(t)
  const feed = await source.create('feed')
  await feed.append(blocksOf(0, COUNT))
  const folder = await t.tmp()
  const core = await openCoreIn(t, V11, folder, feed.key)
  const sync = openSync(t)
  const faults = faultsOf(sync)
  const live = sync.add(core as unknown as HypercoreLike, { ranges: [[0, 100]] })
  await connectSyncs(sync, source)
  await live.synced()
  await core.close()
  await until(() => live.closed)
  t.alike(sync.feeds, [])
  const again = await openCoreIn(t, V11, folder, feed.key)
  const added = sync.add(again as unknown as HypercoreLike)
  await feed.append('more')
  await until(() => again.contiguousLength === COUNT + 1)
  await sameFeed(t, added, again)
  t.alike(faults, [])
})

test(`a live ${V11.name} that its user closes while it is added is not added`, async (t) => {
  for (let turns = 0; turns < 12; turns++) {
    const core = await filledCore(t, V11, 3)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const live = sync.add(core as unknown as HypercoreLike)
    const ready = live.ready().then(
      () => 'ready',
      (error: SynclineError) => error.code
    )
    for (let i = 0; i < turns; i++) await Promise.resolve()
    await core.close()
    if ((await ready) === 'ready') await until(() => live.closed)
    else t.is(await ready, 'SESSION_CLOSED')
    await until(() => sync.feeds.length === 0)
    t.alike(faults, [])
  }
})

test(`a live ${V11.name} that allows no fork is left as it is, and waits for nobody`, async (t) => {
  const source = await filledCore(t, V11, 20)
  const core = await openCore(t, V11, source.key, { allowFork: false })
  const sync = openSync(t)
  const faults = faultsOf(sync)
  const live = sync.add(core as unknown as HypercoreLike)
  await DIALLING.connect(t, sync, source)
  await live.synced()
  await source.truncate(10)
  await source.append(['x', 'y'])
  await until(() => live.progress().peers[0]?.fork === 1)
  t.is(await live.update(), false)
  await live.synced()
  t.is(core.length, 20)
  t.is(core.fork, 0)
  t.alike(Buffer.from((await live.get(15)) as Uint8Array), blockBytes(15))
  t.alike(faults, [])
})

test(`a remote that asks a live ${V11.name} which is being closed is no failure of the feed`, async (t) => {
  const core = await filledCore(t, V11, COUNT)
  const [sync, reader] = [openSync(t), openSync(t)]
  const faults = [sync, reader].map(faultsOf)
  const live = sync.add(core as unknown as HypercoreLike)
  const copy = reader.add(core.key, { ranges: [] })
  await connectSyncs(reader, sync)
  await copy.get(0)
  // As it is between the call of close and its end.
  const closable = core as unknown as { closing: Promise<void> | null }
  closable.closing = Promise.resolve()
  await copy.want([0, COUNT])
  await until(() => live.closed)
  closable.closing = null
  t.alike(faults, [[], []])
  t.alike(sync.feeds, [])
})

test('a raw duplex can be attached, and is ours then', async (t) => {
  const core = await filledCore(t, V11, COUNT)
  const [one, other] = duplexPair()
  const stream = core.replicate(false)
  stream.on('error', () => {})
  t.teardown(() => stream.destroy())
  const raw = other as unknown as { pipe(target: unknown): { pipe(target: unknown): unknown } }
  raw.pipe(stream).pipe(raw)
  const sync = openSync(t)
  const feed = sync.add(core.key)
  const peer = await sync.attach(one, { isInitiator: true })
  await feed.synced()
  await sameFeed(t, feed, core)
  await t.exception(sync.attach(duplexPair()[0]), /BAD_ARGUMENT/)
  await sync.close()
  t.is(peer.closed, true)
  await until(() => stream.destroyed)
})

test("a connection on which other protocols run can be attached, and stays the user's", async (t) => {
  const core = await filledCore(t, V11, COUNT)
  const [one, other] = corePair(t)
  const heard: string[] = []
  const chats = [one, other].map((stream) => {
    const channel = Protomux.from(stream).createChannel({
      protocol: 'chat',
      messages: [{ encoding: c.string, onmessage: (message: string) => heard.push(message) }]
    })
    channel.open()
    return channel
  })
  for (const stream of [one, other]) stream.userData = Protomux.from(stream)
  core.replicate(other)
  const sync = openSync(t)
  const feed = sync.add(core.key)
  await sync.attach(one)
  await feed.synced()
  await sameFeed(t, feed, core)
  chats[1]?.messages[0]?.send('during')
  await until(() => heard.length === 1)
  await sync.close()
  t.is(one.destroying, false)
  chats[0]?.messages[0]?.send('after')
  await until(() => heard.length === 2)
  t.alike(heard, ['during', 'after'])
})

const HANDLERS: Record<string, (fail: () => never) => object> = {
  'a message': (fail) => ({ messages: [{ encoding: c.string, onmessage: fail }] }),
  'a message, later': (fail) => ({
    messages: [{ encoding: c.string, onmessage: async () => fail() }]
  }),
  'an open': (fail) => ({ messages: [{ encoding: c.string }], onopen: fail })
}
for (const [what, handlers] of Object.entries(HANDLERS)) {
  test(`another protocol that fails at ${what} ends the connection, and is no fault of the peer`, async (t) => {
    const [one, other] = corePair(t)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    await sync.attach(one)
    const errors: unknown[] = []
    one.on('error', (error: unknown) => errors.push(error))
    const mine = new Error('mine')
    const fail = (): never => {
      throw mine
    }
    Protomux.from(one)
      .createChannel({ protocol: 'chat', ...handlers(fail) })
      .open()
    const chat = Protomux.from(other).createChannel({
      protocol: 'chat',
      messages: [{ encoding: c.string }]
    })
    chat.open()
    chat.messages[0]?.send('hello')
    await until(() => one.destroyed)
    t.ok(errors.length > 0 && errors.every((error) => error === mine))
    await until(() => sync.peers.length === 0)
    t.alike(faults, [])
  })
}

for (const mode of ['both', 'serve'] as const) {
  test(`a feed of mode ${mode} is given to who wants it later on a connection of the user's`, async (t) => {
    const [one, other] = corePair(t)
    // Something of theirs was there first.
    for (const stream of [one, other]) stream.userData = Protomux.from(stream)
    const holder = openSync(t)
    const feed = await holder.create('feed', { mode })
    await feed.append(blocksOf(0, COUNT))
    await holder.attach(one)
    const reader = openSync(t)
    await reader.attach(other)
    // The holder's open was refused by now.
    await new Promise((resolve) => setTimeout(resolve, 100))
    const first = reader.add(feed.key, { mode: 'pull' })
    t.alike(Buffer.from((await first.get(7, { timeoutMs: 5000 })) as Uint8Array), blockBytes(7))
    await first.close()
    await new Promise((resolve) => setTimeout(resolve, 100))
    const again = reader.add(feed.key, { mode: 'pull' })
    t.alike(Buffer.from((await again.get(150, { timeoutMs: 5000 })) as Uint8Array), blockBytes(150))
    await feed.close()
    await again.close()
    // Who let the feed go leaves it to whoever answers for it now.
    const core = await filledCore(t, V11, COUNT)
    core.replicate(one)
    const copy = reader.add(core.key)
    await copy.synced({ timeoutMs: 5000 })
    t.is(copy.length, COUNT)
  })
}

test('hypercores that replicate on an attached connection already are left alone', async (t) => {
  const [theirs, ours] = [await filledCore(t, V11, COUNT), await filledCore(t, V11, COUNT)]
  const [one, other] = corePair(t)
  const copy = await openCore(t, V11, theirs.key)
  theirs.replicate(other)
  ours.replicate(other)
  copy.replicate(one)
  const sync = openSync(t)
  const occupied: [FeedSession, Peer][] = []
  sync.on('occupied', (feed, peer) => occupied.push([feed, peer]))
  const [taken, free] = [sync.add(theirs.key), sync.add(ours.key)]
  await taken.ready()
  const peer = await sync.attach(one)
  await free.synced()
  await sameFeed(t, free, ours)
  t.alike(occupied, [[taken, peer]])
  t.is(taken.length, 0)
  t.alike(Buffer.from((await copy.get(9)) ?? []), blockBytes(9))
  await sync.close()
  t.alike(Buffer.from((await copy.get(10)) ?? []), blockBytes(10), 'also after we are gone')
})

/** Two ends of an encrypted connection of the user's, as hypercore takes and gives them. */
function corePair(t: Assertions): [CoreStream, CoreStream] {
  return securePair(t) as unknown as [CoreStream, CoreStream]
}
