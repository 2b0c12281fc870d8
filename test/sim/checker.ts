/**
 * Looks at a world from outside and knows what may never happen, and what must.
 *
 * @module
 */
import type { Telling } from '../../lib/engine/effect.ts'
import type { SynclineError } from '../../lib/errors.ts'
import { CHUNK_BYTES_MAX, OPEN_CHUNK_BYTES_MAX, WINDOW_REQUESTS_MAX } from '../../lib/limits.ts'
import { decodeMessage } from '../../lib/wire/codec.ts'
import { MESSAGE_TYPES } from '../../lib/wire/message.ts'
import { identityFromKey } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { NodeFeed, SimNode } from './node.ts'
import type { Carried } from './network.ts'
import { type Expectation, expectations } from './expectation.ts'
import type { Reference } from './reference.ts'
import type { World } from './world.ts'

/** Codes that say that a peer did wrong. */
const ACCUSATIONS = new Set<string>([
  'BAD_CAPABILITY',
  'BAD_MESSAGE',
  'DUPLICATE_OPEN',
  'INVALID_CHECKSUM',
  'INVALID_MANIFEST',
  'INVALID_PROOF',
  'INVALID_SIGNATURE',
  'TOO_MANY'
])

/** Blocks of one feed whose proofs are tried at the end. */
const PROOFS_TRIED = 4

/** See the module comment. */
export class Checker {
  readonly #world: World
  readonly #every: number
  #steps = 0
  #expected: Expectation[] = []
  /** Values that honest nodes sent, by type. */
  #carried = 0
  /** First requests, by connection. */
  readonly #firsts = new Set<string>()
  /** True while this checker reads: storage then takes no time. */
  reading = false

  /** @param every - events between two looks at the engines' own invariants. */
  constructor(world: World, every: number) {
    this.#world = world
    this.#every = every
  }

