import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createRequire } from 'node:module'
import test, { type Assertions } from 'brittle'
import { discoveryKeyOf } from '../../lib/feed/namespace.ts'
import { attach } from '../../lib/transport/attach.ts'
import { TcpTransport } from '../../lib/transport/tcp.ts'
import type { FramedStream, TransportConnection } from '../../lib/transport/transport.ts'
import type { Message, Request, Sync } from '../../lib/wire/message.ts'
import { Recorder } from '../fixtures/connection.ts'

interface Core {
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  readonly length: number
  readonly peers: readonly { readonly remoteLength: number }[]
  ready(): Promise<void>
  append(blocks: Uint8Array[]): Promise<unknown>
  get(index: number, options?: object): Promise<Uint8Array | null>
  update(options?: object): Promise<boolean>
  replicate(target: unknown, options?: object): Duplex
  close(): Promise<void>
  on(event: string, run: () => void): unknown
}
interface Duplex extends FramedStream {
  readonly noiseStream: FramedStream
  pipe(target: unknown): { pipe(target: unknown): unknown }
}
type CoreClass = new (folder: string, key?: Uint8Array | null) => Core

const require = createRequire(import.meta.url)
const VERSIONS: readonly (readonly [string, CoreClass])[] = [
  ['hypercore 11.37.1', require('hypercore') as CoreClass],
  ['hypercore 10.38.2', require('hypercore10') as CoreClass]
]
const Hypercore = VERSIONS[0]?.[1] as CoreClass

const SYNC: Sync = {
  type: 'sync',
  fork: 0,
  length: 0,
  remoteLength: 0,
  canUpgrade: true,
  uploading: true,
  downloading: true,
  hasManifest: false,
  allowPush: false
}
const FIRST: Request = {
  type: 'request',
  id: 1,
  fork: 0,
  block: { index: 0, nodes: 0 },
  hash: null,
  seek: null,
  upgrade: { start: 0, length: 1 },
  manifest: true,
  priority: 0
}

for (const [version, Core] of VERSIONS) {
  test(`${version} answers what is sent together with the open, over TCP`, async (t) => {
    const core = await filledCore(t, Core)
    const port = await serveCore(t, core)
    const connection = await new TcpTransport().connect('127.0.0.1', port)
    const peer = new Recorder(t, connection)
    const channel = peer.link.open(feedOf(core))
    peer.link.send(channel, [SYNC, FIRST])
    const answer = await messageOf(peer, 'data')
    t.is(Buffer.from(answer.block?.value ?? []).toString(), 'block 0')
    t.is(answer.upgrade?.length, 1)
    t.is(answer.request, 1)
    const sync = await messageOf(peer, 'sync')
    t.is(sync.length, 100)
    const range = await messageOf(peer, 'range')
    t.alike([range.start, range.length, range.drop], [0, 100, false])
    t.is((await peer.next('channel-open')).channel, channel)
    await until(() => core.peers.length === 1)
    t.pass('hypercore verified our capability too')
  })

  test(`${version} that connects to us is wanted, told of our length, and asks`, async (t) => {
    const source = await filledCore(t, Core)
    const copy = await openCore(t, Core, source.key)
    let accept: (connection: TransportConnection) => void
    const accepted = new Promise<TransportConnection>((resolve) => {
      accept = resolve
    })
    const transport = new TcpTransport({ onconnection: (connection) => accept(connection) })
    t.teardown(() => transport.close())
    const port = await transport.listen({ host: '127.0.0.1', port: 0 })
    const socket = connect(port, '127.0.0.1')
    replicateOver(t, copy, socket, true)
    const updating = copy.update({ wait: true })
    updating.catch(() => {})
    const peer = new Recorder(t, await accepted)
    const { discoveryKey } = await peer.next('wanted')
    t.alike(Buffer.from(discoveryKey), Buffer.from(copy.discoveryKey))
    const channel = peer.link.open(feedOf(copy))
    peer.link.send(channel, [{ ...SYNC, length: 100, downloading: false }])
    const request = await messageOf(peer, 'request')
    t.ok(request.upgrade !== null)
    peer.link.terminate(null)
    t.is((await peer.next('disconnected')).error, null)
  })

  test(`${version} whose core closes ends the channel and keeps the connection`, async (t) => {
    const core = await filledCore(t, Core)
    const port = await serveCore(t, core)
    const peer = new Recorder(t, await new TcpTransport().connect('127.0.0.1', port))
    peer.link.open(feedOf(core))
    await peer.next('channel-open')
    await core.close()
    await peer.next('channel-close')
    t.absent(peer.received.some((item) => item.type === 'disconnected'))
  })

  test(`${version} rejects a feed that it does not have`, async (t) => {
    const core = await filledCore(t, Core)
    const port = await serveCore(t, core)
    const peer = new Recorder(t, await new TcpTransport().connect('127.0.0.1', port))
    const key = new Uint8Array(32).fill(3)
    const channel = peer.link.open({ key, discoveryKey: discoveryKeyOf(key) })
    t.is((await peer.next('channel-close')).channel, channel)
  })
}

test('hypercore 11.37.1 replicates another core on a mux that we share', async (t) => {
  const [theirs, ours] = [await filledCore(t), await filledCore(t)]
  const [one, other] = await corePair(t, theirs, ours)
  const copy = await openCore(t, Hypercore, theirs.key)
  copy.replicate(one)
  const peer = new Recorder(t, await attach(one))
  const channel = peer.link.open(feedOf(ours))
  peer.link.send(channel, [SYNC, FIRST])
  const answer = await messageOf(peer, 'data')
  t.is(Buffer.from(answer.block?.value ?? []).toString(), 'block 0')
  t.is(Buffer.from((await copy.get(5)) ?? []).toString(), 'block 5', 'beside the other core')

  peer.link.terminate(null)
  t.is((await peer.next('disconnected')).error, null)
  t.is(Buffer.from((await copy.get(6)) ?? []).toString(), 'block 6', 'which outlives us')
  t.is(other.destroying, false)
})

