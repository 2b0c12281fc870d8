import { createRequire } from 'node:module'
import test, { type Assertions } from 'brittle'
import { HyperswarmTransport, type TopicStatus } from '../../lib/transport/hyperswarm.ts'
import type { TransportConnection } from '../../lib/transport/transport.ts'
import type { Message } from '../../lib/wire/message.ts'
import { feedOf, Recorder } from '../fixtures/connection.ts'

type Testnet = (
  size: number,
  options: { teardown: (run: () => unknown) => void }
) => Promise<{
  bootstrap: { host: string; port: number }[]
}>

const require = createRequire(import.meta.url)
const createTestnet = createRequire(require.resolve('hyperswarm'))('hyperdht/testnet') as Testnet
const RANGE: Message = { type: 'range', drop: false, start: 0, length: 5 }

test('two swarms find each other by a discovery key and exchange messages', async (t) => {
  const bootstrap = await network(t)
  const feed = feedOf(1)
  const server = swarm(t, bootstrap)
  const client = swarm(t, bootstrap)
  t.alike(server.transport.addresses(), [], 'nothing is loaded before the first join')
  await server.transport.join(feed.discoveryKey, { server: true, client: false })
  await server.transport.flush()
  await client.transport.join(feed.discoveryKey, { server: false, client: true })
  const [dialled, accepted] = await Promise.all([client.connection, server.connection])
  t.is(dialled.address, server.transport.addresses()[0])
  t.is(dialled.stream.isInitiator, true)
  t.alike(dialled.stream.handshakeHash, accepted.stream.handshakeHash)

  const [one, other] = [new Recorder(t, dialled), new Recorder(t, accepted)]
  t.is(one.link.name, dialled.address, 'the key stands in the address already')
  const channel = one.link.open(feed)
  one.link.send(channel, [RANGE])
  await other.next('wanted')
  other.link.open(feed)
  await one.next('channel-open')
  t.alike(await other.messages(1), [RANGE])
  t.ok(other.link.bytesReceived() > 0)

  const status = await statusWhen(client.transport, feed.discoveryKey, (s) => s.lookedUp)
  t.is(status.announced, 1)
  t.is(status.connected, 1)
  t.alike(status.unreachable, [])
  t.ok(status.nodes > 0)
  t.alike(client.transport.addresses(), [], 'a client announces nothing')

  one.link.terminate(null)
  await other.next('disconnected')
})

test('a key that nobody announces, and one whose announcer is gone, can be told apart', async (t) => {
  const bootstrap = await network(t)
  const [nobody, gone] = [feedOf(1), feedOf(2)]
  const client = swarm(t, bootstrap)
  await client.transport.join(nobody.discoveryKey, { server: false })
  const status = await statusWhen(client.transport, nobody.discoveryKey, (s) => s.lookedUp)
  t.is(status.announced, 0)
  t.is(client.transport.status(gone.discoveryKey), null, 'not joined')

  const announcer = await absentAnnouncer(bootstrap, gone.discoveryKey)
  await client.transport.join(gone.discoveryKey, { server: false })
  const unreached = await statusWhen(
    client.transport,
    gone.discoveryKey,
    (s) => s.unreachable.length > 0 && s.unreachable[0] !== 'trying'
  )
  t.is(unreached.announced, 1)
  t.is(unreached.connected, 0)
  t.is(unreached.unreachable[0], client.transport.failure(announcer))
})

test('a peer can be joined by its public key, and left', async (t) => {
  const bootstrap = await network(t)
  const server = swarm(t, bootstrap)
  await server.transport.join(feedOf(1).discoveryKey, { server: true, client: false })
  await server.transport.flush()
  const client = swarm(t, bootstrap)
  const publicKey = Buffer.from((server.transport.addresses()[0] as string).slice(6), 'hex')
  await client.transport.joinPeer(publicKey)
  const connection = await client.connection
  t.alike(connection.stream.remotePublicKey, publicKey)
  client.transport.leavePeer(publicKey)
  await server.transport.leave(feedOf(1).discoveryKey)
  t.is(server.transport.status(feedOf(1).discoveryKey), null)
})

test('wrong options and a closed swarm are refused', async (t) => {
  for (const node of ['127.0.0.1', ':1', 'host:0', 'host:x', { host: 'host', port: 0 }]) {
    await t.exception(() => new HyperswarmTransport({ bootstrap: [node] }), /BAD_ARGUMENT/)
  }
  const transport = new HyperswarmTransport()
  const { discoveryKey } = feedOf(1)
  await t.exception(transport.join(discoveryKey, { server: false, client: false }), /BAD_ARGUMENT/)
  await transport.close()
  await transport.close()
  await t.exception(transport.join(discoveryKey), /SESSION_CLOSED/)
})

async function network(t: Assertions): Promise<string[]> {
  const testnet = await createTestnet(3, { teardown: (run) => t.teardown(run, { order: 10 }) })
  return testnet.bootstrap.map(({ host, port }) => `${host}:${port}`)
}

function swarm(
  t: Assertions,
  bootstrap: string[]
): { transport: HyperswarmTransport; connection: Promise<TransportConnection> } {
  let accept: (connection: TransportConnection) => void
  const connection = new Promise<TransportConnection>((resolve) => {
    accept = resolve
  })
  const transport = new HyperswarmTransport({ bootstrap, onconnection: (c) => accept(c) })
  t.teardown(() => transport.close(), { order: 5 })
  return { transport, connection }
}

async function statusWhen(
  transport: HyperswarmTransport,
  discoveryKey: Uint8Array,
  holds: (status: TopicStatus) => boolean
): Promise<TopicStatus> {
  for (;;) {
    const status = transport.status(discoveryKey)
    if (status !== null && holds(status)) return status
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Announces a key and goes away without taking it back, as a machine does that loses its power. */
async function absentAnnouncer(bootstrap: string[], discoveryKey: Uint8Array): Promise<Uint8Array> {
  const HyperDHT = createRequire(require.resolve('hyperswarm'))('hyperdht') as new (
    options: object
  ) => {
    readonly defaultKeyPair: { readonly publicKey: Uint8Array }
    announce(topic: Uint8Array, keyPair: unknown): { finished(): Promise<void> }
    destroy(options: { force: boolean }): Promise<void>
  }
  const dht = new HyperDHT({ bootstrap, host: '127.0.0.1' })
  await dht.announce(discoveryKey, dht.defaultKeyPair).finished()
  await dht.destroy({ force: true })
  return dht.defaultKeyPair.publicKey
}

test('a topic that is left while the library is still being loaded stays left', async (t) => {
  const transport = new HyperswarmTransport({ bootstrap: ['127.0.0.1:9'] })
  t.teardown(() => transport.close())
  const [left, again] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  const joining = [transport.join(left), transport.join(again, { server: false })]
  await transport.leave(left)
  joining.push(transport.join(again))
  await Promise.all(joining)
  t.is(transport.status(left), null)
  t.ok(transport.status(again) !== null)
})
