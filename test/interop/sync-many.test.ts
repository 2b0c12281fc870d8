/** Many feeds on one connection, also beside one that breaks it. */
import { createRequire } from 'node:module'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import test, { type Assertions } from 'brittle'
import { keyOf } from '../../lib/feed/manifest.ts'
import { createKeyPair, createManifest } from '../../lib/index.ts'
import {
  blocksOf,
  CoreStorage,
  DIALLING,
  faultsOf,
  filledCore,
  openCore,
  openSync,
  sameFeed,
  serveCores,
  until,
  V10,
  V11,
  type Core,
  type CoreStream
} from './helpers.ts'

const Hypercore = createRequire(import.meta.url)('hypercore') as {
  createProtocolStream(
    isInitiator: boolean,
    options: { ondiscoverykey: (discoveryKey: Uint8Array) => void }
  ): CoreStream
}

/** Much of it is the work of hypercore, on whatever machine. */
const TIMEOUT_MS = 120_000

test(
  `1,000 feeds from ${V11.name} to us, one TCP connection`,
  { timeout: TIMEOUT_MS },
  async (t) => {
    const cores = await storedCores(t, 1000)
    for (const core of cores) await core.append(['one', 'two'])
    const port = await serveStored(t, cores)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const feeds = cores.map((core) => sync.add(core.key, { mode: 'pull' }))
    await sync.connect('127.0.0.1', port)
    await Promise.all(feeds.map((feed) => feed.synced()))
    t.is(feeds.filter((feed) => feed.contiguousLength === 2).length, 1000)
    t.is(sync.peers.length, 1)
    t.alike(faults, [])
  }
)

test(`400 feeds from us to ${V11.name}, one TCP connection`, { timeout: TIMEOUT_MS }, async (t) => {
  const sync = openSync(t)
  const feeds = await Promise.all(Array.from({ length: 400 }, (_, i) => sync.create(`feed ${i}`)))
  for (const feed of feeds) await feed.append(['one'])
  const cores = await storedCores(
    t,
    400,
    feeds.map(({ key }) => key)
  )
  await DIALLING.connect(t, sync, ...cores)
  await Promise.all(cores.map((core) => core.download({ start: 0, end: 1 }).done()))
  t.is(cores.filter((core) => core.contiguousLength === 1).length, 400)
  t.is(sync.peers.length, 1)
})

test(`100 feeds from ${V10.name} to us, one TCP connection`, async (t) => {
  const cores: Core[] = []
  for (let i = 0; i < 100; i++) cores.push(await filledCore(t, V10, 10))
  const sync = openSync(t)
  const feeds = cores.map((core) => sync.add(core.key, { mode: 'pull' }))
  await DIALLING.connect(t, sync, ...cores)
  await Promise.all(feeds.map((feed) => feed.synced()))
  t.is(feeds.filter((feed) => feed.contiguousLength === 10).length, 100)
})

test(
  `a ${V11.name} seed that cleared blocks, beside 100 healthy feeds, TCP`,
  { timeout: TIMEOUT_MS },
  async (t) => {
    const source = await filledCore(t, V11, 1000)
    const seed = await openCore(t, V11, source.key)
    const streams = [source.replicate(true), seed.replicate(false)] as const
    streams[0].pipe(streams[1]).pipe(streams[0])
    await seed.download({ start: 0, end: 1000 }).done()
    for (const stream of streams) stream.destroy()
    // Clearing a block with a whole subtree to its left takes nodes away that the blocks there need.
    for (const index of [1, 7, 63, 127, 300, 301]) await seed.clear(index)
    const healthy = await storedCores(t, 100)
    for (const core of healthy) await core.append(blocksOf(0, 20))

    const sync = openSync(t)
    const faults = faultsOf(sync)
    const ends: number[] = []
    sync.on('peer-disconnect', () => ends.push(performance.now()))
    const cleared = sync.add(source.key)
    const feeds = healthy.map((core) => sync.add(core.key))
    const port = await serveStored(t, [seed, ...healthy])
    await sync.connect('127.0.0.1', port)
    await Promise.all(feeds.map((feed) => feed.synced()))
    t.is(feeds.filter((feed) => feed.contiguousLength === 20).length, 100)
    await until(() => cleared.length === 1000)
    await until(async () => await cleared.has(512, 1000))
    const { length } = ends
    t.comment(`${length} connections were broken`)
    await new Promise((resolve) => setTimeout(resolve, 2500))
    t.is(ends.length, length, 'and no more are')
    t.is(sync.peers.length, 1)
    t.alike(faults, [], 'nobody is blamed')
    t.comment(`${cleared.progress().heldBlocks} of 994 blocks came`)

    await sync.connect('127.0.0.1', await serveCores(t, source))
    await until(() => cleared.contiguousLength === 1000)
    await sameFeed(t, cleared, source)
  }
)

/** Hypercores of one storage, as Corestore has them. */
async function storedCores(
  t: Assertions,
  count: number,
  keys: readonly Uint8Array[] = []
): Promise<Core[]> {
  const storage = new CoreStorage(await t.tmp())
  const cores: Core[] = []
  t.teardown(() => storage.close(), { order: 3 })
  for (let i = 0; i < count; i++) {
    const keyPair = createKeyPair()
    const manifest = createManifest({ signers: [keyPair] })
    const key = keys[i]
    const core =
      key === undefined
        ? new V11.Core(storage, keyOf(manifest), { keyPair, manifest })
        : new V11.Core(storage, key)
    await core.ready()
    // The storage is closed once, not by the first of them.
    ;(core as unknown as { core: { autoClose: boolean } }).core.autoClose = false
    cores.push(core)
  }
  t.teardown(() => Promise.all(cores.map((core) => core.close())), { order: 2 })
  return cores
}

/** Serves hypercores over TCP, each once it is asked for, as Corestore does. */
async function serveStored(t: Assertions, cores: readonly Core[]): Promise<number> {
  const byKey = new Map(cores.map((core) => [hex(core.discoveryKey), core]))
  const server = createServer((socket: Socket) => {
    const stream: CoreStream = Hypercore.createProtocolStream(false, {
      ondiscoverykey: (discoveryKey) => void byKey.get(hex(discoveryKey))?.replicate(stream)
    })
    stream.on('error', () => {})
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    stream.pipe(socket).pipe(stream)
  })
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
