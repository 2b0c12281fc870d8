import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import test, { type Assertions } from 'brittle'
import { heapOf } from '../fault/stage.ts'
import { handshake, type SecureSocket, secureSocket } from '../../lib/transport/secret-stream.ts'

interface Ends {
  readonly one: SecureSocket
  readonly other: SecureSocket
  /** The socket under `one`. */
  readonly socket: Socket
}

/** Both ends of a connection, over a socket whose bytes come in pieces of `pieceBytes`. */
async function ends(t: Assertions, pieceBytes = Infinity): Promise<Ends> {
  const servers: Server[] = []
  const accepted = new Promise<Socket>((resolve) => servers.push(createServer(resolve)))
  const [server] = servers as [Server]
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const buffer = new Uint8Array(64 * 1024)
  const callback = (count: number): boolean => {
    for (let at = 0; at < count; at += pieceBytes) {
      // The bytes are only lent: the next piece stands in the same place.
      const piece = Uint8Array.from(buffer.subarray(at, Math.min(count, at + pieceBytes)))
      one.receive(piece)
      piece.fill(0xdb)
    }
    return true
  }
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, onread: { buffer, callback } })
  const one = secureSocket(true, socket)
  const other = secureSocket(false, await accepted)
  server.close()
  t.teardown(() => {
    one.destroy()
    other.destroy()
  })
  const address = '127.0.0.1'
  await Promise.all([handshake(one, { address }), handshake(other, { address })])
  return { one, other, socket }
}

function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 255)
}

/** Writes a frame and is true if the next one may follow at once. */
function write(stream: SecureSocket, bytes: Uint8Array): boolean {
  const room = stream.alloc(bytes.byteLength)
  room.set(bytes)
  return stream.write(room)
}

/** Resolves to copies of the next `count` frames, which are released. */
function frames(stream: SecureSocket, count: number): Promise<Uint8Array[]> {
  const found: Uint8Array[] = []
  return new Promise((resolve) => {
    const ondata = (frame: Uint8Array): void => {
      found.push(Uint8Array.from(frame))
      stream.release(frame)
      if (found.length < count) return
      stream.off('data', ondata)
      resolve(found)
    }
    stream.on('data', ondata)
  })
}

test('frames of all lengths arrive whole, however their bytes are cut', async (t) => {
  const lengths = [1, 2, 3, 100, 4078, 4079, 4080, 4096, 5000, 65_536, 70_000, 300_000]
  for (const pieceBytes of [1, 2, 3, 1000, 65_536]) {
    const { one, other } = await ends(t, pieceBytes)
    const sent = lengths.map((length, i) => pattern(length, i))
    const came = frames(one, sent.length)
    for (const bytes of sent) write(other, bytes)
    t.alike(await came, sent, `pieces of ${pieceBytes} bytes`)
  }
})

test('a frame keeps its bytes until it is released', async (t) => {
  const { one, other } = await ends(t)
  const kept: Uint8Array[] = []
  const sent = Array.from({ length: 20 }, (_, i) => pattern(10_000 + i, i))
  const all = new Promise<void>((resolve) => {
    one.on('data', (frame: Uint8Array) => {
      kept.push(frame)
      if (kept.length === sent.length) resolve()
    })
  })
  for (const bytes of sent) write(other, bytes)
  await all
  t.alike(
    kept.map((frame) => Uint8Array.from(frame)),
    sent
  )
})

test('buffers of released frames are used again', async (t) => {
  const { one, other } = await ends(t)
  const buffers = new Set<ArrayBufferLike>()
  one.on('data', (frame: Uint8Array) => {
    buffers.add(frame.buffer)
    one.release(frame)
    one.release(frame)
  })
  for (let i = 0; i < 50; i++) {
    const came = frames(one, 1)
    write(other, pattern(50_000, i))
    await came
  }
  t.ok(buffers.size <= 4, `50 frames lay in ${buffers.size} buffers`)
})

test('what a slow reader has not taken yet is not written over', async (t) => {
  const { one, other } = await ends(t)
  const sent = Array.from({ length: 400 }, (_, i) => pattern(20_000, i))
  // Far more than the system holds: most of it waits in this process.
  one.pause()
  for (const bytes of sent.slice(0, 300)) write(other, bytes)
  await new Promise((resolve) => setImmediate(resolve))
  for (const bytes of sent.slice(300)) write(other, bytes)
  const came = frames(one, sent.length)
  one.resume()
  const got = await came
  t.is(
    got.findIndex((frame, i) => Buffer.compare(frame, sent[i] as Uint8Array) !== 0),
    -1
  )
})

test('rooms that are written in another order, or not at all, do no harm', async (t) => {
  const { one, other } = await ends(t)
  const came = frames(one, 3)
  const [first, second, third] = [1, 2, 3].map((seed) => {
    const room = other.alloc(6000)
    room.set(pattern(6000, seed))
    return room
  }) as [Uint8Array, Uint8Array, Uint8Array]
  other.alloc(6000).fill(1)
  other.write(third)
  other.write(first)
  other.write(second)
  t.alike(await came, [pattern(6000, 3), pattern(6000, 1), pattern(6000, 2)])
})

test('room that is asked for and never written is not kept', async (t) => {
  const { one } = await ends(t)
  const rooms = Array.from({ length: 1000 }, () => new WeakRef(one.alloc(200)))
  await heapOf()
  const kept = rooms.filter((room) => room.deref() !== undefined).length
  t.ok(kept < 100, `${kept} of 1000 are kept`)
})
