/**
 * One end of a connection in memory. Messages are really encoded and decoded, feeds are paired as Protomux
 * pairs them, and lent bytes are spoilt once they may not be read any more.
 *
 * @module
 */
import { isSynclineError, SynclineError } from '../../lib/errors.ts'
import { type Outgoing, singlesOf } from '../../lib/synchronizer/frame.ts'
import type { Link, Received } from '../../lib/synchronizer/link.ts'
import { decodeMessage, encodeMessage } from '../../lib/wire/codec.ts'
import { MESSAGE_TYPES, type Message } from '../../lib/wire/message.ts'
import { readRuns, runOfData, runOfRequest, writeUint } from '../../lib/wire/run.ts'
import type { Direction } from './network.ts'

/** What travels in one piece. */
export type Frame =
  | { readonly type: 'open'; readonly channel: number; readonly id: string }
  | { readonly type: 'reject'; readonly channel: number }
  | { readonly type: 'close'; readonly channel: number }
  | { readonly type: 'messages'; readonly channel: number; readonly messages: readonly Encoded[] }
  | { readonly type: 'end' }

/** A message on its way. */
export interface Encoded {
  readonly type: number
  readonly bytes: Uint8Array
}

interface Channel {
  readonly number: number
  readonly id: string
  /** The remote's number for it, once it opened too. */
  remote: number
}

type Waiting =
  | Exclude<Received, { type: 'message' | 'values' | 'requests' }>
  | { readonly type: 'encoded'; readonly channel: number; readonly message: Encoded }

/** See the module comment. */
export class SimLink implements Link {
  readonly name: string
  readonly remotePublicKey: Uint8Array
  readonly initiator: boolean
  /** Carries what this end sends. */
  readonly #out: Direction
  /** Changes messages before they leave, as a liar does. */
  readonly #mutate: (messages: readonly Message[]) => readonly Message[]
  readonly #channels = new Map<number, Channel>()
  readonly #byId = new Map<string, Channel>()
  readonly #byRemote = new Map<number, Channel>()
  /** Feeds that the remote opened and we did not yet, with what it sent already. */
  readonly #pending = new Map<number, { readonly id: string; readonly messages: Encoded[] }>()
  #inbox: Waiting[] = []
  #lent: Uint8Array[] = []
  #next = 1
  #over = false
  #gone = false
  onreadable: () => void = () => {}
  ondrain: () => void = () => {}

  constructor(options: {
    readonly name: string
    readonly remotePublicKey: Uint8Array
    readonly initiator: boolean
    readonly out: Direction
    readonly mutate?: (messages: readonly Message[]) => readonly Message[]
  }) {
    this.name = options.name
    this.remotePublicKey = options.remotePublicKey
    this.initiator = options.initiator
    this.#out = options.out
    this.#mutate = options.mutate ?? ((messages) => messages)
    this.#out.ondrain = () => {
      if (!this.#over) this.ondrain()
    }
  }

  receive(limit: number): Received[] {
    for (const bytes of this.#lent) bytes.fill(0xa5)
    this.#lent = []
    const items: Received[] = []
    // A run is one item: fewer than `limit` say that there is no more.
    while (items.length < limit) {
      const item = this.#inbox.shift()
      if (item === undefined) break
      if (item.type !== 'encoded') {
        items.push(item)
        continue
      }
      const batch = [item.message]
      while (items.length + batch.length < limit) {
        const next = this.#inbox[0]
        if (next?.type !== 'encoded' || next.channel !== item.channel) break
        batch.push(next.message)
        this.#inbox.shift()
      }
      try {
        this.#decode(item.channel, batch, items)
      } catch (error) {
        if (!isSynclineError(error, 'BAD_MESSAGE')) throw error
        this.terminate(error)
        break
      }
    }
    return items
  }

  /** Reads messages as they come in one frame: what can be is taken in runs. */
  #decode(channel: number, batch: readonly Encoded[], items: Received[]): void {
    let byteLength = 0
    for (const { bytes } of batch) byteLength += 6 + bytes.byteLength
    const frame = new Uint8Array(byteLength)
    const ends: number[] = []
    let end = 0
    for (const { type, bytes } of batch) {
      end = writeUint(frame, end, bytes.byteLength + 1)
      frame[end] = type
      frame.set(bytes, end + 1)
      end += 1 + bytes.byteLength
      ends.push(end)
    }
    this.#lent.push(frame)
    for (let at = 0; at < end;) {
      at = readRuns(frame, at, end, {
        values: (run) => items.push({ type: 'values', channel, run }),
        requests: (run) => items.push({ type: 'requests', channel, run })
      })
      if (at === end) break
      const place = at === 0 ? 0 : ends.indexOf(at) + 1
      const { type, bytes } = batch[place] as Encoded
      at = ends[place] as number
      const message = decodeMessage(type, frame.subarray(at - bytes.byteLength, at))
      items.push(itemOf(channel, message))
    }
  }

