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

  /** Takes one request out by its id, if it waits. */
  cancel(feed: FeedState, id: number): void {
    for (const [priority, level] of this.#levels) {
      const queue = level.get(feed) ?? []
      const at = queue.findIndex((item) => item.id <= id && id < item.id + messageCount(item))
      const item = queue[at]
      if (item === undefined) continue
      queue.splice(at, 1, ...without(item, id))
      this.#count--
      if (queue.length === 0) this.#drop(priority, feed)
      return
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

/** What is left of an item without one request. */
function without(item: Queued, id: number): Queued[] {
  if (item.type !== 'requests') return []
  const place = id - item.id
  const rest: Queued[] = []
  if (place > 0) rest.push(sliceRequests(item, 0, place))
  if (place + 1 < item.count) rest.push(sliceRequests(item, place + 1, item.count))
  return rest
}
