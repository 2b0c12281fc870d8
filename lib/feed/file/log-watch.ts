/**
 * What a writer takes back of a feed that another process reads without the lock.
 *
 * A writer's entry stands in the log, or in a later header, before it writes over the bytes and nodes that it has given up.
 * So what was read counts if a look afterwards finds no such entry.
 *
 * @module
 */
import type { ReadonlyBitmap } from '../../primitives/bitmap.ts'
import { type BlockRange, joinRanges } from '../../primitives/ranges.ts'
import { equalBytes } from '../bytes.ts'
import { missingRanges } from '../missing-ranges.ts'
import type { Head } from '../store.ts'
import type { FeedFiles, FilesImage } from './feed-files.ts'
import { changedError } from './feed-lock.ts'
import { decodeBitfield } from './fold-files.ts'
import { decodeEntries, ENTRIES_OFFSET, type LogEntry, markOf, MARKED_BYTES } from './oplog.ts'
import { Unfolded } from './unfolded.ts'

const NO_RANGES: readonly BlockRange[] = []

/** See the module comment. */
export class LogWatch {
  readonly #files: FeedFiles
  /** Tells the headers that were last seen; null if they tell too little. */
  #mark: Uint8Array | null
  #bits: readonly [number, number]
  /** Bytes of the entries behind them that were seen. */
  #byteLength: number

  constructor(files: FeedFiles, image: FilesImage) {
    this.#files = files
    this.#mark = image.external === null ? image.log.mark : null
    this.#bits = image.log.bits
    this.#byteLength = image.log.byteLength
  }

  /**
   * Blocks of those held that were taken back since the last look; a few may be told twice.
   *
   * @param head - what is read.
   * @throws SynclineError FEED_LOCKED if blocks of it were cut off.
   */
  async look(head: Head, held: ReadonlyBitmap): Promise<readonly BlockRange[]> {
    const { oplog, folder } = this.#files
    // First: a fold that empties the log has written its header before.
    const size = await oplog.size()
    const slots = await oplog.read(0, MARKED_BYTES)
    if (size === null || slots === null) throw changedError(folder)
    if (this.#mark === null || !equalBytes(markOf(slots), this.#mark)) {
      return this.#lookAnew(head, held)
    }
    // A log without entries may end within the headers.
    const now = Math.max(size - ENTRIES_OFFSET, 0)
    if (now === this.#byteLength) return NO_RANGES
    // A writer takes entries back if they could not be synced.
    if (now < this.#byteLength) throw changedError(folder)
    const start = ENTRIES_OFFSET + this.#byteLength
    const bytes = (await oplog.read(start, size - start)) ?? new Uint8Array(0)
    const { entries, byteLength } = decodeEntries(bytes, 0, this.#bits)
    const lost = this.#lostBy(entries, head)
    this.#byteLength += byteLength
    return lost
  }

  #lostBy(
    entries: readonly { readonly entry: LogEntry }[],
    { length }: Head
  ): readonly BlockRange[] {
    const lost: BlockRange[] = []
    for (const { entry } of entries) {
      const { upgrade, bits } = entry
      if (upgrade !== null && upgrade.ancestors < length) throw changedError(this.#files.folder)
      if (bits?.drop === true) lost.push([bits.start, Math.min(bits.end, length)])
    }
    return joinRanges(lost)
  }

  /** After a fold: the entries that it took in are gone. */
  async #lookAnew({ fork, length }: Head, held: ReadonlyBitmap): Promise<readonly BlockRange[]> {
    const image = await this.#files.read()
    const { header, log, external } = image
    const unfolded = new Unfolded(header)
    const bitmap = decodeBitfield(image.bitfield)
    for (const { entry } of log.entries) unfolded.apply(entry, new Uint8Array(0))
    for (const { start, end, drop } of unfolded.bits) bitmap.setRange(start, end, !drop)
    if (unfolded.head.fork !== fork || unfolded.head.length < length) {
      throw changedError(this.#files.folder)
    }
    this.#mark = external === null ? log.mark : null
    this.#bits = log.bits
    this.#byteLength = log.byteLength
    const missing = missingRanges(bitmap, 0, length)
    return missing.filter(([start, end]) => held.firstSet(start, end) !== -1)
  }
}
