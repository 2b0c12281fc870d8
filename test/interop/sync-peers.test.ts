/** Several peers, and what a user can say and hear while they are connected. */
import test, { type Assertions } from 'brittle'
import {
  createKeyPair,
  createManifest,
  type FeedSession,
  type Peer,
  type SynclineError
} from '../../lib/index.ts'
import {
  blocksOf,
  connectSyncs,
  dialCores,
  DIALLING,
  faultsOf,
  filledCore,
  firstPeer,
  listenOn,
  openCore,
  openSync,
  replicatePair,
  sameFeed,
  serveCores,
  until,
  V10,
  V11,
  VERSIONS
} from './helpers.ts'

const COUNT = 300

test(`three peers each with a third, from ${V11.name} and ${V10.name} and us, TCP`, async (t) => {
  const source = await filledCore(t, V11, COUNT, { compat: true })
  const thirds = [0, 1, 2].map((third) => [third * 100, third * 100 + 100] as const)
  const [one, two] = [await openCore(t, V11, source.key), await openCore(t, V10, source.key)]
  replicatePair(t, source, one)
  replicatePair(t, source, two)
  await one.download({ start: 0, end: 100 }).done()
  await two.download({ start: 100, end: 200 }).done()
  const third = openSync(t)
  const part = third.add(source.key, { ranges: [[200, 300]] })
  await DIALLING.connect(t, third, source)
  await part.synced()
  await source.close()
  t.is(part.contiguousLength === 0 && (await part.has(200, 300)), true)

  const sync = openSync(t)
  const faults = faultsOf(sync)
  const feed = sync.add(source.key)
  const from = new Map<Peer | null, number[]>()
  feed.on('download', (index, _bytes, peer) => {
    from.set(peer, [...(from.get(peer) ?? []), index])
  })
  await DIALLING.connect(t, sync, one)
  await DIALLING.connect(t, sync, two)
  await connectSyncs(sync, third)
  await until(() => feed.contiguousLength === COUNT)
  t.is((await feed.audit()).bad.length, 0)
  const spans = [...from.values()].map((list) => [Math.min(...list), Math.max(...list) + 1])
  t.alike(
    spans.sort((a, b) => (a[0] as number) - (b[0] as number)),
    thirds
  )
  t.alike(faults, [])
})

test(`${V11.name} gets thirds from three of ours, TCP`, async (t) => {
  const source = openSync(t)
  const feed = await source.create('feed')
  await feed.append(blocksOf(0, COUNT))
  const port = await listenOn(source)
  const core = await openCore(t, V11, feed.key)
  for (let third = 0; third < 3; third++) {
    const sync = openSync(t)
    const part = sync.add(feed.key, { ranges: [[third * 100, third * 100 + 100]] })
    await sync.connect('127.0.0.1', port)
    await until(() => part.has(third * 100, third * 100 + 100))
    sync.disconnect('127.0.0.1', port)
    for (const peer of sync.peers) peer.close()
    dialCores(t, await listenOn(sync), core)
  }
  await source.close()
  await core.download({ start: 0, end: COUNT }).done()
  t.is(core.contiguousLength, COUNT)
})

