/**
 * The one place that knows Protomux: many channels on one encrypted stream, ours and others'.
 *
 * @module
 */
import Protomux, {
  type Channel,
  type ChannelMessage,
  type ChannelName,
  type ChannelOptions,
  type MessageOptions
} from 'protomux'
import { SynclineError } from '../errors.ts'
import {
  CHANNELS_MAX,
  FRAME_BYTES_MAX,
  JOINED_FRAME_BYTES_MAX,
  PENDING_BYTES_MAX
} from '../limits.ts'
import type { FramedStream } from '../transport/transport.ts'
import { decodeUint } from '../wire/field.ts'
import { uintBytes, writeUint } from '../wire/run.ts'
import { sectionEnd } from './joined-frame.ts'
import {
  handshake as handshakeCodec,
  messageCodecs,
  type Codec,
  type CodecState
} from '../wire/codec.ts'
import type { Handshake, Message } from '../wire/message.ts'

export type { Channel } from 'protomux'

const PROTOCOL = 'hypercore/alpha'
/** Type of Protomux's message that closes a channel. */
const CLOSE = 3
/** The name before the current one; a channel answers to both. */
const ALIASES: readonly string[] = ['hypercore']

/** Answers a remote that opens a feed; what it returns is awaited before the remote is rejected. */
export type OnPair = (discoveryKey: Uint8Array | null) => Promise<void> | undefined

// oxlint-disable-next-line typescript/no-explicit-any -- whatever Protomux calls
type Handler = (...args: any[]) => unknown

/** What happens on a channel. */
export interface ChannelHandlers {
  /** The remote opened too. */
  readonly onopen: (handshake: Handshake) => void
  readonly onmessage: (message: Message) => void
  /**
   * Entries of a batch for this channel lie in `[start, end)`. Those that it takes need not be decoded one by one.
   * Returns where the first one that is left begins. Called only where the mux is ours.
   */
  readonly onbatch: (frame: Uint8Array, start: number, end: number) => number
  readonly onclose: (isRemote: boolean) => void
  /** The remote sent something that is no message. */
  readonly onbad: (error: unknown) => void
  /** True once nothing is wanted any more; the rest of a frame, which may be millions of messages, is not decoded then. */
  readonly over: () => boolean
}

/**
 * Protomux rethrows native errors (RangeError, TypeError) that a peer's bytes provoke, as uncaught exceptions. Here
 * every error goes to `report`, and the stream ends because nothing after it can be read. Only what handlers of somebody
 * else's channels throw goes the way of Protomux: it is no fault of the peer.
 */
class GuardedMux extends Protomux {
  report: (error: unknown) => void = () => {}
  /** Hears of the bytes of each frame that Protomux wrote by itself: a refusal, or a close. */
  onwrote: (byteLength: number) => void = () => {}
  /** True if a channel of somebody else's wants to hear that the stream drained. */
  #tellsDrained = false
  /** True if somebody keeps bytes of the frame that came last. */
  keeps = false
  /** Remote numbers of channels that were closed before they were answered, which Protomux would forget. */
  readonly #closedEarly = new Set<number>()
  /** Takes the next control message that would be sent. */
  #capture: ((frame: Uint8Array) => void) | null = null
  /** What handlers of somebody else's threw. */
  readonly #thrown = new WeakSet<object>()

