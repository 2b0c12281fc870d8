/**
 * A peer that does what it wants: it serves a real feed, and changes what it sends on the way out, or sends bytes that are
 * no messages at all. It has its own Protomux, so nothing of the connection under test keeps it from lying.
 *
 * @module
 */
import type { Assertions } from 'brittle'
import Protomux, { type Channel } from 'protomux'
import type { Feed } from '../../lib/feed/feed.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import { capabilityOf } from '../../lib/synchronizer/capability.ts'
import type { NoiseKeyPair } from '../../lib/transport/secret-stream.ts'
import { TcpTransport } from '../../lib/transport/tcp.ts'
import type { FramedStream } from '../../lib/transport/transport.ts'
import { decodeMessage, encodeMessage } from '../../lib/wire/codec.ts'
import { MESSAGE_TYPES, type Message, type Request, type Sync } from '../../lib/wire/message.ts'

/** A message, or bytes under the number of a type. */
export type Sent = Message | { readonly number: number; readonly payload: Uint8Array }

/** How a peer behaves on one feed; honest where nothing is given. */
export interface Behaviour {
  /** What is sent instead of a message. */
  readonly mutate?: (message: Message) => readonly Sent[]
  /** Instead of answering; false to answer after all. */
  readonly onrequest?: (request: Request) => boolean
  /** Called once both sides opened, after sync and range were sent. */
  readonly onopen?: () => void
  readonly capability?: Uint8Array
}

const RAW = {
  preencode(state: { end: number }, bytes: Uint8Array): void {
    state.end += bytes.byteLength
  },
  encode(state: { start: number; buffer: Uint8Array | null }, bytes: Uint8Array): void {
    state.buffer?.set(bytes, state.start)
    state.start += bytes.byteLength
  },
  decode(state: { start: number; end: number; buffer: Uint8Array | null }): Uint8Array {
    const bytes = (state.buffer as Uint8Array).subarray(state.start, state.end)
    state.start = state.end
    return bytes
  }
}

/** See the module comment. */
export class HostilePeer {
  readonly stream: FramedStream
  readonly keyPair: NoiseKeyPair
  /** What came, oldest first. */
  readonly received: Message[] = []
  /** True once the other side closed the connection. */
  closed = false
  /** Made by the first feed that is opened: before, whatever comes is thrown away. */
  #mux: Protomux | null = null
  #onclose: () => void = () => {}
  readonly whenClosed: Promise<void>

  private constructor(stream: FramedStream, keyPair: NoiseKeyPair) {
    this.stream = stream
    this.keyPair = keyPair
    this.whenClosed = new Promise((resolve) => {
      this.#onclose = resolve
    })
    stream.on('error', () => {})
    // The socket is half open: an end has to be answered.
    stream.on('end', () => stream.destroy())
    stream.on('close', () => {
      this.closed = true
      this.#onclose()
    })
    if (stream.destroying) this.#onclose()
    stream.resume()
  }

  /** Dials a synchronizer on the loopback; the same `keyPair` is the same peer again. */
  static async dial(
    t: Assertions,
    port: number,
    keyPair: NoiseKeyPair = createKeyPair()
  ): Promise<HostilePeer> {
    const transport = new TcpTransport({ keyPair })
    const { stream } = await transport.connect('127.0.0.1', port)
    t.teardown(() => stream.destroy())
    return new HostilePeer(stream, keyPair)
  }

  /** Listens on the loopback and is what answers each connection. */
  static async listen(
    t: Assertions,
    onpeer: (peer: HostilePeer) => void,
    keyPair: NoiseKeyPair = createKeyPair()
  ): Promise<number> {
    const transport = new TcpTransport({
      keyPair,
      onconnection: ({ stream }) => {
        t.teardown(() => stream.destroy())
        onpeer(new HostilePeer(stream, keyPair))
      }
    })
    t.teardown(() => transport.close())
    return transport.listen({ host: '127.0.0.1', port: 0 })
  }

  /** Replicates a feed in its own way. */
  open(feed: Feed, behaviour: Behaviour = {}): HostileChannel {
    this.#mux ??= new Protomux(this.stream)
    return new HostileChannel(this, this.#mux, feed, behaviour)
  }

  /** Sends a frame as it is: Protomux of the other side makes of it what it can. */
  frame(bytes: Uint8Array): void {
    this.stream.write(bytes)
  }

  /** Sends bytes below the encryption. */
  garble(bytes: Uint8Array): void {
    ;(this.stream.rawStream as { write(bytes: Uint8Array): void }).write(bytes)
  }

  /** Reads nothing from the socket any more. */
  stopReading(): void {
    ;(this.stream.rawStream as { pause(): void }).pause()
    this.stream.pause()
  }
}

/** One feed of a {@link HostilePeer}. */
export class HostileChannel {
  readonly peer: HostilePeer
  readonly feed: Feed
  readonly #behaviour: Behaviour
  readonly #channel: Channel
  #remote: Sync | null = null

