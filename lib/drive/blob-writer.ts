import { SynclineError } from '../errors.ts'
import type { AppendOptions } from '../feed/feed.ts'
import type { Mutex } from '../feed/mutex.ts'
import { DRIVE_BLOCK_BYTES, BLOB_APPEND_BLOCKS } from '../limits.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import type { BlobRange } from './entry.ts'

/** Writes one file to a blobs feed; see `DriveBlobs.createWriter`. */
export class BlobWriter {
  readonly #core: FeedSession
  readonly #lock: Mutex
  readonly #options: AppendOptions
  readonly #start = { blockOffset: 0, byteOffset: 0 }
  #blocks: Uint8Array[] = []
  /** Of the block that is not full yet. */
  #parts: Uint8Array[] = []
  #partialBytes = 0
  #blockLength = 0
  #byteLength = 0
  #release: (() => void) | null = null
  #ended = false

  /** Not for users. */
  constructor(core: FeedSession, lock: Mutex, options: AppendOptions) {
    this.#core = core
    this.#lock = lock
    this.#options = options
  }

  /** Takes bytes, which may change once it resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#checkOpen()
    for (let start = 0; start < bytes.byteLength;) {
      // What an append before the last leaves in the system's memory, the last one makes durable.
      if (this.#blocks.length >= BLOB_APPEND_BLOCKS) await this.#append({ durability: 'os' })
      const end = Math.min(bytes.byteLength, start + DRIVE_BLOCK_BYTES - this.#partialBytes)
      this.#parts.push(Uint8Array.from(bytes.subarray(start, end)))
      this.#partialBytes += end - start
      start = end
      if (this.#partialBytes === DRIVE_BLOCK_BYTES) this.#cut()
    }
  }

  /** Writes the rest; durable as asked when it resolves. */
  async end(): Promise<BlobRange> {
    this.#checkOpen()
    if (this.#partialBytes > 0) this.#cut()
    await this.#append(this.#options)
    this.destroy()
    return { ...this.#start, blockLength: this.#blockLength, byteLength: this.#byteLength }
  }

  /** Ends it without a file: what is written stays in the feed, and no entry names it. Idempotent. */
  destroy(): void {
    this.#ended = true
    this.#blocks = []
    this.#release?.()
    this.#release = null
  }

  #cut(): void {
    const [only] = this.#parts
    const block = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts)
    this.#parts = []
    this.#partialBytes = 0
    this.#blocks.push(block)
    this.#blockLength++
    this.#byteLength += block.byteLength
  }

  async #append(options: AppendOptions): Promise<void> {
    if (this.#release === null) {
      const release = await acquire(this.#lock)
      if (this.#ended) release()
      this.#checkOpen()
      this.#release = release
      this.#start.blockOffset = this.#core.length
      this.#start.byteOffset = this.#core.byteLength
    }
    const blocks = this.#blocks
    this.#blocks = []
    if (blocks.length > 0) await this.#core.append(blocks, options)
  }

  #checkOpen(): void {
    if (this.#ended) throw new SynclineError('SESSION_CLOSED', 'the file is written or given up')
  }
}

/** Waits for a lock; returns the way to give it back. */
function acquire(lock: Mutex): Promise<() => void> {
  return new Promise((resolve) => {
    void lock.run(() => new Promise<void>((release) => resolve(release)))
  })
}