  override createChannel(options: ChannelOptions): Channel | null {
    if (options.ondrain !== undefined) this.#tellsDrained = true
    const ours = options.handshake instanceof GuardedHandshake
    const channel = super.createChannel(ours ? options : this.#observed(options))
    if (channel !== null && !ours) {
      const add = channel.addMessage.bind(channel)
      channel.addMessage = (message) => add(this.#observedMessage(message))
    }
    if (channel !== null && this.#closedEarly.delete(channel._remoteId)) {
      // The remote closed it long ago, and may use its number again as soon as it hears of our open.
      void channel.fullyOpened().then(() => channel._close(true))
    }
    return channel
  }

  /** Opens a channel and returns the frame that has to be sent for it. Only while not corked. */
  openFrame(channel: Channel, handshake: Handshake): Uint8Array {
    let opened: Uint8Array = new Uint8Array(0)
    this.#capture = (frame) => {
      opened = frame
    }
    channel.open(handshake)
    this.#capture = null
    return opened
  }

  override _write0(frame: Uint8Array): void {
    if (this.#capture !== null) {
      this.#capture(frame)
      return
    }
    super._write0(frame)
    this.onwrote(frame.byteLength)
  }

  override _ondata(frame: Uint8Array): void {
    this.keeps = false
    super._ondata(frame)
  }

  /** Messages wait until a channel is open here too, and those of others are theirs. */
  override _decode(
    remote: number,
    state: { start: number; end: number; buffer: Uint8Array | null }
  ): unknown {
    const slot = remote === 0 ? null : (this._remote[remote - 1] ?? null)
    if (slot !== null && (slot.pending !== null || handlersOf(slot.session) === null)) {
      this.keeps = true
    }
    const result = super._decode(remote, state)
    // Protomux stops reading long before, but takes what came in one frame as a whole.
    if (this._buffered > PENDING_BYTES_MAX) {
      throw new SynclineError('TOO_MANY', 'too much came before a channel was open')
    }
    return result
  }

  /** Asks no channel that has nothing to say: there may be thousands, and a busy stream drains often. */
  override _ondrain(): void {
    if (this.#tellsDrained) super._ondrain()
    else this.drained = true
  }

  override _onopensession(state: { start: number; end: number; buffer: Uint8Array }): unknown {
    // Protomux keeps the name of the channel.
    this.keeps = true
    // Each rejected open may leave an empty slot behind.
    if (this._remote.length > CHANNELS_MAX) {
      throw new SynclineError('TOO_MANY', `more than ${CHANNELS_MAX} channels`)
    }
    const remote = numberAt(state)
    this.#closedEarly.delete(remote)
    const result = super._onopensession(state)
    // An open that answers one of ours which we closed meanwhile is ignored. A remote that did not answer before our
    // close came has forgotten the close: without another one it ends the connection when our number comes again.
    if (remote > 0 && this._remote[remote - 1] === null) this.#closeAgain()
    return result
  }

  override _onclosesession(state: { start: number; end: number; buffer: Uint8Array }): void {
    const remote = numberAt(state)
    const slot = this._remote[remote - 1] ?? null
    if (slot !== null && slot.session === null) this.#closedEarly.add(remote)
    super._onclosesession(state)
  }

  /** Says once more that the channel is closed whose number was just given back. */
  #closeAgain(): void {
    const freed = this._free.at(-1)
    if (freed === undefined) return
    const local = freed + 1
    const frame = this._alloc(2 + uintBytes(local))
    // Channel 0 is Protomux's own.
    frame[0] = 0
    frame[1] = CLOSE
    writeUint(frame, 2, local)
    this._write0(frame)
  }

  /** As Protomux reads batches, but for what a channel takes as a whole, and without holding replies back. */
  override _onbatch(state: { start: number; end: number; buffer: Uint8Array }): void {
    const { end, buffer } = state
    const isShort = buffer.byteLength <= JOINED_FRAME_BYTES_MAX
    let remote = decodeUint(state, CHANNELS_MAX, 'number of a channel')
    let section = isShort ? sectionEnd(buffer, state.start, end) : end
    while (state.start < end) {
      const slot = this._remote[remote - 1] ?? null
      const open = slot?.pending === null ? handlersOf(slot.session) : null
      const over = open?.over() === true
      // Millions of entries may follow the one for which the stream was ended.
      if (over && this.stream.destroying === true) return
      if (open !== null && !over) state.start = open.onbatch(buffer, state.start, section)
      if (state.start >= end) return
      const length = decodeUint(state, FRAME_BYTES_MAX, 'length of a message')
      if (length === 0) {
        remote = decodeUint(state, CHANNELS_MAX, 'number of a channel')
        if (isShort) section = sectionEnd(buffer, state.start, end)
        continue
      }
      const next = Math.min(state.start + length, end)
      state.end = next
      this._decode(remote, state)
      state.start = next
      state.end = end
    }
  }

  override pair(name: ChannelName, notify: OnPair): void {
    super.pair(name, this.#observedCall(notify))
  }

  /** As `pair`, for a handler of ours. */
  pairOurs(name: ChannelName, notify: OnPair): void {
    super.pair(name, notify)
  }

  /** The same, but that we know what its handlers throw. */
  #observed(options: ChannelOptions): ChannelOptions {
    const observed: Record<string, unknown> = { ...options }
    for (const event of ['onopen', 'onclose', 'ondestroy', 'ondrain']) {
      const handler = observed[event]
      if (typeof handler === 'function') observed[event] = this.#observedCall(handler as Handler)
    }
    const messages = options.messages?.map((message) => this.#observedMessage(message))
    if (messages !== undefined) observed['messages'] = messages
    return observed as unknown as ChannelOptions
  }

  #observedMessage(message: MessageOptions | null): MessageOptions | null {
    const { onmessage } = message ?? {}
    if (message === null || onmessage === undefined) return message
    return { ...message, onmessage: this.#observedCall(onmessage) }
  }

  #observedCall<Call extends Handler>(call: Call): Call {
    const note = (error: unknown): void => {
      if (typeof error === 'object' && error !== null) this.#thrown.add(error)
    }
    const observed = function (this: unknown, ...args: unknown[]): unknown {
      try {
        const result: unknown = call.apply(this, args)
        // Heard before Protomux hears of it, which then acts on it.
        if (result instanceof Promise) result.catch(note)
        return result
      } catch (error) {
        note(error)
        throw error
      }
    }
    return observed as Handler as Call
  }

  override _safeDestroy(error: unknown): void {
    if (this.#isTheirs(error)) {
      super._safeDestroy(error)
      return
    }
    this._destroying = true
    this.report(error)
    this.stream.destroy()
  }

  override _warn(error: unknown): void {
    if (this.#isTheirs(error)) super._warn(error)
  }

  #isTheirs(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#thrown.has(error)
  }
}

/** The channels of feeds on one stream. */
export class Mux {
  /** True if nobody used a Protomux on this stream before us. */
  readonly created: boolean
  readonly #mux: Protomux
  readonly #stream: FramedStream
  /** Our pair handlers under the keys of Protomux. */
  readonly #pairs = new Map<string, OnPair>()

