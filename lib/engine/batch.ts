import { SINGLE_FRAME_BYTES } from '../limits.ts'
import type { BlockRequest, Request } from '../wire/message.ts'
import { type RequestRun, sliceRequests } from '../wire/run.ts'
import { type Chunk, IN_FLIGHT } from './chunk.ts'
import { send } from './output.ts'
import { ask, askRun } from './request.ts'
import type { Channel, FeedState, World } from './state.ts'

/** Bytes of one node of an answer, with its share of what stands around. */
const NODE_ANSWER_BYTES = 48

/** Requests of one channel on their way to be sent, within the window. */
export class Batch {
  readonly #world: World
  readonly #channel: Channel
  #requests: (Request | RequestRun)[] = []
  #bytes = 0
  #asked = 0
  #askedBytes = 0

  constructor(world: World, channel: Channel) {
    this.#world = world
    this.#channel = channel
  }

  /** True if this turn may ask for no more. */
  get full(): boolean {
    return this.#room(1) <= 0
  }

  /** Asks for a block with its proof. */
  addProof(index: number, chunk: Chunk, nodes: number, priority: number): void {
    const channel = this.#channel
    const expectedBytes = expected(channel.feed, chunk)
    const request = ask(this.#world, channel, {
      kind: 'proof',
      index,
      chunk: chunk.id,
      fork: channel.feed.view.fork,
      expectedBytes,
      parts: { block: { index, nodes }, priority }
    })
    chunk.mark(index, IN_FLIGHT)
    this.#asked++
    this.#askedBytes += expectedBytes
    this.#push(request, expectedBytes)
  }

  /** Asks for a node with the siblings up to one that is known. */
  addNode({ index, nodes }: BlockRequest): void {
    const channel = this.#channel
    const expectedBytes = NODE_ANSWER_BYTES * (nodes + 1)
    const node = { index, nodes }
    const { fork } = channel.feed.view
    const parts = { hash: node }
    const request = ask(this.#world, channel, { kind: 'node', node, fork, expectedBytes, parts })
    this.#asked++
    this.#askedBytes += expectedBytes
    this.#push(request, expectedBytes)
  }

  /** Asks for the bare values of missing blocks of a chunk from `index` on, at most `count`; returns how many. */
  addRun(index: number, count: number, chunk: Chunk, priority: number): number {
    const channel = this.#channel
    const expectedBytes = expected(channel.feed, chunk)
    const blocks = Math.min(count, this.#room(expectedBytes))
    const { fork } = channel.feed.view
    const asked = { index, count: blocks, chunk: chunk.id, fork, expectedBytes }
    const run = askRun(this.#world, channel, asked, priority)
    chunk.markRun(index, index + blocks, IN_FLIGHT)
    this.#asked += blocks
    this.#askedBytes += blocks * expectedBytes
    const { batchBytes } = channel.peer.window
    const most = Math.max(1, Math.floor(batchBytes / Math.max(expectedBytes, 1)))
    // A large block is asked for in a frame of its own: batched answers come back as one frame.
    const piece = expectedBytes >= SINGLE_FRAME_BYTES ? 1 : most
    for (let from = 0; from < blocks; from += piece) {
      const to = Math.min(blocks, from + piece)
      this.#push(sliceRequests(run, from, to), (to - from) * expectedBytes)
    }
    return blocks
  }

  /** Sends what is left; returns whether anything was asked in this turn. */
  flush(): boolean {
    this.#send()
    return this.#asked > 0
  }

  /** Requests that may still be made in this turn. */
  #room(expectedBytes: number): number {
    const { peer } = this.#channel
    const { window, inFlightBytes, inFlight } = peer
    const share = Math.min(peer.download.share, this.#world.download.share) - this.#askedBytes
    const blocks = Math.ceil(
      Math.min(window.bytes - inFlightBytes, share) / Math.max(expectedBytes, 1)
    )
    return Math.min(window.batchRequests - this.#asked, window.requests - inFlight, blocks)
  }

  #push(message: Request | RequestRun, bytes: number): void {
    const { batchBytes } = this.#channel.peer.window
    if (this.#bytes > 0 && this.#bytes + bytes > batchBytes) this.#send()
    this.#requests.push(message)
    this.#bytes += bytes
  }

  #send(): void {
    send(this.#world, this.#channel, this.#requests)
    this.#requests = []
    this.#bytes = 0
  }
}

/** Expected bytes of a block of a chunk. */
export function expected(feed: FeedState, chunk: Chunk): number {
  if (chunk.phase === 'planning' || chunk.phase === 'rooting') return feed.blockBytes
  return Math.ceil(chunk.size / chunk.blocks.length)
}
