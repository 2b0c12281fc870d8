/**
 * A synchronizer under attack, with an honest peer beside it that must not notice.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Assertions } from 'brittle'
import {
  memory,
  Synchronizer,
  type AddOptions,
  type ErrorCode,
  type Feed,
  type FeedSession,
  type Peer,
  type SynclineError
} from '../../lib/index.ts'
import { HostilePeer, type Behaviour, type HostileChannel } from './hostile.ts'

/** What a synchronizer said of a peer that ended. */
export interface Ended {
  readonly peer: Peer
  readonly error: SynclineError | null
  /** True if it was told as a fault too. */
  readonly fault: boolean
}

/** Block `index` of the feed that is fought over: sizes differ, and some blocks are empty. */
export function blockOf(index: number): Buffer {
  return Buffer.alloc((index * 37) % 257, index + 1)
}

/** See the module comment. */
export class Stage {
  readonly t: Assertions
  readonly victim: Synchronizer
  /** The attacked feed on the victim. */
  readonly copy: FeedSession
  /** The honest peer, and its feed: it gives nothing of it before {@link Stage.recover}. */
  readonly writer: Synchronizer
  readonly source: FeedSession
  readonly feed: Feed
  readonly port: number
  readonly ended: Ended[] = []
  readonly joined: Peer[] = []
  readonly #faults = new Set<Peer>()

  private constructor(
    t: Assertions,
    sides: Pick<Stage, 'victim' | 'copy' | 'writer' | 'source' | 'feed' | 'port'>
  ) {
    this.t = t
    this.victim = sides.victim
    this.copy = sides.copy
    this.writer = sides.writer
    this.source = sides.source
    this.feed = sides.feed
    this.port = sides.port
    this.victim.on('peer-connect', (peer) => this.joined.push(peer))
    this.victim.on('peer-fault', (peer) => this.#faults.add(peer))
    this.victim.on('peer-disconnect', (peer, error) =>
      this.ended.push({ peer, error, fault: this.#faults.has(peer) })
    )
    this.victim.on('feed-error', (_feed, error) => t.fail(`feed-error ${error.message}`))
  }

  /** @param options.ranges - what the victim wants; everything by default. */
  static async open(
    t: Assertions,
    options: Pick<AddOptions, 'ranges'> & {
      readonly blocks?: number
      readonly inMemory?: boolean
      /** Bytes of every block; mixed and small by default. */
      readonly blockBytes?: number
    } = {}
  ): Promise<Stage> {
    const { blocks = 300, inMemory = false, blockBytes, ...wants } = options
    const writer = new Synchronizer({ storage: memory() })
    const source = await writer.create('source')
    await source.append(
      Array.from({ length: blocks }, (_, i) =>
        blockBytes === undefined ? blockOf(i) : Buffer.alloc(blockBytes, i)
      )
    )
    await source.setDirection('none')
    const victim = new Synchronizer({ storage: inMemory ? memory() : await t.tmp() })
    t.teardown(() => victim.close(), { order: 1 })
    t.teardown(() => writer.close(), { order: 1 })
    const copy = victim.add(source.key, { mode: 'both', ...wants })
    await copy.ready()
    const feed = await source.feed()
    const port = portOf(await victim.listen(0, '127.0.0.1'))
    const stage = new Stage(t, { victim, copy, writer, source, feed, port })
    await victim.connect('127.0.0.1', portOf(await writer.listen(0, '127.0.0.1')))
    await until(() => stage.joined.length === 1)
    return stage
  }

  /** Dials the victim. */
  dial(keyPair?: HostilePeer['keyPair']): Promise<HostilePeer> {
    return HostilePeer.dial(this.t, this.port, keyPair)
  }

  /** Dials the victim and opens the feed. */
  async attack(behaviour: Behaviour): Promise<HostileChannel> {
    const peer = await this.dial()
    return peer.open(this.feed, behaviour)
  }

  /** Resolves with what the victim said when it closed this peer. */
  async endOf(peer: HostilePeer): Promise<Ended> {
    const key = Buffer.from(peer.keyPair.publicKey)
    let found: Ended | undefined
    await until(() => {
      found = this.ended.find((ended) => key.equals(ended.peer.remotePublicKey ?? new Uint8Array()))
      return found !== undefined
    })
    return found as Ended
  }

  /** The victim closed this peer, named it, and keeps it away. */
  async refuses(peer: HostilePeer, ...codes: ErrorCode[]): Promise<void> {
    const { t } = this
    const { error, fault } = await this.endOf(peer)
    const code = error?.code ?? 'null'
    t.ok(codes.includes(code as ErrorCode), `${error?.message} is one of ${codes.join(' ')}`)
    t.ok(fault, 'it was told as a fault')
    await peer.whenClosed
    const joined = this.joined.length
    const again = await this.dial(peer.keyPair).catch(() => null)
    await again?.whenClosed
    t.is(this.joined.length, joined, 'it is refused when it comes again at once')
  }

  /** Lets the honest peer give all of the feed before anything is attacked. */
  async giveAll(): Promise<void> {
    await this.source.setDirection('both')
    await this.copy.synced({ timeoutMs: 20_000 })
  }

  /** Lets the honest peer give, and checks that nothing of the attack is left. */
  async recover(): Promise<void> {
    const { t, source, copy, victim, writer } = this
    await source.setDirection('both')
    await copy.want([0, Infinity])
    await copy.synced({ timeoutMs: 20_000 })
    t.absent(
      this.ended.some(({ peer }) => peer === this.joined[0]),
      'the honest peer stays'
    )
    t.is(copy.length, source.length, 'length')
    t.is(await differing(copy, source), -1, 'every block is the one that was signed')
    const { bad, head } = await copy.audit()
    t.ok(head && bad.length === 0, 'the audit finds nothing')
    const reader = new Synchronizer({ storage: memory() })
    t.teardown(() => reader.close(), { order: 1 })
    const third = reader.add(source.key, { mode: 'pull' })
    await reader.connect('127.0.0.1', this.port)
    await third.synced({ timeoutMs: 20_000 })
    t.is(await differing(third, source), -1, 'what the victim serves is what was signed')
    await reader.close()
    await victim.close()
    await writer.close()
  }
}

/** Bytes in use after a collection of garbage. */
export async function heapOf(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  await new Promise((resolve) => setImmediate(resolve))
  gc()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + external + arrayBuffers
}

/** The first block that is not the same, or -1. */
export async function differing(copy: FeedSession, source: FeedSession): Promise<number> {
  for (let i = 0; i < source.length; i++) {
    const [ours, theirs] = [await copy.get(i, { wait: false }), await source.get(i)]
    if (ours === null || !Buffer.from(ours as Uint8Array).equals(theirs as Uint8Array)) return i
  }
  return -1
}

/** The port of what `listen` resolved to. */
export function portOf(addresses: readonly string[]): number {
  return Number(addresses[0]?.split(':').at(-1))
}

/** Resolves when `holds` does. The runner's own timeout ends it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5)
}
