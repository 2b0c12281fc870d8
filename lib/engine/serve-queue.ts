import type { Request } from '../wire/message.ts'
import { joinRequests, messageCount, type RequestRun, sliceRequests } from '../wire/run.ts'
import type { FeedState } from './state.ts'

/** A request that waits for its answer, or a run of them. */
export type Queued = Request | RequestRun

/** Level of requests that the remote itself says are urgent, of whatever feed. */
const URGENT = Infinity

/** The requests of one peer that wait for their answer, by priority and then by feed. */
export class ServeQueue {
  readonly #levels: Map<number, Map<FeedState, Queued[]>> = new Map()
  #count = 0

  /** Blocks and proofs that wait. */
  get count(): number {
    return this.#count
  }

  add(feed: FeedState, item: Queued): void {
    const priority = item.priority > 0 ? URGENT : feed.priority
    this.#count += messageCount(item)
    const queue = this.#queue(priority, feed)
    const last = queue.at(-1)
    const joins = last?.type === 'requests' && item.type === 'requests'
    const joined = joins ? joinRequests(last, item) : null
    if (joined === null) queue.push(item)
    else queue[queue.length - 1] = joined
  }

  /**
   * Hands the requests of the feed whose turn it is to `take`, which takes some from their front; then it is the turn of
   * the next feed. Returns the feed and what was taken, or null if nothing waits.
   */
  next(take: (feed: FeedState, queue: Queued[]) => Queued[]): [FeedState, Queued[]] | null {
    if (this.#count === 0) return null
    const priority = Math.max(...this.#levels.keys())
    const level = this.#levels.get(priority) ?? new Map<FeedState, Queued[]>()
    for (const [feed, queue] of level) {
      const taken = take(feed, queue)
      for (const item of taken) this.#count -= messageCount(item)
      this.#drop(priority, feed)
      if (queue.length > 0) this.#level(priority).set(feed, queue)
      return [feed, taken]
    }
    return null
  }

  /** Takes requests of a feed out by their ids, if they wait, in one pass. */
  cancel(feed: FeedState, ids: ReadonlySet<number>): void {
    for (const [priority, level] of this.#levels) {
      const queue = level.get(feed)
      if (queue === undefined) continue
      const kept: Queued[] = []
      for (const item of queue) this.#count -= keep(item, ids, kept)
      if (kept.length === 0) this.#drop(priority, feed)
      else level.set(feed, kept)
    }
  }

  /** Takes out all requests of a feed. */
  remove(feed: FeedState): Queued[] {
    const removed: Queued[] = []
    for (const [priority, level] of this.#levels) {
      const queue = level.get(feed)
      if (queue === undefined) continue
      removed.push(...queue)
      this.#drop(priority, feed)
    }
    for (const item of removed) this.#count -= messageCount(item)
    return removed
  }

  #queue(priority: number, feed: FeedState): Queued[] {
    const level = this.#level(priority)
    let queue = level.get(feed)
    if (queue === undefined) level.set(feed, (queue = []))
    return queue
  }

  #level(priority: number): Map<FeedState, Queued[]> {
    let level = this.#levels.get(priority)
    if (level === undefined) this.#levels.set(priority, (level = new Map()))
    return level
  }

  #drop(priority: number, feed: FeedState): void {
    const level = this.#levels.get(priority)
    level?.delete(feed)
    if (level?.size === 0) this.#levels.delete(priority)
  }
}

/** Adds what is left of an item without some requests; returns how many of them were in it. */
function keep(item: Queued, ids: ReadonlySet<number>, kept: Queued[]): number {
  const { id } = item
  const count = messageCount(item)
  let from = 0
  let removed = 0
  for (let i = 0; i < count; i++) {
    if (!ids.has(id + i)) continue
    if (from < i) kept.push(sliceQueued(item, from, i))
    from = i + 1
    removed++
  }
  if (from < count) kept.push(sliceQueued(item, from, count))
  return removed
}

function sliceQueued(item: Queued, from: number, to: number): Queued {
  return item.type === 'requests' ? sliceRequests(item, from, to) : item
}
