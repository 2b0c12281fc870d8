/**
 * A {@link Link} over an encrypted stream: a reader that turns frames into items, a writer that packs messages into frames.
 *
 * The stream is either ours or the user's (see `owned`). Ours dies with the connection and the connection with it. On
 * one of the user's only our channels are closed, by `terminate` with or without an error, unless the mux on it is ours
 * and nobody else uses it; then the stream ends too. Liveness is watched on our own streams only.
 *
 * @module
 */
import { isSynclineError, SynclineError } from '../errors.ts'
import {
  CHANNELS_MAX,
  CLOSE_TIMEOUT_MS,
  INBOX_BURST_MAX,
  KEEPALIVE_MS,
  OUTBOX_CHATTER_BYTES_MAX
} from '../limits.ts'
import { toHex } from '../feed/bytes.ts'
import type { FramedStream, TransportConnection } from '../transport/transport.ts'
import type { Handshake, Message } from '../wire/message.ts'
import { capabilityOf } from './capability.ts'
import * as kernel from '../kernels/frame.ts'
import { readRuns, runOfData, runOfRequest } from '../wire/run.ts'
import { byteLengthOf, type Outgoing, singlesOf, typeNumber, writeFrames } from './frame.ts'
import { Inbox } from './inbox.ts'
import { JoinedFrame } from './joined-frame.ts'
import type { Link, Received } from './link.ts'
import { Liveness, type Vitals } from './liveness.ts'
import { Mux, type Channel } from './mux.ts'
import { setRepeating, systemClock, type Clock } from './timers.ts'

/** Options of {@link Connection}. */
export interface ConnectionOptions {
  readonly clock?: Clock
}

/** Bytes that a queued frame takes beside its content; a rough figure for what the objects weigh. */
const FRAME_WEIGHT_BYTES = 256

/** Bytes of a frame that is worth its way alone. */
const JOINING_BYTES_MAX = 4096

/** Name of the extension message by which a remote says that it reads requests in runs. */
const RUNS_EXTENSION = 'syncline/runs'
const NO_BYTES = new Uint8Array(0)

interface OpenFeed {
  readonly number: number
  /** Discovery key, hexadecimal. */
  readonly id: string
  readonly key: Uint8Array
  channel: Channel | null
}

/** A remote that opened a feed and waits for our answer. */
interface Pending {
  readonly answered: Promise<void>
  readonly answer: () => void
}

/** See the module comment. */
export class Connection implements Link {
  readonly name: string
  readonly remotePublicKey: Uint8Array | null
  readonly initiator: boolean
  onreadable: () => void = () => {}
  ondrain: () => void = () => {}

  readonly #transport: TransportConnection
  readonly #stream: FramedStream
  readonly #handshakeHash: Uint8Array
  readonly #clock: Clock
  readonly #mux: Mux
  readonly #inbox = new Inbox()
  readonly #feeds = new Map<number, OpenFeed>()
  readonly #byDiscoveryKey = new Map<string, OpenFeed>()
  readonly #pending = new Map<string, Pending>()
  readonly #liveness: Liveness | null = null
  readonly #stopLooking: () => void = () => {}
  #stopClosing: () => void = () => {}
  #nextNumber = 0
  /** The feed whose open message is held back so that its first messages leave in the same frame. */
  #opening: OpenFeed | null = null
  /** True if it is held back by a cork. */
  #corked = false
  /** Small frames that wait for others. */
  readonly #joined = new JoinedFrame()
  /** True if frames of one turn are joined: the remote answers what it finds in one of them bit by bit. */
  #joins = false
  #outboxBytes = 0
  /** Bytes of what waits there and is no answer; answers stop by themselves, see OUTBOX_BYTES_MAX. */
  #chatterBytes = 0
  #bytesSent = 0
  #frames = 0
  /** True while what is sent is held back until the end of the turn. */
  #gathering = false
  /** True once the remote was told what we are. */
  #introduced = false
  #loopPaused = false
  #held = false
  #pausedLately = false
  /** Nothing but `disconnected` follows. */
  #terminated = false
  #disconnected = false
  #sawEnd = false
  #error: unknown = null