for (const version of VERSIONS) {
  const { name } = version

  test(`we know when two peers of ${name} hold everything, TCP`, async (t) => {
    const sync = openSync(t)
    const feed = await sync.create('feed', { compat: version.major === 10 })
    await feed.append(blocksOf(0, COUNT))
    const port = await listenOn(sync)
    const cores = [await openCore(t, version, feed.key), await openCore(t, version, feed.key)]
    for (const core of cores) dialCores(t, port, core)
    await t.exception(feed.synced({ peers: 1, timeoutMs: 50 }), /TIMEOUT/)
    for (const core of cores) core.download({ start: 0, end: -1 })
    await feed.synced({ peers: 2 })
    for (const core of cores) t.is(core.contiguousLength, COUNT)
    t.is(feed.progress().peers.filter((peer) => peer.hasAll).length, 2)
    await t.exception(feed.synced({ peers: 3, timeoutMs: 50 }), /TIMEOUT/)
  })

  test(`directions change while ${name} is connected, TCP`, async (t) => {
    const core = await filledCore(t, version, COUNT)
    const sync = openSync(t)
    const feed = sync.add(core.key, { direction: 'none' })
    await DIALLING.connect(t, sync, core)
    const peer = await firstPeer(feed)
    t.is(feed.contiguousLength, 0)
    await feed.setDirection('download')
    await feed.synced()
    await sameFeed(t, feed, core)

    const copy = await openCore(t, version, core.key)
    dialCores(t, await listenOn(sync), copy)
    const getting = copy.get(5)
    await until(() => feed.peers.length === 2)
    t.is(
      feed.progress().peers.every(({ uploadedBlocks }) => uploadedBlocks === 0),
      true
    )
    peer.setDirection('none')
    await core.append('more')
    await feed.setDirection('both')
    t.alike(Buffer.from((await getting) ?? []), blocksOf(5, 6)[0])
    t.is(feed.length, COUNT, 'nothing comes from the peer that is stopped')
    peer.setDirection('both')
    await until(() => feed.contiguousLength === COUNT + 1)
  })

  test(`limited rates and priorities still bring all feeds from ${name}, TCP`, async (t) => {
    const limit = 160_000
    const blocks = Array.from({ length: 40 }, (_, i) => Buffer.alloc(4096, i))
    const cores = [
      await openCore(t, version),
      await openCore(t, version),
      await openCore(t, version)
    ]
    for (const core of cores) await core.append(blocks)
    const sync = openSync(t, { limits: { upload: 0, download: limit } })
    const feeds = cores.map((core, i) => sync.add(core.key, { mode: 'pull', priority: i }))
    await feeds[0]?.setPriority(9)
    const began = performance.now()
    await DIALLING.connect(t, sync, ...cores)
    await feeds[0]?.synced()
    await feeds[2]?.setPriority(99)
    await Promise.all(feeds.map((feed) => feed.synced()))
    const seconds = (performance.now() - began) / 1000
    t.ok((3 * 40 * 4096) / seconds < 4 * limit, 'not much faster than allowed')
    for (const [i, core] of cores.entries()) await sameFeed(t, feeds[i] as FeedSession, core)
  })

  test(`a lost connection to ${name} is dialled again and the feed completed, TCP`, async (t) => {
    const core = await filledCore(t, version, COUNT)
    const port = await serveCores(t, core)
    const sync = openSync(t)
    const events: string[] = []
    sync.on('peer-connect', () => events.push('connect'))
    sync.on('peer-disconnect', () => events.push('disconnect'))
    const feed = sync.add(core.key)
    await sync.connect('127.0.0.1', port)
    await feed.get(0)
    sync.peers[0]?.close()
    await core.append(blocksOf(COUNT, COUNT + 50))
    await until(() => feed.contiguousLength === COUNT + 50)
    t.alike(events, ['connect', 'disconnect', 'connect'])
  })

  test(`pull, follow and serve mean what they say towards ${name}, TCP`, async (t) => {
    const core = await filledCore(t, version, 50)
    const port = await serveCores(t, core)
    const [pulling, following] = [openSync(t), openSync(t)]
    const pulled = pulling.add(core.key, { mode: 'pull' })
    const followed = following.add(core.key, { mode: 'follow' })
    await pulling.connect('127.0.0.1', port)
    await following.connect('127.0.0.1', port)
    await pulled.synced()
    await followed.synced()
    await core.append(blocksOf(50, 60))
    await until(() => followed.contiguousLength === 60)
    t.is(pulled.length, 50)
    await pulled.setMode('serve')
    const copy = await openCore(t, version, core.key)
    dialCores(t, await listenOn(pulling), copy)
    t.alike(Buffer.from((await copy.get(49)) ?? []), blocksOf(49, 50)[0])
    const deaf = await openCore(t, version, core.key)
    dialCores(t, await listenOn(following), deaf)
    await until(() => followed.peers.length === 2)
    await t.exception(deaf.get(3, { timeout: 200 }), /REQUEST_TIMEOUT|timed out/i)
  })

  test(`two signed histories of ${name} freeze our feed, TCP`, async (t) => {
    const keyPair = createKeyPair()
    const manifest = createManifest({ signers: [keyPair] })
    const options = { keyPair, manifest, compat: false }
    const [one, two] = [
      await openCore(t, version, null, options),
      await openCore(t, version, null, options)
    ]
    await one.append(blocksOf(0, 20))
    await two.append(blocksOf(10, 40))
    const sync = openSync(t)
    const feed = sync.add(one.key)
    const conflicts: SynclineError[] = []
    feed.on('conflict', (error) => conflicts.push(error))
    await DIALLING.connect(t, sync, one)
    await feed.synced()
    hushHypercore(t)
    await DIALLING.connect(t, sync, two)
    await until(() => conflicts.length > 0)
    t.is(conflicts[0]?.code, 'CONFLICT')
    t.is(feed.frozen, true)
    t.is(feed.length, 20)
    await t.exception(feed.get(30, { timeoutMs: 50 }), /TIMEOUT|FROZEN|CONFLICT/)
  })
}

/** Hypercore prints a line for each conflict. */
function hushHypercore(t: Assertions): void {
  const { log } = console
  console.log = (...words: unknown[]) => {
    if (!String(words[0]).startsWith('[hypercore]')) log(...words)
  }
  t.teardown(() => (console.log = log))
}