  /**
   * @param onerror - called when the peer's bytes break the mux itself; only on a mux that is `created`.
   * @param onwrote - hears of the bytes of frames that the mux wrote by itself; only on a mux that is `created`.
   */
  constructor(
    stream: FramedStream,
    onerror: (error: unknown) => void,
    onwrote: (byteLength: number) => void
  ) {
    this.#stream = stream
    const present = stream.userData as Protomux | null
    this.created = present?.isProtomux !== true
    if (present?.isProtomux === true) {
      this.#mux = present
    } else {
      const mux = new GuardedMux(stream)
      mux.report = onerror
      mux.onwrote = onwrote
      stream.userData = mux
      this.#mux = mux
    }
  }

  /** True while Protomux itself keeps the stream paused. */
  get paused(): boolean {
    return this.#mux._paused
  }

  /** True while messages are gathered; frames must not be written past them. */
  get corked(): boolean {
    return this.#mux.corked > 0
  }

  /** False if the last write asked to wait. */
  get drained(): boolean {
    return this.#mux.drained
  }

  /** True if bytes of the frame that came last may still be read once its messages were handled. */
  get keeps(): boolean {
    return !(this.#mux instanceof GuardedMux) || this.#mux.keeps
  }

  /** True if somebody else opened a channel or waits for one. */
  get shared(): boolean {
    for (const key of this.#mux._notify.keys()) {
      if (!this.#holds(key)) return true
    }
    // Ours are closed before this is asked.
    return [...this.#mux].length > 0
  }

  cork(): void {
    this.#mux.cork()
  }

  uncork(): void {
    this.#mux.uncork()
  }

  /**
   * Opens a channel and returns the frame that has to be sent for it; null if it is gathered with others, since the mux
   * is corked or not ours.
   */
  open(channel: Channel, handshake: Handshake): Uint8Array | null {
    if (this.#mux instanceof GuardedMux && !this.corked) {
      return this.#mux.openFrame(channel, handshake)
    }
    channel.open(handshake)
    return null
  }

  /** Gathers a message. Only while `corked`. */
  gather(channel: Channel, type: number, message: Message): void {
    const codec = messageCodecs[type] as Codec<Message>
    const state = { start: 0, end: 1, buffer: null }
    codec.preencode(state, message)
    const bytes = new Uint8Array(state.end)
    bytes[0] = type
    codec.encode({ start: 1, end: bytes.byteLength, buffer: bytes }, message)
    this.#mux._pushBatch(channel._localId, bytes)
  }

  /** Writes a frame that was built by hand. Only while not `corked`: it would overtake what was gathered. */
  write(frame: Uint8Array): void {
    this.#mux.drained = this.#stream.write(frame)
  }

  /** Hears of all feeds that the remote opens, if nobody else does. */
  pairAll(onpair: OnPair): void {
    this.#pair(null, onpair)
  }

  /** Hears of one feed, if nobody else does. */
  pair(discoveryKey: Uint8Array, onpair: OnPair): void {
    this.#pair(discoveryKey, onpair)
  }

  unpair(discoveryKey: Uint8Array): void {
    const key = pairKey(discoveryKey)
    // Whoever paired after us took the slot, and it is theirs now.
    if (this.#holds(key)) this.#mux.unpair({ protocol: PROTOCOL, id: discoveryKey })
    this.#pairs.delete(key)
  }

  /** Takes all pair handlers of ours back. */
  unpairAll(): void {
    for (const key of this.#pairs.keys()) {
      if (this.#holds(key)) this.#mux._notify.delete(key)
    }
    this.#pairs.clear()
  }

  /** Makes the channel of a feed, which is to be opened at once. Null if somebody else has it on this stream. */
  channel(discoveryKey: Uint8Array, handlers: ChannelHandlers): Channel | null {
    const mux = this.#mux
    const key = pairKey(discoveryKey)
    if (mux._notify.has(key) && !this.#holds(key)) return null
    const channel = mux.createChannel({
      protocol: PROTOCOL,
      aliases: ALIASES,
      id: discoveryKey,
      userData: handlers,
      handshake: new GuardedHandshake(handlers),
      onopen: (handshake: Handshake | null) => {
        if (handshake !== null) handlers.onopen(handshake)
      },
      onclose: handlers.onclose
    })
    if (channel !== null) channel.messages = channelMessages
    return channel
  }

  #pair(discoveryKey: Uint8Array | null, onpair: OnPair): void {
    const key = pairKey(discoveryKey)
    if (this.#mux._notify.has(key)) return
    this.#pairs.set(key, onpair)
    const name = { protocol: PROTOCOL, id: discoveryKey }
    if (this.#mux instanceof GuardedMux) this.#mux.pairOurs(name, onpair)
    else this.#mux.pair(name, onpair)
  }

  #holds(key: string): boolean {
    const mine = this.#pairs.get(key)
    return mine !== undefined && this.#mux._notify.get(key) === mine
  }
}

/** The number of a channel that a message begins with, which stays to be read. */
function numberAt({ start, end, buffer }: CodecState): number {
  return decodeUint({ start, end, buffer }, CHANNELS_MAX + 1, 'number of a channel')
}

/** The key under which Protomux keeps a pair handler. */
function pairKey(discoveryKey: Uint8Array | null): string {
  return `${PROTOCOL}##${discoveryKey === null ? '' : Buffer.from(discoveryKey).toString('hex')}`
}

/** How a channel takes messages of one type in: the same for all channels, whose handlers stand in `userData`. */
function channelMessage(codec: Codec<Message>): ChannelMessage {
  return {
    autoBatch: false,
    recv(state, channel) {
      const handlers = handlersOf(channel)
      if (handlers === null || handlers.over()) return
      let message: Message
      try {
        message = codec.decode(state)
      } catch (error) {
        handlers.onbad(error)
        return
      }
      handlers.onmessage(message)
    }
  }
}

const channelMessages: ChannelMessage[] = messageCodecs.map(channelMessage)

/** What happens on a channel of ours; null for one of somebody else's. */
function handlersOf(channel: Channel | null): ChannelHandlers | null {
  return channel?.messages === channelMessages ? (channel.userData as ChannelHandlers) : null
}

/** The handshake of a channel. What cannot be decoded is reported and not thrown into a mux that may be the user's. */
class GuardedHandshake implements Codec<Handshake | null> {
  readonly #handlers: ChannelHandlers

  constructor(handlers: ChannelHandlers) {
    this.#handlers = handlers
  }

  preencode(state: CodecState, handshake: Handshake): void {
    handshakeCodec.preencode(state, handshake)
  }

  encode(state: CodecState, handshake: Handshake): void {
    handshakeCodec.encode(state, handshake)
  }

  decode(state: CodecState): Handshake | null {
    if (this.#handlers.over()) return null
    try {
      return handshakeCodec.decode(state)
    } catch (error) {
      this.#handlers.onbad(error)
      return null
    }
  }
}
