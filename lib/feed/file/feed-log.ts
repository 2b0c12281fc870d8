/**
 * The log of one open feed: where it ends, which header counts, and how both go on.
 *
 * @module
 */
import type { FeedFiles, FilesImage } from './feed-files.ts'
import {
  encodeEntries,
  encodeHeader,
  encodeNextHeader,
  ENTRIES_OFFSET,
  type ExternalHeader,
  externalPlace,
  fitsSlot,
  type LogEntry,
  type LogHeader
} from './oplog.ts'

/** A header that is ready to take the place of the one that counts. */
export interface NextHeader {
  /** Tells it from other headers. */
  readonly id: number
  /** What goes into the file `header` first, if it does not fit the log. */
  readonly external: { readonly place: ExternalHeader; readonly bytes: Uint8Array } | null
  readonly bytes: Uint8Array
  readonly position: number
  readonly bits: readonly [number, number]
}

/** See the module comment. Writes never overlap. */
export class FeedLog {
  /** The header that counts. */
  id: number
  /** Bytes of entries that count. */
  byteLength: number
  readonly #files: FeedFiles
  #bits: readonly [number, number]
  #external: ExternalHeader | null
  /** Bytes of the file; -1 while they are not known. */
  #size: number
  /** Of what was read. */
  readonly #sum: number

  constructor(files: FeedFiles, { log, external, logSize, sum }: FilesImage) {
    this.#files = files
    this.id = log.id
    this.byteLength = log.byteLength
    this.#bits = log.bits
    this.#external = external
    this.#size = logSize
    this.#sum = sum
  }

  /** True if what counts in the file is no longer what was read of it. Before the first write only. */
  async isForeign(): Promise<boolean> {
    const now = await this.#files.readLog()
    if (now?.log.byteLength !== this.byteLength || now.sum !== this.#sum) return true
    this.#size = now.logSize
    return false
  }

  /**
   * Adds entries that count as a whole once `confirm` has resolved; else they are taken back.
   *
   * @param onlost - called when they could not be taken back: nobody knows what counts now.
   */
  async append(
    entries: readonly LogEntry[],
    confirm: () => Promise<void>,
    onlost: (cause: unknown) => Promise<void>
  ): Promise<void> {
    const { oplog } = this.#files
    const records = encodeEntries(this.#bits, entries)
    const end = ENTRIES_OFFSET + this.byteLength
    try {
      // Entries of an older log behind ours could count again one day.
      if (this.#size !== end) await oplog.truncate(end)
      this.#size = end
      await oplog.write(records, end)
      await confirm()
    } catch (error) {
      this.#size = -1
      await oplog.truncate(end).then(
        () => {
          this.#size = end
        },
        () => onlost(error)
      )
      throw error
    }
    for (const record of records) this.byteLength += record.byteLength
    this.#size = ENTRIES_OFFSET + this.byteLength
  }

  /** Prepares a header. */
  next(header: LogHeader): NextHeader {
    const payload = encodeHeader(header)
    if (fitsSlot(payload)) return { ...encodeNextHeader(this.#bits, payload), external: null }
    const place = externalPlace(this.#external, payload.byteLength)
    const next = encodeNextHeader(this.#bits, encodeHeader(place))
    return { ...next, external: { place, bytes: payload } }
  }

  /** Writes a header, which from then on counts and voids all entries. The caller syncs. */
  async begin({ bytes, position, bits, id, external }: NextHeader): Promise<void> {
    const end = ENTRIES_OFFSET + this.byteLength
    if (this.#size !== end) {
      // Entries of an older log behind ours would count again under the bit of this header.
      await this.#files.oplog.truncate(end)
      await this.#files.oplog.sync()
      this.#size = end
    }
    await this.#files.oplog.write([bytes], position)
    this.#bits = bits
    this.#external = external?.place ?? null
    this.id = id
    this.byteLength = 0
  }

  /** Cuts off what does not count. */
  async trim(): Promise<void> {
    const end = ENTRIES_OFFSET + this.byteLength
    await this.#files.oplog.truncate(end)
    this.#size = end
  }
}
