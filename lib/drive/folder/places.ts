/**
 * The block bytes of a blobs feed as files of a folder: in place, without a second copy.
 *
 * A *place* says in which file a range of the feed should lie. It is a hint: the feed hashes whatever is read here
 * before anybody sees it, so a file that was changed, replaced or moved away gives blocks that are not held, never
 * wrong ones. What no place covers lies in the flat file of the feed, as in any other.
 *
 * Places do not overlap. Where a drive's ranges do, as only an odd writer makes them, some have no place: their bytes
 * are read from wherever they are.
 *
 * Nothing here writes to a file of the user's. What comes from peers goes to files of ours, in `incoming`, from
 * where whoever knows the drive moves it once it is whole.
 *
 * @module
 */
import { readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { BufferPool } from '../../primitives/buffer-pool.ts'
import { RangeSet } from '../../primitives/range-set.ts'
import { SynclineError } from '../../errors.ts'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { type BlockData, DataFile } from '../../feed/file/feed-files.ts'
import { PooledFile, sharedPool } from '../../feed/file/file-pool.ts'
import { sameRange, type BlobRange } from '../entry.ts'
import { RecentFile } from './recent-file.ts'

/** Where the bytes of one blob are, or shall come. */
interface Place {
  readonly range: BlobRange
  /** File that should hold it, relative to the folder; null while it is to come. */
  file: string | null
  /** Receives it, once the first part came. */
  incoming: PooledFile | null
  /** What came to it in this process, from its start. */
  received: RangeSet | null
}

/** A whole blob that came in one piece. */
export interface WholeBlob {
  readonly range: BlobRange
  readonly bytes: Uint8Array
}

/** What is done with blobs as they come. */
export interface PlaceKeeper {
  /**
   * Whole blobs have come, verified. Resolves to those that were not put where they belong (with {@link Places.put}):
   * they are kept in `incoming`. The bytes are not the callee's to keep after that.
   */
  whole(blobs: readonly WholeBlob[]): Promise<readonly WholeBlob[]>
}

/** See the module comment. */
export class Places implements BlockData {
  /** Root of the folder. */
  readonly path: string
  readonly #incoming: string
  readonly #flat: DataFile
  readonly #places = new Map<number, Place>()
  /** Byte offsets of the places that do not overlap, ascending; null when it has to be made again. */
  #starts: Float64Array | null = null
  readonly #recent = new RecentFile()
  keeper: PlaceKeeper | null = null
  /** Bytes that came for places, so far. */
  bytesWritten = 0

  /** @param feedFolder - where the flat file of the feed is. */
  constructor(root: string, state: string, feedFolder: string) {
    this.path = root
    this.#incoming = path.join(state, 'incoming')
    this.#flat = new DataFile(sharedPool, path.join(feedFolder, 'data'))
  }

  /** Finds what an earlier process had begun to receive, and goes on with it. Called once all files have their places. */
  resume(): void {
    let names: string[] = []
    try {
      names = readdirSync(this.#incoming)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw storageError(error, this.#incoming)
    }
    this.expectAll(names.flatMap((name) => rangeOf(name) ?? []))
  }

  /** Says that a blob lies in a file, its path relative to the folder. */
  put(range: BlobRange, file: string): void {
    if (range.byteLength === 0) return
    // Another file may stand there by now.
    this.#recent.close()
    const place = this.#places.get(range.byteOffset)
    if (place === undefined) this.#add(range, file)
    else if (sameRange(place.range, range)) {
      void place.incoming?.close()
      place.file = file
      place.incoming = null
    }
  }

  /** As {@link Places.expectAll}, of one blob. */
  expect(range: BlobRange): void {
    this.expectAll([range])
  }

  /**
   * Says that blobs shall come: what is written of them goes to `incoming`. Those that overlap each other, or what has
   * a place already, get none.
   */
  expectAll(ranges: readonly BlobRange[]): void {
    const fresh: BlobRange[] = []
    for (const range of ranges) {
      const place = this.#places.get(range.byteOffset)
      if (place === undefined) fresh.push(range)
      else if (place.file !== null && sameRange(place.range, range)) {
        place.file = null
        place.received = null
      }
    }
    fresh.sort((a, b) => a.byteOffset - b.byteOffset)
    let reached = 0
    const apart = fresh.filter(({ byteOffset, byteLength }, i) => {
      const end = byteOffset + byteLength
      const isApart = reached <= byteOffset && end <= (fresh[i + 1]?.byteOffset ?? Infinity)
      reached = Math.max(reached, end)
      return isApart && byteLength > 0 && !this.#isTaken(byteOffset, end)
    })
    for (const range of apart) this.#add(range, null)
  }

  /** Forgets where a blob is; what came of it is removed. */
  async drop(range: BlobRange): Promise<void> {
    const place = this.#placeOf(range)
    if (place === null) return
    this.#recent.close()
    this.#places.delete(range.byteOffset)
    this.#starts = null
    await place.incoming?.close()
    if (place.file === null) await rm(this.incomingPath(range), { force: true })
  }

  /** The file that should hold a blob, relative to the folder; null if none does. */
  fileOf(range: BlobRange): string | null {
    return this.#placeOf(range)?.file ?? null
  }

  /** True if a blob is to come, to its file of ours. */
  expects(range: BlobRange): boolean {
    return this.#placeOf(range)?.file === null
  }

  /** Blobs that are to come. */
  expected(): BlobRange[] {
    const expected: BlobRange[] = []
    for (const { file, range } of this.#places.values()) if (file === null) expected.push(range)
    return expected
  }

  /** True if all bytes of a blob came since the process began: its file needs no look. */
  isWhole(range: BlobRange): boolean {
    return this.#placeOf(range)?.received?.hasAll(0, range.byteLength) ?? false
  }

  /** The file of ours that a blob comes to. */
  incomingPath({ blockOffset, blockLength, byteOffset, byteLength }: BlobRange): string {
    return path.join(this.#incoming, `${blockOffset}-${blockLength}-${byteOffset}-${byteLength}`)
  }

  /** Puts bytes into the flat file, whatever place covers them: see {@link Places.drop}. */
  async store(parts: readonly Uint8Array[], offset: number): Promise<void> {
    await this.#flat.write(parts, offset)
  }

  async read(offset: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array> {
    // Memory that is not made zero: whatever is not read below is.
    const target =
      pool?.take(byteLength) ?? new Uint8Array(Buffer.allocUnsafeSlow(byteLength).buffer)
    const end = offset + byteLength
    let at = offset
    for (const place of this.#overlapping(offset, end)) {
      const { byteOffset } = place.range
      if (byteOffset > at)
        await this.#readFlat(target.subarray(at - offset, byteOffset - offset), at)
      const from = Math.max(byteOffset, at)
      const to = Math.min(byteOffset + place.range.byteLength, end)
      await this.#readPlace(place, target.subarray(from - offset, to - offset), from - byteOffset)
      at = to
    }
    if (at < end) await this.#readFlat(target.subarray(at - offset), at)
    return target
  }

  async write(parts: readonly Uint8Array[], offset: number): Promise<void> {
    const end = offset + parts.reduce((sum, part) => sum + part.byteLength, 0)
    const bytes = new Cursor(parts)
    const whole: WholeBlob[] = []
    let at = offset
    for (const place of this.#overlapping(offset, end)) {
      const { range } = place
      const { byteOffset, byteLength } = range
      if (byteOffset > at) await this.#flat.write(bytes.take(byteOffset - at), at)
      const from = Math.max(byteOffset, at)
      const to = Math.min(byteOffset + byteLength, end)
      const taken = bytes.take(to - from)
      at = to
      this.bytesWritten += to - from
      if (place.file !== null) {
        // It should lie in a file of the user's, and does not any more: that is never written.
        this.#places.delete(byteOffset)
        this.#starts = null
        await this.#flat.write(taken, from)
      } else if (to - from === byteLength && this.keeper !== null) {
        whole.push({ range, bytes: joined(taken) })
      } else await this.#receive(place, taken, from - byteOffset)
    }
    if (at < end) await this.#flat.write(bytes.take(end - at), at)
    if (whole.length === 0) return
    const rest = (await this.keeper?.whole(whole)) ?? whole
    for (const { range, bytes: content } of rest) await this.#keep(range, content)
  }

  /** Keeps a whole blob in `incoming`, unless a file holds it by now. */
  async #keep(range: BlobRange, bytes: Uint8Array): Promise<void> {
    const place = this.#placeOf(range)
    if (place === null) await this.#flat.write([bytes], range.byteOffset)
    else if (place.file === null) await this.#receive(place, [bytes], 0)
  }

  async #receive(place: Place, parts: readonly Uint8Array[], position: number): Promise<void> {
    place.incoming ??= new PooledFile(sharedPool, this.incomingPath(place.range))
    await place.incoming.write(parts, position)
    place.received ??= new RangeSet()
    const byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0)
    place.received.add(position, position + byteLength)
  }

  /** Files of the user's and those that come are not synced: what a power loss takes is found by its hash. */
  async sync(): Promise<void> {
    if ((await this.#flat.size()) !== null) await this.#flat.sync()
  }

  async rewrite(offset: number, byteLength: number): Promise<void> {
    for (const [start, end] of this.#gaps(offset, offset + byteLength)) {
      await this.#flat.rewrite(start, end - start)
    }
  }

  async free(offset: number, byteLength: number): Promise<void> {
    for (const [start, end] of this.#gaps(offset, offset + byteLength)) {
      await this.#flat.free(start, end - start)
    }
  }

  async close(): Promise<void> {
    this.#recent.close()
    for (const { incoming } of this.#places.values()) await incoming?.close()
    await this.#flat.close()
  }

  #add(range: BlobRange, file: string | null): void {
    this.#places.set(range.byteOffset, { range, file, incoming: null, received: null })
    this.#starts = null
  }

  #placeOf(range: BlobRange): Place | null {
    const place = this.#places.get(range.byteOffset)
    return place !== undefined && sameRange(place.range, range) ? place : null
  }

  /** What of `[start, end)` no place covers. */
  #gaps(start: number, end: number): [start: number, end: number][] {
    const gaps: [start: number, end: number][] = []
    let at = start
    for (const { range } of this.#overlapping(start, end)) {
      if (range.byteOffset > at) gaps.push([at, range.byteOffset])
      at = range.byteOffset + range.byteLength
    }
    if (at < end) gaps.push([at, end])
    return gaps
  }

  /** Places with bytes in `[start, end)`, ascending. */
  *#overlapping(start: number, end: number): IterableIterator<Place> {
    const starts = this.#ascending()
    let i = this.#nextReaching(starts, lastUpTo(starts, start), start, end)
    while (i !== -1) {
      yield this.#places.get(starts[i] as number) as Place
      i = this.#nextReaching(starts, i + 1, start, end)
    }
  }

  /** True if a place has bytes in `[start, end)`. */
  #isTaken(start: number, end: number): boolean {
    const starts = this.#ascending()
    return this.#nextReaching(starts, lastUpTo(starts, start), start, end) !== -1
  }

  /** Which of `starts`, from number `from` on, is that of a place with bytes in `[start, end)`; -1 if none is. */
  #nextReaching(starts: Float64Array, from: number, start: number, end: number): number {
    for (let i = from; i < starts.length && (starts[i] as number) < end; i++) {
      const place = this.#places.get(starts[i] as number)
      if (place === undefined) continue
      if (place.range.byteOffset + place.range.byteLength > start) return i
    }
    return -1
  }

  #ascending(): Float64Array {
    this.#starts ??= this.#startsApart()
    return this.#starts
  }

  /** Of places that overlap the first counts. */
  #startsApart(): Float64Array {
    const starts = Float64Array.from(this.#places.keys()).sort()
    let reached = 0
    return starts.filter((start) => {
      const isApart = start >= reached
      if (isApart) reached = start + (this.#places.get(start) as Place).range.byteLength
      return isApart
    })
  }

  async #readFlat(target: Uint8Array, offset: number): Promise<void> {
    setAll(target, await this.#flat.read(offset, target.byteLength))
  }

  /** Fills `target` as far as the file goes. What is missing reads as zeros, and fails its hash. */
  async #readPlace(place: Place, target: Uint8Array, position: number): Promise<void> {
    if (place.file === null) {
      place.incoming ??= new PooledFile(sharedPool, this.incomingPath(place.range))
      setAll(target, await place.incoming.read(position, target.byteLength))
      return
    }
    const file = path.join(this.path, place.file)
    let count = 0
    try {
      count = await this.#recent.read(file, target, position)
    } catch (error) {
      if (!GONE.has(systemCode(error))) throw storageError(error, file)
    }
    target.fill(0, count)
  }
}

