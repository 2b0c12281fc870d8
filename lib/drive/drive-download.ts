import type { SynclineError } from '../errors.ts'
import type { Download, DownloadRange } from '../synchronizer/feed-session.ts'
import { systemClock } from '../synchronizer/timers.ts'
import { Waiters, type WaitOptions } from '../synchronizer/waiting.ts'
import type { DriveBlobs } from './drive-blobs.ts'
import type { BlobRange } from './entry.ts'

/** Blobs that are being downloaded; see `Drive.download`. */
export class DriveDownload {
  readonly #downloads: Download[] = []
  readonly #began: Promise<void>
  readonly #waiters = new Waiters(systemClock)
  /** True once somebody waits for it: nobody looks at its blocks before that. */
  #awaited = false
  #finished = false
  #destroyed = false

  /** Not for users. */
  constructor(
    getBlobs: () => Promise<DriveBlobs>,
    files: AsyncIterable<BlobRange> | Iterable<BlobRange>,
    ranges: readonly DownloadRange[] = []
  ) {
    this.#began = this.#begin(getBlobs, files, ranges)
    this.#began.catch(() => {})
  }

  /**
   * Resolves when all of it is here, at once if it was destroyed.
   *
   * @throws SynclineError what listing the files threw; TIMEOUT; the signal's reason.
   */
  done(options: WaitOptions = {}): Promise<void> {
    if (!this.#awaited) void this.#finish()
    this.#awaited = true
    const ready = (): boolean => this.#finished || this.#destroyed
    return this.#waiters.wait(ready, 'the files did not come', options)
  }

  /** Resolves when all of it is asked for. */
  ready(): Promise<void> {
    return this.#began
  }

  /** Gives up what is not here yet. */
  destroy(): void {
    this.#destroyed = true
    for (const download of this.#downloads) download.destroy()
    this.#waiters.check()
  }

  /** Not for users: something else belongs to it. */
  add(download: Download): void {
    if (this.#destroyed) download.destroy()
    else this.#downloads.push(download)
  }

  async #finish(): Promise<void> {
    try {
      await this.#began
      for (const download of this.#downloads) await download.done()
      this.#finished = true
      this.#waiters.check()
    } catch (error) {
      this.#waiters.end(error as SynclineError)
    }
  }

  async #begin(
    getBlobs: () => Promise<DriveBlobs>,
    files: AsyncIterable<BlobRange> | Iterable<BlobRange>,
    ranges: readonly DownloadRange[]
  ): Promise<void> {
    const blobs = await getBlobs()
    for (const range of ranges) this.add(blobs.core.download(range))
    const spans = new Spans()
    for await (const file of files) {
      if (this.#destroyed) return
      const map = await blobs.getBlockMap(file)
      if (map === null) spans.add(file.blockOffset, file.blockOffset + file.blockLength)
      else for (const { index } of map.blocks) spans.add(index, index + 1)
    }
    for (const [start, end] of spans.list) this.add(blobs.core.download({ start, end }))
  }
}

/** Ranges, joined with the last one where they follow it. */
class Spans {
  readonly list: [start: number, end: number][] = []

  add(start: number, end: number): void {
    if (start >= end) return
    const last = this.list.at(-1)
    if (last !== undefined && last[1] === start) last[1] = end
    else this.list.push([start, end])
  }
}