  /**
   * @param transport - its handshake is done.
   * @throws SynclineError BAD_ARGUMENT if it is not.
   */
  constructor(transport: TransportConnection, options: ConnectionOptions = {}) {
    const { stream } = transport
    if (stream.handshakeHash === null) {
      throw new SynclineError('BAD_ARGUMENT', `${transport.address}: the handshake is not done`)
    }
    this.#transport = transport
    this.#stream = stream
    this.#handshakeHash = stream.handshakeHash
    this.#clock = options.clock ?? systemClock
    this.initiator = stream.isInitiator
    this.remotePublicKey = stream.remotePublicKey
    this.name = nameOf(transport)
    this.#mux = new Mux(
      stream,
      (error) => this.#fail(badMessage(error)),
      (bytes) => {
        this.#count(bytes)
        this.#countChatter(bytes)
      }
    )
    stream.on('data', this.#ondata)
    stream.on('drain', this.#ondrain)
    stream.on('end', this.#onend)
    stream.on('error', this.#onerror)
    stream.on('close', this.#onclose)
    if (this.#mux.created) {
      this.#mux.pairAll(this.#onpair)
      if (stream.keepAlive === 0) stream.setKeepAlive(KEEPALIVE_MS)
    }
    if (transport.owned) {
      this.#liveness = new Liveness(this.#vitals(), this.#clock.now())
      this.#stopLooking = setRepeating(this.#clock, () => this.#look(), KEEPALIVE_MS)
    }
    if (stream.destroying) queueMicrotask(this.#onclose)
  }

  receive(limit: number): Received[] {
    for (const frame of this.#inbox.returned()) this.#stream.release?.(frame)
    const items = this.#inbox.take(limit)
    this.#flow()
    return items
  }

  open(feed: { readonly key: Uint8Array; readonly discoveryKey: Uint8Array }): number {
    const id = toHex(feed.discoveryKey)
    if (this.#terminated || this.#byDiscoveryKey.has(id)) return -1
    if (this.#feeds.size >= CHANNELS_MAX) return -1
    this.#sendOpening()
    const open: OpenFeed = { number: this.#nextNumber, id, key: feed.key, channel: null }
    const channel = this.#mux.channel(feed.discoveryKey, {
      onopen: (remote) => this.#onchannelopen(open, remote),
      onmessage: (message) => this.#onmessage(open, message),
      onbatch: (frame, start, end) => this.#onbatch(open, frame, start, end),
      onclose: () => this.#onchannelclose(open),
      onbad: (error) => this.#fail(badMessage(error)),
      over: () => this.#terminated
    })
    if (channel === null) return -1
    open.channel = channel
    this.#nextNumber++
    this.#feeds.set(open.number, open)
    this.#byDiscoveryKey.set(id, open)
    this.#opening = open
    if (!this.#mux.created) {
      this.#corked = true
      this.#mux.cork()
    }
    queueMicrotask(() => {
      if (this.#opening === open) this.#sendOpening()
    })
    const capability = capabilityOf(this.initiator, feed.key, this.#handshakeHash)
    const frame = this.#mux.open(channel, { seeks: true, capability })
    if (frame !== null) this.#write(frame)
    this.#answer(id)
    return open.number
  }

  close(channel: number): void {
    const open = this.#feeds.get(channel)
    if (open === undefined) return
    this.#sendOpening()
    this.#sendJoined()
    this.#forget(open)
    open.channel?.close()
  }

  reject(discoveryKey: Uint8Array): void {
    this.#answer(toHex(discoveryKey))
  }

  watch(discoveryKey: Uint8Array): void {
    if (!this.#transport.owned && !this.#terminated) this.#mux.pair(discoveryKey, this.#onpair)
  }

  unwatch(discoveryKey: Uint8Array): void {
    if (!this.#transport.owned) this.#mux.unpair(discoveryKey)
  }

  send(channel: number, messages: readonly Outgoing[]): number {
    const open = this.#feeds.get(channel)
    const target = open?.channel
    if (open === undefined || target === null || target === undefined || target.closed) return 0
    if (messages.length === 0 || this.#terminated) return 0
    if (this.#opening !== null && this.#opening !== open) this.#sendOpening()
    if (this.#mux.corked) {
      const singles = messages.flatMap(singlesOf)
      for (const message of singles) this.#mux.gather(target, typeNumber(message), message)
      const bytes = byteLengthOf(singles)
      this.#bytesSent += bytes
      if (this.#opening === open) {
        this.#sendOpening()
        this.#count(bytes)
      }
      return bytes
    }
    const type = messages[0]?.type
    const bytes = writeFrames(
      target._localId,
      messages,
      (byteLength) => this.#room(byteLength),
      (frame) => {
        this.#write(frame)
        this.#bytesSent += frame.byteLength
        if (type !== 'data' && type !== 'values') this.#countChatter(frame.byteLength)
      }
    )
    if (this.#opening === open) this.#sendOpening()
    return bytes
  }

  get outboxBytes(): number {
    return this.#outboxBytes
  }

  bytesReceived(): number {
    return this.#transport.rawBytesRead()
  }

  bytesSent(): number {
    return this.#bytesSent
  }

  pause(paused: boolean): void {
    this.#loopPaused = paused
    this.#flow()
  }

  terminate(error: SynclineError | null): void {
    if (this.#terminated) return
    this.#sendOpening()
    this.#sendJoined()
    this.#terminated = true
    this.#error ??= error
    this.#inbox.clear()
    this.#flow()
    this.#mux.unpairAll()
    if (this.#transport.owned) this.#endStream(error)
    else this.#leaveStream(error)
  }

  #endStream(error: SynclineError | null): void {
    if (error !== null) {
      this.#stream.destroy()
      return
    }
    this.#sawEnd = true
    this.#stream.end()
    this.#stopClosing = this.#clock.setTimer(() => this.#stream.destroy(), CLOSE_TIMEOUT_MS)
  }

  #leaveStream(error: SynclineError | null): void {
    for (const open of [...this.#feeds.values()]) {
      this.#forget(open)
      if (open.channel?.closed === false) open.channel.close()
    }
    for (const { answer } of this.#pending.values()) answer()
    this.#pending.clear()
    if (this.#mux.created && !this.#mux.shared) {
      this.#endStream(error)
      return
    }
    queueMicrotask(() => this.#disconnect(error))
  }

  /** A fault of the peer's, or of the stream. */
  #fail(error: SynclineError): void {
    this.terminate(error)
  }

  #disconnect(error: SynclineError | null): void {
    if (this.#disconnected) return
    this.#disconnected = true
    this.#terminated = true
    this.#stopLooking()
    this.#stopClosing()
    const stream = this.#stream
    stream.off('data', this.#ondata)
    stream.off('drain', this.#ondrain)
    stream.off('end', this.#onend)
    stream.off('close', this.#onclose)
    this.#feeds.clear()
    this.#byDiscoveryKey.clear()
    this.#push({ type: 'disconnected', error })
  }

  /** Sends the open message that was held back, with what was sent since. */
  #sendOpening(): void {
    if (this.#opening === null) return
    this.#opening = null
    if (this.#corked) {
      this.#corked = false
      this.#mux.uncork()
    } else if (!this.#joins) this.#sendJoined()
  }

  /** Room for a frame that {@link Connection.#write} takes. */
  #room(byteLength: number): Uint8Array {
    return this.#waits(byteLength) ? new Uint8Array(byteLength) : this.#stream.alloc(byteLength)
  }

  /** True if a frame of so many bytes waits for others. */
  #waits(byteLength: number): boolean {
    return (this.#joins || this.#opening !== null) && byteLength <= JOINING_BYTES_MAX
  }

  /** Sends a frame, in its turn. */
  #write(frame: Uint8Array): void {
    this.#gather()
    if (!this.#waits(frame.byteLength)) {
      this.#sendJoined()
      this.#mux.write(frame)
      this.#count(frame.byteLength)
      return
    }
    if (!this.#joined.hasRoom(frame.byteLength)) this.#sendJoined()
    this.#joined.add(frame)
  }

  #sendJoined(): void {
    const { byteLength } = this.#joined
    if (byteLength === 0) return
    const frame = this.#stream.alloc(byteLength)
    this.#joined.moveTo(frame)
    this.#mux.write(frame)
    this.#count(byteLength)
  }

  /** Frames of one turn leave by one call of the system, where the raw stream can hold writes back. */
  #gather(): void {
    if (this.#gathering || !this.#transport.owned) return
    this.#gathering = true
    const raw = this.#stream.rawStream as { cork?(): void; uncork?(): void } | null
    raw?.cork?.()
    this.#clock.soon(() => {
      this.#gathering = false
      if (!this.#terminated) this.#sendJoined()
      raw?.uncork?.()
    })
  }

  /** Bytes went to the stream; they wait there if it says so. */
  #count(bytes: number): void {
    if (!this.#mux.drained || this.#outboxBytes > 0) this.#outboxBytes += bytes
  }

  /** Every request of a remote that never reads could have its refusal in our memory. */
  #countChatter(bytes: number): void {
    if (this.#outboxBytes === 0) return
    this.#chatterBytes += bytes + FRAME_WEIGHT_BYTES
    if (this.#chatterBytes <= OUTBOX_CHATTER_BYTES_MAX) return
    this.#fail(new SynclineError('TOO_MANY', `${this.name} asks and does not read`))
  }

  #push(item: Received): void {
    const first = this.#inbox.count === 0
    this.#inbox.push(item)
    if (this.#inbox.messages > INBOX_BURST_MAX) {
      this.#fail(new SynclineError('TOO_MANY', `${INBOX_BURST_MAX} messages at once`))
      return
    }
    if (this.#inbox.full) this.#flow()
    if (first) this.onreadable()
  }

  /** Stops or continues reading. */
  #flow(): void {
    const hold = !this.#terminated && (this.#loopPaused || this.#inbox.full)
    if (hold) {
      this.#pausedLately = true
      this.#held = true
      // Said again each time, because Protomux resumes the stream for reasons of its own.
      this.#stream.pause()
    } else if (this.#held) {
      this.#held = false
      if (!this.#mux.paused) this.#stream.resume()
    }
  }

  #onchannelopen(open: OpenFeed, remote: Handshake): void {
    if (this.#terminated) return
    const expected = capabilityOf(!this.initiator, open.key, this.#handshakeHash)
    if (!Buffer.from(expected).equals(remote.capability)) {
      this.#fail(
        new SynclineError('BAD_CAPABILITY', `${this.name} does not know the key of a feed`, {
          feed: open.id,
          peer: this.name
        })
      )
      return
    }
    this.#push({ type: 'channel-open', channel: open.number })
    this.#introduce(open)
  }

  /** Says once, in an extension message that others ignore, that requests are read in runs here. */
  #introduce(open: OpenFeed): void {
    if (this.#introduced || !this.#mux.created) return
    this.#introduced = true
    this.send(open.number, [{ type: 'extension', name: RUNS_EXTENSION, message: NO_BYTES }])
  }

  #onmessage(open: OpenFeed, message: Message): void {
    if (this.#terminated) return
    if (message.type === 'extension' && message.name === RUNS_EXTENSION) {
      this.#joins = this.#mux.created && this.#transport.owned
      this.#push({ type: 'reads-runs' })
      return
    }
    const channel = open.number
    const values = message.type === 'data' ? runOfData(message) : null
    const requests = message.type === 'request' ? runOfRequest(message) : null
    if (values !== null) this.#push({ type: 'values', channel, run: values })
    else if (requests !== null) this.#push({ type: 'requests', channel, run: requests })
    else this.#push({ type: 'message', channel, message })
  }

  #onbatch(open: OpenFeed, frame: Uint8Array, start: number, end: number): number {
    const channel = open.number
    const read = kernel.readPays(frame, start, end) ? kernel.readRuns : readRuns
    return read(frame, start, end, {
      values: (run) => {
        if (!this.#terminated) this.#push({ type: 'values', channel, run })
      },
      requests: (run) => {
        if (!this.#terminated) this.#push({ type: 'requests', channel, run })
      }
    })
  }

  #onchannelclose(open: OpenFeed): void {
    // Ours are forgotten first; those that fall with the stream are covered by `disconnected`.
    if (!this.#forget(open) || this.#terminated || this.#stream.destroying) return
    this.#push({ type: 'channel-close', channel: open.number })
  }

  #forget(open: OpenFeed): boolean {
    if (this.#byDiscoveryKey.get(open.id) === open) this.#byDiscoveryKey.delete(open.id)
    return this.#feeds.delete(open.number)
  }

  #onpair = (discoveryKey: Uint8Array | null): Promise<void> | undefined => {
    if (this.#terminated || discoveryKey?.byteLength !== 32) return undefined
    const id = toHex(discoveryKey)
    if (this.#byDiscoveryKey.has(id)) {
      this.#fail(
        new SynclineError('DUPLICATE_OPEN', `${this.name} opened a feed that is open`, {
          feed: id,
          peer: this.name
        })
      )
      return undefined
    }
    const pending = this.#pending.get(id)
    if (pending !== undefined) return pending.answered
    if (this.#feeds.size + this.#pending.size >= CHANNELS_MAX) return undefined
    const answers: (() => void)[] = []
    const answered = new Promise<void>((resolve) => answers.push(resolve))
    this.#pending.set(id, { answered, answer: () => answers[0]?.() })
    this.#push({ type: 'wanted', discoveryKey })
    return answered
  }

  #answer(id: string): void {
    this.#pending.get(id)?.answer()
    this.#pending.delete(id)
  }

  #ondata = (frame: Uint8Array): void => {
    if (frame.byteLength > 0) this.#frames++
    if (this.#mux.keeps || this.#stream.release === undefined) return
    if (!this.#inbox.lend(frame)) this.#stream.release(frame)
  }

  #ondrain = (): void => {
    if (this.#outboxBytes === 0) return
    this.#outboxBytes = 0
    this.#chatterBytes = 0
    this.ondrain()
  }

  #onend = (): void => {
    this.#sawEnd = true
  }

  #onerror = (error: unknown): void => {
    this.#error ??= error
  }

  #onclose = (): void => {
    this.#disconnect(this.#reason())
  }

  #reason(): SynclineError | null {
    const error = this.#error
    if (isSynclineError(error)) return error
    if (error !== null) {
      const text = error instanceof Error ? error.message : 'the stream failed'
      const details = { peer: this.name }
      return new SynclineError('CONNECTION_FAILED', `${this.name}: ${text}`, details, error)
    }
    // What the user does with a stream of theirs is in order.
    if (this.#sawEnd || !this.#transport.owned) return null
    return new SynclineError('CONNECTION_FAILED', `${this.name}: closed without an end`, {
      peer: this.name
    })
  }

  #look(): void {
    const error = this.#liveness?.look(this.#vitals(), this.#clock.now()) ?? null
    this.#pausedLately = this.#held
    if (error !== null) this.#fail(error)
  }

  #vitals(): Vitals {
    return {
      rawBytesRead: this.#transport.rawBytesRead(),
      rawBytesWritten: this.#transport.rawBytesWritten(),
      frameBytesRead: this.#stream.rawBytesRead,
      frames: this.#frames,
      waiting: this.#outboxBytes > 0 || !this.#mux.drained,
      paused: this.#pausedLately || this.#mux.paused
    }
  }
}

function badMessage(error: unknown): SynclineError {
  if (isSynclineError(error)) return error
  const text = error instanceof Error ? error.message : 'unreadable bytes'
  return new SynclineError('BAD_MESSAGE', text, {}, error)
}

function nameOf({ address, stream }: TransportConnection): string {
  if (stream.remotePublicKey === null) return address
  const key = toHex(stream.remotePublicKey)
  return address.endsWith(key) ? address : `${address} ${key}`
}