  /** After each event. */
  step(): void {
    if (this.#steps++ % this.#every !== 0) return
    for (const node of this.#world.nodes) {
      if (!node.honest) continue
      node.loop.check()
      const { openChunkBytes, peers } = node.loop.snapshot()
      // A chunk is opened by an estimate of its size and may turn out to be a whole one.
      if (openChunkBytes > OPEN_CHUNK_BYTES_MAX + 64 * CHUNK_BYTES_MAX) {
        throw new Error(`${node.name}: ${openChunkBytes} bytes in open chunks`)
      }
      for (const peer of peers) {
        if (peer.requests > WINDOW_REQUESTS_MAX) {
          throw new Error(`${node.name}: ${peer.requests} requests in flight at one peer`)
        }
      }
    }
  }

  /** Honest nodes ask each other only for what there is. */
  message({ from, to, cable, type, bytes }: Carried): void {
    if (from.startsWith('liar') || to.startsWith('liar')) return
    if (type === 'data') this.#carried++
    if (type !== 'request' && type !== 'no-data') return
    const message = decodeMessage(MESSAGE_TYPES.indexOf(type), bytes)
    if (message.type === 'request') {
      // Whether there is a block 0 is not known yet when it is asked for with the open.
      const first = message.block !== null && message.upgrade !== null
      if (first) this.#firsts.add(`${cable} ${to} ${message.id}`)
      return
    }
    if (message.type !== 'no-data' || message.reason === 0) return
    const { clear, truncate, restart } = this.#world.options.pace
    const key = `${cable} ${from} ${message.request}`
    if (message.reason === 2 || (clear + truncate + restart === 0 && !this.#firsts.has(key))) {
      throw new Error(`${to} asked ${from} for what there is not (reason ${message.reason})`)
    }
  }

  told(node: SimNode, entry: NodeFeed, telling: Telling): void {
    if (!node.honest) return
    const name = `${node.name} f${entry.at}`
    switch (telling.event) {
      case 'download':
        entry.downloads += telling.byteLengths.length
        for (const [i, byteLength] of telling.byteLengths.entries()) {
          const index = telling.start + i
          const right = this.#reference(entry).block(entry.feed.fork, index)
          if (right !== null && right.byteLength !== byteLength) {
            throw new Error(`${name}: block ${index} is told with a wrong size`)
          }
        }
        return
      case 'synced':
        entry.synced++
        for (const [start, end] of entry.wants.ranges) {
          if (entry.feed.have.hasAll(start, Math.min(end, entry.feed.length))) continue
          throw new Error(`${name}: synced, but blocks of [${start}, ${end}) are missing`)
        }
        return
      case 'conflict':
      case 'feed-error':
        throw new Error(`${name}: ${telling.event} ${JSON.stringify(telling)}`)
      default:
    }
  }

  disconnected(node: SimNode, peer: string, error: SynclineError | null): void {
    if (error === null || !node.honest || peer.startsWith('liar')) return
    const accused =
      ACCUSATIONS.has(error.code) || (error.code === 'PEER_TIMEOUT' && this.#world.options.clean)
    if (accused) throw new Error(`${node.name} accuses the honest ${peer}: ${error.message}`)
  }

  /** Works out what must arrive from now on. */
  expect(): void {
    this.#expected = expectations(this.#world.nodes, this.#world.references, this.#world.options)
  }

  /** What is still missing, in words; null if nothing is. */
  missing(): string | null {
    for (const expected of this.#expected) {
      const { node, entry, head, blocks, synced } = expected
      const { feed } = entry
      const name = `${node.name} f${entry.at} (${entry.mode})`
      const say = (what: string): string =>
        `${name}: ${what}; ${JSON.stringify(node.loop.snapshot(entry.id))}`
      if (head !== null && (feed.fork !== head.fork || feed.length !== head.length)) {
        return say(`is at ${feed.fork}/${feed.length}, not at ${head.fork}/${head.length}`)
      }
      for (const block of blocks) if (!feed.have.get(block)) return say(`lacks block ${block}`)
      if (synced && entry.synced === 0) return say('was never synced')
    }
    return null
  }

  /** Looks at how much is still said once there is nothing left to say. */
  quiet(messages: number): void {
    // With slow storage, what was asked for and is not wanted any more may still be under way.
    // And who is behind a rewrite that left nothing may go on trying what was between.
    const { options, references } = this.#world
    const plain = options.storageMs < 50 && references.every(({ length }) => length > 0)
    const settled = plain && this.#expected.every(({ whole }) => whole)
    if (settled && this.#world.nodes.every((node) => node.honest) && messages > 0) {
      throw new Error(`${messages} messages although everything is everywhere`)
    }
  }

  /** Looks at everything that is stored anywhere. */
  async end(): Promise<void> {
    this.reading = true
    for (const node of this.#world.nodes) {
      if (!node.honest) continue
      for (const entry of node.feeds) if (entry !== null) await this.#audit(node, entry)
    }
    this.reading = false
    this.#waste()
  }

  #waste(): void {
    const { options, nodes } = this.#world
    if (!options.clean) return
    let stored = 0
    let feeds = 0
    for (const node of nodes) {
      for (const entry of node.feeds) {
        if (entry === null || entry.writes) continue
        feeds++
        stored += entry.downloads
      }
    }
    // Each feed may ask for its head and first block several times.
    const most = 1.1 * stored + 12 * feeds
    if (this.#carried > most) {
      throw new Error(`${this.#carried} answers for ${stored} blocks of ${feeds} feeds`)
    }
  }

  async #audit(node: SimNode, entry: NodeFeed): Promise<void> {
    const { feed } = entry
    const name = `${node.name} f${entry.at}`
    const reference = this.#reference(entry)
    for (const [start, end] of feed.have.runs(0, feed.length)) {
      const values = await feed.readRun(start, end)
      for (const [i, value] of values.entries()) {
        const right = reference.block(feed.fork, start + i)
        if (right === null || Buffer.compare(right, value) !== 0) {
          throw new Error(`${name}: block ${start + i} is not what was written`)
        }
      }
    }
    if (feed.have.firstSet(feed.length) !== -1) throw new Error(`${name}: holds beyond its length`)
    const { bad, head } = await feed.audit()
    if (bad.length > 0 || !head) throw new Error(`${name}: audit finds ${bad.join()} bad`)
    const held = [...feed.have.runs(0, feed.length)]
    for (let i = 0; i < Math.min(PROOFS_TRIED, held.length); i++) {
      const [start, end] = held[Math.floor((i * held.length) / PROOFS_TRIED)] as [number, number]
      await this.#prove(name, feed, i % 2 === 0 ? start : end - 1)
    }
  }

  /** Has a stranger verify what is served. */
  async #prove(name: string, feed: StoredFeed, index: number): Promise<void> {
    const stranger = await StoredFeed.open(memoryStore(identityFromKey(feed.key)))
    const proof = await feed.proof({
      block: { index, nodes: 0 },
      upgrade: { start: 0, length: feed.length },
      manifest: true
    })
    if (feed.fork === 0) {
      const { block } = await stranger.applyProof(proof)
      if (block !== index) throw new Error(`${name}: the proof of block ${index} does not verify`)
    }
    await stranger.close()
  }

  #reference(entry: NodeFeed): Reference {
    return this.#world.references[entry.at] as Reference
  }
}