  open(feed: { readonly key: Uint8Array; readonly discoveryKey: Uint8Array }): number {
    const id = Buffer.from(feed.discoveryKey).toString('hex')
    if (this.#over || this.#byId.has(id)) return -1
    const channel: Channel = { number: this.#next++, id, remote: -1 }
    this.#channels.set(channel.number, channel)
    this.#byId.set(id, channel)
    this.#out.carry({ type: 'open', channel: channel.number, id }, 85)
    for (const [remote, pending] of this.#pending) {
      if (pending.id !== id) continue
      this.#pending.delete(remote)
      this.#pair(channel, remote)
      for (const message of pending.messages) {
        this.#push({ type: 'encoded', channel: channel.number, message })
      }
      break
    }
    return channel.number
  }

  close(number: number): void {
    const channel = this.#channels.get(number)
    if (channel === undefined) return
    this.#forget(channel)
    this.#out.carry({ type: 'close', channel: number }, 4)
  }

  reject(discoveryKey: Uint8Array): void {
    const id = Buffer.from(discoveryKey).toString('hex')
    for (const [remote, pending] of this.#pending) {
      if (pending.id !== id) continue
      this.#pending.delete(remote)
      this.#out.carry({ type: 'reject', channel: remote }, 4)
    }
  }

  watch(): void {}

  unwatch(): void {}

  send(number: number, messages: readonly Outgoing[]): number {
    if (this.#over || !this.#channels.has(number)) return 0
    const encoded: Encoded[] = []
    let byteLength = 0
    for (const message of this.#mutate(messages.flatMap(singlesOf))) {
      const bytes = encodeMessage(message)
      encoded.push({ type: MESSAGE_TYPES.indexOf(message.type), bytes })
      byteLength += bytes.byteLength + 4
    }
    for (const [frame, size] of this.#out.faults(number, encoded)) this.#out.carry(frame, size)
    return byteLength
  }

  get outboxBytes(): number {
    return this.#out.waitingBytes
  }

  bytesReceived(): number {
    return this.#out.opposite.arrivedBytes
  }

  bytesSent(): number {
    return this.#out.bytes
  }

  pause(): void {}

  terminate(error: SynclineError | null): void {
    if (this.#over) return
    this.#over = true
    this.#inbox = []
    if (error === null) this.#out.carry({ type: 'end' }, 4)
    else this.#out.destroy()
    this.#disconnect(error)
  }

  /** Takes in what the remote sent. */
  arrive(frame: Frame): void {
    if (this.#over) return
    switch (frame.type) {
      case 'open': {
        const channel = this.#byId.get(frame.id)
        if (channel !== undefined && channel.remote === -1) {
          this.#pair(channel, frame.channel)
          return
        }
        this.#pending.set(frame.channel, { id: frame.id, messages: [] })
        // While our close of an older channel is on its way, the remote may open anew: then it is wanted anew.
        this.#push({ type: 'wanted', discoveryKey: Uint8Array.from(Buffer.from(frame.id, 'hex')) })
        return
      }
      case 'reject': {
        const channel = this.#channels.get(frame.channel)
        if (channel === undefined || channel.remote !== -1) return
        this.#forget(channel)
        this.#push({ type: 'channel-close', channel: channel.number })
        return
      }
      case 'close': {
        this.#pending.delete(frame.channel)
        const channel = this.#byRemote.get(frame.channel)
        if (channel === undefined) return
        this.#forget(channel)
        this.#push({ type: 'channel-close', channel: channel.number })
        return
      }
      case 'messages': {
        const channel = this.#byRemote.get(frame.channel)
        if (channel === undefined) {
          this.#pending.get(frame.channel)?.messages.push(...frame.messages)
          return
        }
        for (const message of frame.messages) {
          this.#push({ type: 'encoded', channel: channel.number, message })
        }
        return
      }
      case 'end':
        this.lose(null)
        return
      default:
        frame satisfies never
    }
  }

  /** The connection is gone. */
  lose(error: SynclineError | null): void {
    if (this.#over) return
    this.#over = true
    this.#disconnect(error)
  }

  #disconnect(error: SynclineError | null): void {
    if (this.#gone) return
    this.#gone = true
    this.#channels.clear()
    this.#byId.clear()
    this.#byRemote.clear()
    this.#push({ type: 'disconnected', error })
  }

  #pair(channel: Channel, remote: number): void {
    // The first number of both is 1.
    if (channel.number === 1) this.#push({ type: 'reads-runs' })
    channel.remote = remote
    this.#byRemote.set(remote, channel)
    this.#push({ type: 'channel-open', channel: channel.number })
  }

  #forget(channel: Channel): void {
    this.#channels.delete(channel.number)
    if (this.#byId.get(channel.id) === channel) this.#byId.delete(channel.id)
    if (channel.remote !== -1) this.#byRemote.delete(channel.remote)
  }

  #push(item: Waiting): void {
    this.#inbox.push(item)
    if (this.#inbox.length === 1) this.onreadable()
  }
}

/** A single message as a link hands it on. */
function itemOf(channel: number, message: Message): Received {
  const values = message.type === 'data' ? runOfData(message) : null
  if (values !== null) return { type: 'values', channel, run: values }
  const requests = message.type === 'request' ? runOfRequest(message) : null
  if (requests !== null) return { type: 'requests', channel, run: requests }
  return { type: 'message', channel, message }
}

/** The error of a connection that broke. */
export function broke(message: string): SynclineError {
  return new SynclineError('CONNECTION_FAILED', message)
}
