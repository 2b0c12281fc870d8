import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import test, { type Assertions } from 'brittle'
import { isSynclineError } from '../../lib/errors.ts'
import { CONNECTIONS_MAX } from '../../lib/limits.ts'
import { isLoopback, reachableHosts, tcpAddress } from '../../lib/transport/address.ts'
import { TcpTransport } from '../../lib/transport/tcp.ts'
import { tcpPair } from '../fixtures/connection.ts'

test('both ends of a TCP connection share a handshake hash and know each other', async (t) => {
  const [one, other] = await tcpPair(t)
  t.teardown(() => one.stream.destroy())
  t.is(one.stream.isInitiator, true)
  t.is(other.stream.isInitiator, false)
  t.alike(one.stream.handshakeHash, other.stream.handshakeHash)
  t.is(one.stream.handshakeHash?.byteLength, 64)
  t.alike(one.stream.remotePublicKey, other.stream.publicKey)
  t.is(one.dialled, one.address)
  t.is(other.dialled, null, 'a connection that came in cannot be dialled')
})

test('a key pair is our identity on every connection', async (t) => {
  const { default: NoiseSecretStream } = await import('@hyperswarm/secret-stream')
  const noise = NoiseSecretStream as unknown as {
    keyPair(): { publicKey: Uint8Array; secretKey: Uint8Array }
  }
  const ours = noise.keyPair()
  const transport = new TcpTransport({ keyPair: ours, onconnection: (c) => c.stream.end() })
  t.teardown(() => transport.close())
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const connection = await new TcpTransport().connect('127.0.0.1', port)
  t.teardown(() => connection.stream.destroy())
  t.alike(connection.stream.remotePublicKey, ours.publicKey)
})

test('a transport that listens names addresses that others can dial', async (t) => {
  const transport = new TcpTransport()
  t.teardown(() => transport.close())
  t.alike(transport.addresses(), [])
  const port = await transport.listen({ port: 0 })
  const addresses = transport.addresses()
  t.ok(addresses.length > 0)
  for (const address of addresses) {
    t.ok(address.startsWith('tcp:') && address.endsWith(`:${port}`), address)
    t.absent(address.includes('0.0.0.0'), 'no wildcard')
  }
  t.alike(reachableHosts('127.0.0.1'), ['127.0.0.1'])
  t.is(tcpAddress('::1', 7000), 'tcp:[::1]:7000')
  t.ok(isLoopback('127.0.0.1') && isLoopback('localhost') && !isLoopback('10.0.0.1'))
})

test('a refused connection is CONNECTION_FAILED with address and cause', async (t) => {
  const port = await freePort()
  const transport = new TcpTransport()
  for (const host of ['127.0.0.1', 'localhost']) {
    const error = await transport.connect(host, port).catch((e: unknown) => e)
    t.ok(isSynclineError(error, 'CONNECTION_FAILED'))
    t.ok((error as Error).message.includes(`tcp:${host}:${port}`))
    t.ok((error as Error).message.includes('ECONNREFUSED'))
  }
})

test('a peer that accepts and says nothing is given up after the time-out', async (t) => {
  const { port, accepted } = await silentServer(t)
  const transport = new TcpTransport()
  const error = await transport
    .connect('127.0.0.1', port, { timeoutMs: 30 })
    .catch((e: unknown) => e)
  t.ok(isSynclineError(error, 'CONNECTION_FAILED'))
  t.ok((error as Error).message.includes('no answer in 30 ms'))
  await closed(await accepted)
  t.pass('and the socket is closed')
})

test('a peer that closes during the handshake fails it at once', async (t) => {
  const server = createServer((socket) => socket.end())
  t.teardown(() => server.close())
  const port = await listening(server)
  const error = await new TcpTransport().connect('127.0.0.1', port).catch((e: unknown) => e)
  t.ok(isSynclineError(error, 'CONNECTION_FAILED'))
})

test('connecting can be aborted', async (t) => {
  const { port } = await silentServer(t)
  const abort = new AbortController()
  const connecting = new TcpTransport().connect('127.0.0.1', port, { signal: abort.signal })
  abort.abort(new Error('changed my mind'))
  await t.exception(connecting, /changed my mind/)
  await t.exception(
    new TcpTransport().connect('127.0.0.1', port, { signal: abort.signal }),
    /changed my mind/
  )
})

test('a stranger that talks rubbish reaches nobody', async (t) => {
  const transport = new TcpTransport({ onconnection: () => t.fail('no connection') })
  t.teardown(() => transport.close())
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(Buffer.from([5, 0, 0, 1, 2, 3, 4, 5]))
  await closed(socket)
  t.pass('the socket is closed')
})

test('strangers that connect and say nothing keep nobody out', async (t) => {
  const transport = new TcpTransport({ onconnection: ({ stream }) => stream.destroy() })
  t.teardown(() => transport.close())
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const strangers: Socket[] = []
  for (let i = 0; i < CONNECTIONS_MAX; i++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    strangers.push(socket)
    await once(socket, 'connect')
  }
  t.teardown(() => strangers.forEach((socket) => socket.destroy()))
  const connection = await new TcpTransport().connect('127.0.0.1', port)
  connection.stream.destroy()
  await closed(strangers[0] as Socket)
  t.is(strangers.filter((socket) => !socket.closed).length, CONNECTIONS_MAX - 1)
})

test('a port in use and a closed transport are refused', async (t) => {
  const transport = new TcpTransport()
  t.teardown(() => transport.close())
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const error = await transport.listen({ host: '127.0.0.1', port }).catch((e: unknown) => e)
  t.ok(isSynclineError(error, 'CONNECTION_FAILED'))
  t.ok((error as Error).message.includes('EADDRINUSE'))
  await t.exception(transport.connect('127.0.0.1', 0), /BAD_ARGUMENT/)
  await transport.close()
  await transport.close()
  await t.exception(transport.listen({ port: 0 }), /SESSION_CLOSED/)
  await t.exception(transport.connect('127.0.0.1', port), /SESSION_CLOSED/)
})

test('closing a transport leaves its connections open and frees the port', async (t) => {
  const connections: { stream: { destroy(): unknown; destroying: boolean } }[] = []
  const transport = new TcpTransport({ onconnection: (c) => connections.push(c) })
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const client = new TcpTransport()
  const connection = await client.connect('127.0.0.1', port)
  t.teardown(() => connection.stream.destroy())
  await client.close()
  await transport.close()
  t.is(connection.stream.destroying, false)
  await t.exception(new TcpTransport().connect('127.0.0.1', port), /ECONNREFUSED/)
})

async function silentServer(t: Assertions): Promise<{ port: number; accepted: Promise<Socket> }> {
  const sockets: Socket[] = []
  const server = createServer()
  const accepted = new Promise<Socket>((resolve) => {
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      socket.resume()
      sockets.push(socket)
      resolve(socket)
    })
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: await listening(server), accepted }
}

async function listening(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve()
    else socket.on('close', () => resolve())
  })
}