  constructor(peer: HostilePeer, mux: Protomux, feed: Feed, behaviour: Behaviour) {
    this.peer = peer
    this.feed = feed
    this.#behaviour = behaviour
    const { stream } = peer
    const channel = mux.createChannel({
      protocol: 'hypercore/alpha',
      aliases: [],
      id: feed.discoveryKey,
      handshake: RAW,
      messages: MESSAGE_TYPES.map((_, number) => ({
        encoding: RAW,
        autoBatch: false,
        onmessage: (payload: Uint8Array) => this.#onmessage(decodeMessage(number, payload))
      })),
      onopen: () => this.#onopen(),
      onclose: () => {}
    })
    if (channel === null) throw new Error('the channel is open already')
    this.#channel = channel
    const handshakeHash = stream.handshakeHash as Uint8Array
    const own = capabilityOf(stream.isInitiator, feed.key, handshakeHash)
    channel.open(Buffer.concat([Uint8Array.of(1), behaviour.capability ?? own]))
  }

  /** The channel's number in frames of ours. */
  get localId(): number {
    return this.#channel._localId
  }

  /** Sends, mutated. */
  send(message: Message): void {
    const sent = this.#behaviour.mutate?.(message) ?? [message]
    for (const one of sent) this.sendAsIs(one)
  }

  sendAsIs(message: Sent): void {
    if (this.peer.closed) return
    const [number, payload] =
      'number' in message
        ? [message.number, message.payload]
        : [MESSAGE_TYPES.indexOf(message.type), encodeMessage(message)]
    this.#channel.messages[number]?.send?.(payload)
  }

  /** Many messages in few frames. */
  sendBatch(messages: readonly Sent[]): void {
    const parts = messages.map((message) => {
      const [number, payload] =
        'number' in message
          ? [message.number, message.payload]
          : [MESSAGE_TYPES.indexOf(message.type), encodeMessage(message)]
      return Buffer.concat([uint(payload.byteLength + 1), uint(number), payload])
    })
    this.peer.frame(Buffer.concat([Uint8Array.of(0, 0), uint(this.localId), ...parts]))
  }

  #onopen(): void {
    this.#sync()
    if (this.feed.contiguousLength > 0) {
      this.send({ type: 'range', drop: false, start: 0, length: this.feed.contiguousLength })
    }
    this.#behaviour.onopen?.()
  }

  #sync(): void {
    const { feed } = this
    this.send({
      type: 'sync',
      fork: feed.fork,
      length: feed.length,
      remoteLength: this.#remote?.length ?? 0,
      canUpgrade: true,
      uploading: true,
      downloading: false,
      hasManifest: feed.manifest !== null && !feed.compat,
      allowPush: false
    })
  }

  #onmessage(message: Message): void {
    this.peer.received.push(message)
    if (message.type === 'sync') {
      const grown = message.length !== this.#remote?.length
      this.#remote = message
      if (grown) this.#sync()
    } else if (message.type === 'request') {
      if (this.#behaviour.onrequest?.(message) !== true) void this.#answer(message)
    }
  }

  async #answer(request: Request): Promise<void> {
    try {
      const proof = await this.feed.proof(request)
      this.send({ type: 'data', request: request.id, ...proof })
    } catch {
      this.send({ type: 'no-data', request: request.id, reason: 1 })
    }
  }
}

/** compact-encoding's unsigned integer, also beyond what it would write. */
export function uint(value: number | bigint): Uint8Array {
  if (value <= 0xfc) return Uint8Array.of(Number(value))
  const size = value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8
  const bytes = Buffer.alloc(1 + size)
  bytes[0] = size === 2 ? 0xfd : size === 4 ? 0xfe : 0xff
  if (size === 8) bytes.writeBigUInt64LE(BigInt(value), 1)
  else bytes.writeUIntLE(Number(value), 1, size)
  return bytes
}

/** Whole numbers from 0 below a limit, the same for the same seed. */
export function seeded(seed: number): (limit: number) => number {
  let state = seed >>> 0
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}
