/** Feeds of equal shape; block `i` of feed `f` is `blockOf(group, f, i)` in `roles/block.ts`. */
export interface FeedGroup {
  /** Sets the content of this group apart from that of others. */
  readonly seed: number
  readonly feeds: number
  /** Blocks of each feed. */
  readonly blocks: number
  /** Bytes of each block. */
  readonly bytes: number
}

/** A group of feeds that were written, by their keys. */
export interface WrittenGroup extends FeedGroup {
  /** One for each feed, in hex. */
  readonly keys: readonly string[]
}

/** What a role says of its process. */
export interface Usage {
  /** User and system time since the process began. */
  readonly cpuMs: number
  /** Most memory that was resident at a time. */
  readonly peakBytes: number
  /** Memory that is resident now. */
  readonly residentBytes: number
  /** Longest event-loop stall since `watch`, 0 without. */
  readonly stallMs: number
}