/** Which of ascending numbers is the last one up to `value`; the first if none is. */
function lastUpTo(numbers: Float64Array, value: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((numbers[middle] as number) <= value) low = middle + 1
    else high = middle
  }
  return Math.max(low - 1, 0)
}

/** Sets all of `target`, what is missing to zeros. */
function setAll(target: Uint8Array, bytes: Uint8Array | null): void {
  if (bytes !== null) target.set(bytes)
  target.fill(0, bytes?.byteLength ?? 0)
}

/** What says that a file is not what it was, rather than that the disk failed. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'EACCES', 'EPERM', 'ENXIO', 'EAGAIN'])

/** Takes bytes from the front of parts, without copying. */
class Cursor {
  readonly #parts: readonly Uint8Array[]
  #part = 0
  #at = 0

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts
  }

  take(byteLength: number): Uint8Array[] {
    const taken: Uint8Array[] = []
    let rest = byteLength
    while (rest > 0) {
      const part = this.#parts[this.#part]
      if (part === undefined) throw new SynclineError('BROKEN_INVARIANT', 'more bytes than parts')
      const piece = part.subarray(this.#at, this.#at + rest)
      this.#at += piece.byteLength
      rest -= piece.byteLength
      if (this.#at === part.byteLength) {
        this.#part++
        this.#at = 0
      }
      if (piece.byteLength > 0) taken.push(piece)
    }
    return taken
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
}

/** The blob that comes to a file of ours of this name; null for other files. */
function rangeOf(name: string): BlobRange | null {
  const parts = /^(\d+)-(\d+)-(\d+)-(\d+)$/.exec(name)?.slice(1).map(Number)
  if (parts?.every(Number.isSafeInteger) !== true) return null
  const [blockOffset, blockLength, byteOffset, byteLength] = parts as [
    number,
    number,
    number,
    number
  ]
  return { blockOffset, blockLength, byteOffset, byteLength }
}
