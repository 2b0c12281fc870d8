/**
 * Connections between nodes: how long bytes take, which messages vanish, when a connection breaks.
 *
 * @module
 */
import type { Message } from '../../lib/wire/message.ts'
import { MESSAGE_TYPES } from '../../lib/wire/message.ts'
import type { VirtualClock } from './clock.ts'
import { broke, type Encoded, type Frame, SimLink } from './link.ts'
import type { Prng } from './prng.ts'

/** How one direction of a connection behaves. */
export interface Conditions {
  latencyMs: number
  jitterMs: number
  /** 0 is without limit. */
  bytesPerSecond: number
  /** Probability that a request, an answer or a cancel vanishes. */
  loss: number
  /** Probability that an answer is given later than those after it. */
  reorder: number
}

/** A connection without faults. */
export const GOOD: Conditions = {
  latencyMs: 5,
  jitterMs: 0,
  bytesPerSecond: 0,
  loss: 0,
  reorder: 0
}

/** Milliseconds of silence after which an end takes a connection for dead, as the real one does. */
const SILENCE_MS = 15_000

const LOSSY = new Set(['request', 'data', 'no-data', 'cancel'])
const ANSWERS = new Set(['data', 'no-data'])

/** One direction of a connection. */
export class Direction {
  readonly #clock: VirtualClock
  readonly #prng: Prng
  readonly #tap: (type: Message['type'], bytes: Uint8Array) => void
  readonly conditions: Conditions
  opposite: Direction = this
  receiver: SimLink | null = null
  ondrain: () => void = () => {}
  bytes = 0
  #arrived = 0
  /** What is being carried: it arrives bit by bit between the two times. */
  readonly #under: { readonly from: number; readonly to: number; readonly size: number }[] = []
  #busyUntil = 0
  #lastArrival = 0
  #stalledUntil = 0
  #cut = false

  constructor(
    clock: VirtualClock,
    prng: Prng,
    conditions: Conditions,
    tap: (type: Message['type'], bytes: Uint8Array) => void
  ) {
    this.#clock = clock
    this.#prng = prng
    this.conditions = { ...conditions }
    this.#tap = tap
  }