test('hypercore 11.37.1 keeps a core that it replicates on the same mux', async (t) => {
  const source = await filledCore(t)
  const [one] = await corePair(t, source)
  const copy = await openCore(t, Hypercore, source.key)
  copy.replicate(one)
  const peer = new Recorder(t, await attach(one))
  t.is(peer.link.open(feedOf(source)), -1)
  t.is(Buffer.from((await copy.get(5)) ?? []).toString(), 'block 5')
  peer.link.watch(source.discoveryKey)
  peer.link.unwatch(source.discoveryKey)
  peer.link.terminate(null)
  await peer.next('disconnected')
  const [again] = await corePair(t, source)
  copy.replicate(again)
  t.is(Buffer.from((await copy.get(6)) ?? []).toString(), 'block 6')
})

test('a feed that is watched on a shared mux is wanted although Corestore answers the rest', async (t) => {
  const [theirs, ours] = [await filledCore(t), await filledCore(t)]
  const [one, other] = await rawPair(t)
  const asked: string[] = []
  const statics = Hypercore as unknown as {
    createProtocolStream(stream: unknown, options: object): unknown
  }
  statics.createProtocolStream(one, {
    ondiscoverykey: (key: Uint8Array) => void asked.push(Buffer.from(key).toString('hex'))
  })
  const peer = new Recorder(t, await attach(one))
  peer.link.watch(ours.discoveryKey)
  theirs.replicate(other)
  ours.replicate(other)
  const { discoveryKey } = await peer.next('wanted')
  t.alike(Buffer.from(discoveryKey), Buffer.from(ours.discoveryKey))
  peer.link.open(feedOf(ours))
  await peer.next('channel-open')
  await until(() => asked.length > 0)
  t.alike(asked, [Buffer.from(theirs.discoveryKey).toString('hex')])
})

test('a shared stream that its user destroys disconnects us in order', async (t) => {
  const source = await filledCore(t)
  const [one] = await corePair(t, source)
  const copy = await openCore(t, Hypercore, source.key)
  copy.replicate(one)
  const peer = new Recorder(t, await attach(one))
  one.destroy()
  t.is((await peer.next('disconnected')).error, null)
  t.is(peer.link.open(feedOf(source)), -1)
})

test('hypercore 11.37.1 may use our mux beside us, and then keeps the stream', async (t) => {
  const [theirs, ours] = [await filledCore(t), await filledCore(t)]
  const [one] = await corePair(t, theirs, ours)
  const peer = new Recorder(t, await attach(one))
  const channel = peer.link.open(feedOf(ours))
  const copy = await openCore(t, Hypercore, theirs.key)
  copy.replicate(one)
  await peer.next('channel-open')
  t.is(channel, 0)
  t.is(Buffer.from((await copy.get(5)) ?? []).toString(), 'block 5')
  peer.link.terminate(null)
  await peer.next('disconnected')
  t.is(Buffer.from((await copy.get(6)) ?? []).toString(), 'block 6')
})

function feedOf(core: Core): { key: Uint8Array; discoveryKey: Uint8Array } {
  return { key: core.key, discoveryKey: core.discoveryKey }
}

async function openCore(t: Assertions, Core: CoreClass, key?: Uint8Array): Promise<Core> {
  const core = new Core(await t.tmp(), key ?? null)
  await core.ready()
  t.teardown(() => core.close(), { order: 2 })
  return core
}

async function filledCore(t: Assertions, Core: CoreClass = Hypercore): Promise<Core> {
  const core = await openCore(t, Core)
  await core.append(Array.from({ length: 100 }, (_, i) => Buffer.from(`block ${i}`)))
  return core
}

/** Serves one core on a port, each connection as its README shows it. */
async function serveCore(t: Assertions, core: Core): Promise<number> {
  const server = createServer((socket) => replicateOver(t, core, socket, false))
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

function replicateOver(t: Assertions, core: Core, socket: Socket, isInitiator: boolean): void {
  const stream = core.replicate(isInitiator)
  stream.on('error', () => {})
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  stream.pipe(socket).pipe(stream)
}

/** Two encrypted streams of the user's in memory, without a mux. */
async function rawPair(t: Assertions): Promise<[FramedStream, FramedStream]> {
  const { duplexPair } = await import('../../lib/transport/memory.ts')
  const { secure } = await import('../../lib/transport/secret-stream.ts')
  const [a, b] = duplexPair()
  const streams = [secure(true, a), secure(false, b)] as const
  for (const stream of streams) {
    stream.on('error', () => {})
    t.teardown(() => stream.destroy())
  }
  return [streams[0], streams[1]]
}

/** Two encrypted streams, on the second of which cores are replicated. */
async function corePair(t: Assertions, ...cores: Core[]): Promise<[FramedStream, FramedStream]> {
  const [one, other] = await rawPair(t)
  for (const core of cores) core.replicate(other)
  return [one, other]
}

async function messageOf<T extends Message['type']>(
  peer: Recorder,
  type: T
): Promise<Extract<Message, { type: T }>> {
  for (let count = 1; ; count++) {
    const found = (await peer.messages(count)).find((message) => message.type === type)
    if (found !== undefined) return found as Extract<Message, { type: T }>
  }
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setImmediate(resolve))
}