  /** What becomes of messages that are to be sent together. */
  faults(channel: number, messages: readonly Encoded[]): [frame: Frame, size: number][] {
    const { loss, reorder } = this.conditions
    const kept: Encoded[] = []
    for (const message of messages) {
      const type = MESSAGE_TYPES[message.type] as string
      if (loss > 0 && LOSSY.has(type) && this.#prng.chance(loss)) continue
      if (reorder > 0 && ANSWERS.has(type) && this.#prng.chance(reorder)) {
        const late: Frame = { type: 'messages', channel, messages: [message] }
        this.#clock.setTimer(() => this.carry(late, sizeOf([message])), this.#prng.int(1, 300))
        continue
      }
      kept.push(message)
    }
    if (kept.length === 0) return []
    return [[{ type: 'messages', channel, messages: kept }, sizeOf(kept)]]
  }

  /** Carries a frame to the other end, behind those before it. */
  carry(frame: Frame, size: number): void {
    if (this.#cut) return
    const now = this.#clock.now()
    const { latencyMs, jitterMs, bytesPerSecond } = this.conditions
    const begin = Math.max(now, this.#busyUntil)
    this.#busyUntil = bytesPerSecond === 0 ? begin : begin + (1000 * size) / bytesPerSecond
    this.bytes += size
    if (frame.type === 'messages') {
      for (const { type, bytes } of frame.messages)
        this.#tap(MESSAGE_TYPES[type] as Message['type'], bytes)
    }
    const jitter = jitterMs === 0 ? 0 : this.#prng.next() * jitterMs
    const delay = latencyMs + jitter
    const to = Math.max(this.#busyUntil + delay, this.#lastArrival, this.#stalledUntil)
    const from = Math.min(to, Math.max(begin + delay, this.#lastArrival, this.#stalledUntil))
    this.#lastArrival = to
    this.#under.push({ from, to, size })
    this.#clock.at(to, () => this.#arrive(frame))
    if (this.#busyUntil > now) {
      const until = this.#busyUntil
      this.#clock.at(until, () => {
        if (this.#busyUntil === until && !this.#cut) this.ondrain()
      })
    }
  }

  #arrive(frame: Frame): void {
    if (this.#cut) return
    const arrived = this.#under.shift()
    this.#arrived += arrived?.size ?? 0
    this.receiver?.arrive(frame)
  }

  /** Bytes that wait to be sent. */
  get waitingBytes(): number {
    const { bytesPerSecond } = this.conditions
    if (bytesPerSecond === 0) return 0
    const ms = Math.max(0, this.#busyUntil - this.#clock.now())
    return Math.floor((ms * bytesPerSecond) / 1000)
  }

  /** Bytes that reached the other end, parts of frames too. */
  get arrivedBytes(): number {
    const now = this.#clock.now()
    let total = this.#arrived
    for (const { from, to, size } of this.#under) {
      if (from >= now) break
      total += Math.floor((size * (now - from)) / Math.max(1, to - from))
    }
    return total
  }

  /** Holds everything back that is sent from now on, for a while. */
  stall(ms: number): void {
    this.#stalledUntil = this.#clock.now() + ms
  }

  /** Nothing arrives any more; the other end notices a little later. */
  destroy(): void {
    if (this.#cut) return
    this.#cut = true
    const { latencyMs } = this.conditions
    this.#clock.setTimer(() => this.receiver?.lose(broke('the remote broke off')), latencyMs)
  }

  /** As a cable that is pulled. */
  cut(noticedAfterMs: number): void {
    if (this.#cut) return
    this.#cut = true
    this.#clock.setTimer(() => this.receiver?.lose(broke('the connection broke')), noticedAfterMs)
  }
}

/** A connection between two nodes. */
export interface Cable {
  readonly links: readonly [SimLink, SimLink]
  readonly directions: readonly [Direction, Direction]
}

/** One end of a cable to be. */
export interface End {
  readonly name: string
  readonly publicKey: Uint8Array
  readonly mutate: ((messages: readonly Message[]) => readonly Message[]) | null
}

/** A message that is being carried. */
export interface Carried {
  readonly from: string
  readonly to: string
  /** Number of the connection. */
  readonly cable: number
  readonly type: Message['type']
  readonly bytes: Uint8Array
}

/** Makes connections. */
export class Network {
  readonly #clock: VirtualClock
  readonly #prng: Prng
  /** Sees every message that is carried. */
  ontap: (carried: Carried) => void = () => {}
  #cables = 0

  constructor(clock: VirtualClock, prng: Prng) {
    this.#clock = clock
    this.#prng = prng
  }

  connect(one: End, other: End, conditions: Conditions): Cable {
    const cable = this.#cables++
    const make = (from: End, to: End): Direction =>
      new Direction(this.#clock, this.#prng, conditions, (type, bytes) =>
        this.ontap({ from: from.name, to: to.name, cable, type, bytes })
      )
    const directions = [make(one, other), make(other, one)] as const
    directions[0].opposite = directions[1]
    directions[1].opposite = directions[0]
    const link = (at: 0 | 1): SimLink => {
      const [own, remote] = at === 0 ? [one, other] : [other, one]
      return new SimLink({
        name: remote.name,
        remotePublicKey: remote.publicKey,
        initiator: at === 0,
        out: directions[at],
        ...(own.mutate === null ? {} : { mutate: own.mutate })
      })
    }
    const links = [link(0), link(1)] as const
    directions[0].receiver = links[1]
    directions[1].receiver = links[0]
    return { links, directions }
  }

  /** Breaks a cable; each end notices at a time of its own, at the latest by its silence. */
  cut(cable: Cable): void {
    for (const direction of cable.directions) {
      direction.cut(this.#prng.chance(0.8) ? this.#prng.int(0, 500) : SILENCE_MS)
    }
  }

  /** Stalls one or both directions; what lasts too long breaks the cable. */
  stall(cable: Cable, ms: number, both: boolean): void {
    cable.directions[0].stall(ms)
    if (both) cable.directions[1].stall(ms)
    if (ms > SILENCE_MS) {
      this.#clock.setTimer(() => {
        for (const direction of cable.directions) direction.cut(0)
      }, SILENCE_MS)
    }
  }
}

function sizeOf(messages: readonly Encoded[]): number {
  let size = 3
  for (const { bytes } of messages) size += bytes.byteLength + 4
  return size
}
