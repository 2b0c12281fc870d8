/**
 * Gets the blobs that a version of a drive needs, and has them put in place as they come.
 *
 * Small ones come whole and become their files at once; of others what comes is collected in files of ours. What local
 * files hold of them already is found first, by comparing subtree roots.
 *
 * @module
 */
import { setMaxListeners } from 'node:events'
import { chmod, rm, truncate } from 'node:fs/promises'
import { isSynclineError } from '../errors.ts'
import type { FeedChange } from '../feed/feed.ts'
import { Mutex } from '../feed/mutex.ts'
import {
  ABSENT_BLOCKS_MS,
  AHEAD_BYTES_MAX,
  AHEAD_FILES_MAX,
  AHEAD_STEP_FILES,
  COMPARED_FILES,
  FETCHED_WHOLE_BYTES
} from '../limits.ts'
import { BlobMap } from './blob-map.ts'
import { fittingOf, isFitting, isHeld, isImpossible, keyOf, letGo } from './blob-check.ts'
import { type BlockRange, joinRanges } from '../primitives/ranges.ts'
import type { PutStep, Step } from './clone-report.ts'
import type { BlobRange } from './entry.ts'
import { reflinkOrCopy } from './folder/copy.ts'
import type { Blobs, DriveFolder } from './folder/drive-folder.ts'
import { hashFile } from './folder/file-reader.ts'
import { lookIfAllowed } from './folder/look.ts'
import type { WholeBlob } from './folder/places.ts'
import type { Placement } from './placement.ts'
import type { ProgressNotes } from './progress.ts'
import { adoptMatches, findMatches } from './reuse.ts'

/** A blob that is to come. */
interface Pending {
  readonly blob: BlobRange
  readonly steps: PutStep[]
  /** How many steps have it in place: it came in one piece, before the tree told whether it is what its entries say. */
  placed: number
  /** True if a local file was copied to where it comes to. */
  readonly compared: boolean
  /** True once its blocks are asked for: they are when the feed is known to reach that far. */
  asked: boolean
}

/** See the module comment. */
export class Arrivals {
  readonly #folder: DriveFolder
  readonly #placement: Placement
  readonly #progress: ProgressNotes
  /** Blobs that are to come. */
  readonly #pending = new BlobMap<Pending>()
  /** The same in the order of their first blocks: which of them an arrival may complete. */
  #byFirst: Pending[] = []
  /** Those that nobody was asked for yet. */
  #unasked: Pending[] = []
  /** Those that reach beyond the first block of another: an arrival in their middle may be their last. */
  #long: Pending[] = []
  /** What comes is put in place one batch after the other: two would each make a folder that has files of both. */
  readonly #placing = new Mutex()
  /** Puts whole files in place, one after the other. */
  #finishing: Promise<void> = Promise.resolve()
  /** Steps whose blobs were asked for while the others were still being found. */
  readonly #ahead = new Set<PutStep>()
  #aheadBytes = 0
  /** Their blobs that have no place yet. */
  #unexpected: BlobRange[] = []
  /** Lets in what is held back; null while nothing is. */
  #letIn: (() => void) | null = null
  /** Bytes that had come before the update. */
  #written = 0
  /** Ranges that were asked for. */
  readonly #wanted: BlockRange[] = []
  /** True once all that is here is in place, and the rest may get in its way. */
  #isFetching = false
  #beginFinishing: () => void = () => {}
  #failure: Error | null = null
  #signal: AbortSignal | null = null
  #wake: () => void = () => {}

  constructor(folder: DriveFolder, placement: Placement, progress: ProgressNotes) {
    this.#folder = folder
    this.#placement = placement
    this.#progress = progress
  }

  /** Takes in what comes, until the function that is returned is called; it resolves when nothing is under way. */
  begin(blobs: Blobs, signal: AbortSignal | null): () => Promise<void> {
    const { places } = this.#folder
    this.#signal = signal
    this.#failure = null
    this.#isFetching = false
    this.#finishing = new Promise((resolve) => (this.#beginFinishing = resolve))
    const stop = blobs.feed.onchange((change: FeedChange) => {
      if (change.type === 'have') this.#arrived(change.start, change.end)
    })
    const grew = (): void => {
      void this.#ask(blobs).catch((error: unknown) => this.#fail(error))
    }
    blobs.session.on('append', grew)
    places.keeper = { whole: (whole) => this.#placing.run(() => this.#whole(whole)) }
    this.#written = places.bytesWritten
    return async () => {
      stop()
      blobs.session.off('append', grew)
      this.#endAhead()
      this.#clear()
      places.keeper = null
      this.#beginFinishing()
      await this.#finishing.catch(() => {})
      for (const range of this.#wanted.splice(0)) await blobs.session.unwant(range).catch(() => {})
    }
  }

  /**
   * Asks for blobs of new files while other steps are still being found: up to a bound, since what comes has to wait for
   * {@link Arrivals.expectAhead}.
   */
  async askAhead(steps: readonly Step[], blobs: Blobs): Promise<void> {
    if (!this.#folder.inPlace) return
    for (const step of steps) {
      if (step.type !== 'add' || step.source.kind !== 'file') continue
      const blob = step.source.entry.blob as BlobRange
      const { byteLength } = blob
      if (byteLength === 0 || byteLength > FETCHED_WHOLE_BYTES || blob.blockMap === true) continue
      if (isImpossible(blob) || isHeld(blobs, blob)) continue
      if (this.#ahead.size === AHEAD_FILES_MAX || this.#aheadBytes + byteLength > AHEAD_BYTES_MAX) {
        break
      }
      this.#letIn ??= blobs.feed.holdChunks()
      this.#ahead.add(step)
      this.#aheadBytes += byteLength
      if (this.#add(step, blob, false)) this.#unexpected.push(blob)
    }
    if (this.#unexpected.length >= AHEAD_STEP_FILES) await this.#askUnexpected(blobs)
  }

  /** The last step is found: what came ahead may go to its place. */
  async expectAhead(blobs: Blobs): Promise<void> {
    await this.#askUnexpected(blobs)
    this.#endAhead()
  }

  async #askUnexpected(blobs: Blobs): Promise<void> {
    this.#expect(this.#unexpected.splice(0))
    await this.#ask(blobs)
  }

  #endAhead(): void {
    this.#letIn?.()
    this.#letIn = null
  }

  /** True if the blob of a step was asked for ahead. */
  isAhead(step: PutStep): boolean {
    return this.#ahead.has(step)
  }

  /** True if a newer version came before all was here. */
  async fetch(steps: readonly PutStep[], version: number, blobs: Blobs): Promise<boolean> {
    const folder = this.#folder
    const signal = this.#signal
    const comparable: PutStep[] = []
    const added: BlobRange[] = []
    for (const step of steps) {
      const blob = step.source.entry.blob as BlobRange
      const isComparable = this.#isComparable(step, blobs)
      if (!this.#add(step, blob, isComparable)) continue
      added.push(blob)
      if (isComparable) comparable.push(step)
    }
    if (this.#pending.size === 0) return false
    this.#expect(added)
    this.#isFetching = true
    this.#beginFinishing()
    let bytesTotal = 0
    for (const { blob } of this.#byFirst) bytesTotal += blob.byteLength
    this.#progress.set({ phase: 'transfer', bytesTotal })
    const appended = (): void => this.#wake()
    const stop = new AbortController()
    // Each node that a comparison waits for listens to it.
    setMaxListeners(0, stop.signal)
    const failed = (error: unknown): void => this.#fail(error)
    let absentMs = 0
    const timer = setInterval(() => {
      this.#progress.set({ bytes: folder.places.bytesWritten - this.#written })
      absentMs = this.#waitsForNothing(blobs) ? absentMs + PROGRESS_MS : 0
      if (absentMs >= ABSENT_BLOCKS_MS) this.#skipAbsent()
    }, PROGRESS_MS)
    blobs.session.on('failed', failed)
    folder.indexSession.on('append', appended)
    folder.indexSession.on('synced', appended)
    signal?.addEventListener('abort', appended)
    try {
      await this.#ask(blobs)
      const comparing = this.#compareAll(comparable, blobs, stop.signal).catch(failed)
      while (this.#pending.size > 0) {
        if (this.#failure !== null) throw this.#failure
        signal?.throwIfAborted()
        if (this.#isSuperseded(version)) return true
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
      await comparing
      await this.#finishing
      if (this.#failure !== null) throw this.#failure
      return false
    } finally {
      clearInterval(timer)
      this.#wake = () => {}
      blobs.session.off('failed', failed)
      folder.indexSession.off('append', appended)
      folder.indexSession.off('synced', appended)
      signal?.removeEventListener('abort', appended)
      stop.abort()
    }
  }

  /** False if the blob was to come already, for another step. */
  #add(step: PutStep, blob: BlobRange, compared: boolean): boolean {
    const others = this.#pending.get(blob)
    if (others !== undefined) {
      others.steps.push(step)
      return false
    }
    const pending = { blob, steps: [step], placed: 0, compared, asked: compared }
    this.#pending.add(pending)
    if (!compared) this.#unasked.push(pending)
    return true
  }

  #expect(blobs: readonly BlobRange[]): void {
    if (blobs.length === 0) return
    this.#order()
    const { inPlace, places } = this.#folder
    if (inPlace) places.expectAll(blobs)
  }

  #clear(): void {
    this.#pending.clear()
    this.#order()
    this.#unasked = []
    this.#ahead.clear()
    this.#aheadBytes = 0
    this.#unexpected = []
  }

  #fail(error: unknown): void {
    this.#failure ??= error as Error
    this.#wake()
  }

  /** Asks for what the feed is known to have, and was not asked for yet. */
  async #ask({ session, feed }: Blobs): Promise<void> {
    const { length } = feed
    const unasked: Pending[] = []
    const spans: [start: number, end: number][] = []
    for (const pending of this.#unasked) {
      const { blockOffset, blockLength } = pending.blob
      const end = blockOffset + blockLength
      if (end > length) {
        unasked.push(pending)
        continue
      }
      pending.asked = true
      const last = spans.at(-1)
      if (last?.[1] === blockOffset) last[1] = end
      else spans.push([blockOffset, end])
    }
    this.#unasked = unasked
    for (const range of joinRanges(spans)) {
      const [start, end] = range
      this.#wanted.push(range)
      await session.want(range)
      // Some may have come before anybody waited for them.
      if (feed.have.firstSet(start, end) !== -1) this.#arrived(start, end)
    }
  }

  /** True if all that is still to come lies beyond the end of the feed, as far as any peer knows. */
  #waitsForNothing({ session }: Blobs): boolean {
    for (const { asked } of this.#pending) if (asked) return false
    return this.#pending.size > 0 && session.progress().synced
  }

  /** True if blocks are waited for. */
  awaits(start: number, end: number): boolean {
    return this.#byFirst.some(
      ({ blob }) =>
        this.#pending.get(blob) !== undefined &&
        blob.blockOffset < end &&
        start < blob.blockOffset + blob.blockLength
    )
  }

  #skipAbsent(): void {
    for (const pending of [...this.#pending]) {
      for (const { name } of pending.steps) this.#placement.skip(name, ABSENT)
      this.#settled(pending)
    }
  }

  #order(): void {
    const sorted = [...this.#pending].sort((a, b) => a.blob.blockOffset - b.blob.blockOffset)
    this.#byFirst = sorted
    this.#long = sorted.filter(({ blob }, i) => {
      const next = sorted[i + 1]?.blob.blockOffset ?? Infinity
      return blob.blockOffset + blob.blockLength > next
    })
  }

  /** True if a local file may hold part of what is to come, and nothing of it came yet. */
  #isComparable({ name, source }: PutStep, { feed }: Blobs): boolean {
    const { blockOffset, blockLength, byteLength } = source.entry.blob as BlobRange
    const file = this.#placement.basisOf(name)
    if (!this.#folder.inPlace || file === null || byteLength <= FETCHED_WHOLE_BYTES) return false
    const stats = lookIfAllowed(file)
    if (stats === null || !stats.isFile() || stats.size === 0n) return false
    if (blockLength === 1 && stats.size !== BigInt(byteLength)) return false
    return feed.have.firstSet(blockOffset, blockOffset + blockLength) === -1
  }

  /** Compares files with what they are to become, some at a time; what is missing then is wanted. */
  async #compareAll(steps: readonly PutStep[], blobs: Blobs, signal: AbortSignal): Promise<void> {
    const queue = steps.values()
    const work = async (): Promise<void> => {
      for (const { name, source } of queue) {
        const blob = source.entry.blob as BlobRange
        const file = this.#placement.basisOf(name) as string
        await this.#reuse(file, blob, blobs, signal).catch((error: unknown) => {
          // Whatever it was: all of it can be fetched.
          if (isSynclineError(error, 'DISK_FULL')) throw error
        })
        if (signal.aborted) return
        const range: [number, number] = [blob.blockOffset, blob.blockOffset + blob.blockLength]
        this.#wanted.push(range)
        await blobs.session.want(range)
        const pending = this.#pending.get(blob)
        if (pending !== undefined) this.#complete([pending])
      }
    }
    await Promise.all(Array.from({ length: COMPARED_FILES }, work))
  }

  /** Takes over what a local file holds of a blob: it is copied to where the blob comes to. */
  async #reuse(
    file: string,
    blob: BlobRange,
    { session, feed }: Blobs,
    signal: AbortSignal
  ): Promise<void> {
    const incoming = this.#folder.places.incomingPath(blob)
    // Of a try that did not come to its end.
    await rm(incoming, { force: true })
    await reflinkOrCopy(file, incoming)
    const hashed = await hashFile(incoming, () => {}, signal)
    if (hashed === null) return
    await truncate(incoming, blob.byteLength)
    await chmod(incoming, 0o600)
    const { blockOffset, blockLength } = blob
    const end = blockOffset + blockLength
    // Of a feed that was just opened nobody has told yet how long it is.
    if (session.length < end) await session.update({ wait: true, signal })
    if (session.length < end) return
    const matches = await findMatches(session, blockOffset, end, hashed.leaves, signal)
    const adopted = await adoptMatches(feed, blockOffset, hashed.leaves, matches)
    this.#placement.state.adopted += adopted
  }

  #isSuperseded(version: number): boolean {
    const { config, index, indexSession } = this.#folder
    return config.at === null && index.version > version && indexSession.progress().synced
  }

  #arrived(start: number, end: number): void {
    const byFirst = this.#byFirst
    let low = 0
    let high = byFirst.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((byFirst[middle] as Pending).blob.blockOffset < start) low = middle + 1
      else high = middle
    }
    const reached: Pending[] = []
    for (let i = Math.max(low - 1, 0); i < byFirst.length; i++) {
      const pending = byFirst[i] as Pending
      if (pending.blob.blockOffset >= end) break
      reached.push(pending)
    }
    for (const pending of this.#long) {
      const { blockOffset, blockLength } = pending.blob
      if (blockOffset < start && start < blockOffset + blockLength) reached.push(pending)
    }
    this.#complete(reached)
  }

  /** Puts blobs in place of which all is here. */
  #complete(reached: readonly Pending[]): void {
    if (reached.length === 0) return
    this.#finishing = this.#finishing.then(async () => {
      const blobs = await this.#folder.blobs()
      const whole = reached.filter(
        (pending) => this.#isPending(pending) && isHeld(blobs, pending.blob)
      )
      try {
        const placed = whole.filter((pending) => pending.placed > 0)
        const fitting = await fittingOf(
          this.#folder,
          placed.map(({ blob }) => blob)
        )
        for (const pending of whole) {
          if (this.#failure !== null) return
          if (this.#isPending(pending)) await this.#finish(pending, fitting, blobs)
        }
        await this.#placement.saveSometimes()
      } catch (error) {
        this.#fail(error)
      }
    })
  }

  async #finish(pending: Pending, fitting: ReadonlySet<BlobRange>, blobs: Blobs): Promise<void> {
    const { blob, steps, placed, compared } = pending
    if (placed > 0 && !fitting.has(blob) && !(await isFitting(this.#folder, blob))) {
      for (const step of steps.slice(0, placed)) await this.#placement.takeBack(step, blob)
    }
    for (const step of steps.slice(placed)) {
      if (!(await this.#placement.putHeld(step, blobs))) return
    }
    if (compared) await rm(this.#folder.places.incomingPath(blob), { force: true })
    this.#settled(pending)
  }

  #isPending(pending: Pending): boolean {
    return this.#pending.get(pending.blob) === pending
  }

  #settled(pending: Pending): void {
    this.#pending.delete(pending)
    if (this.#pending.size === 0) this.#wake()
  }

  /**
   * Whole blobs came in one piece each: they become their files at once. Runs while the feed is being written, so nothing
   * is read from the feed here.
   *
   * @returns those that have to be kept.
   */
  async #whole(whole: readonly WholeBlob[]): Promise<readonly WholeBlob[]> {
    // Paths are not final before the last name is known.
    if (this.#letIn !== null) return whole
    const made = await this.#placement.putInNewFolders(this.#newFiles(whole))
    const rest: WholeBlob[] = []
    for (const one of whole) {
      const pending = this.#pending.get(one.range)
      if (pending === undefined || pending.placed > 0) {
        rest.push(one)
        continue
      }
      const turn = this.#placement.turn()
      if (turn !== null) await turn
      for (const step of pending.steps) {
        const isPlaced =
          made.has(step) ||
          this.#placement.putNew(step, one.bytes) ||
          // What stands in its way may itself be about to move until all that is here is in place.
          (this.#isFetching && (await this.#placement.putWhole(step, one.bytes)))
        if (!isPlaced) break
        pending.placed++
      }
      if (pending.placed < pending.steps.length) rest.push(one)
    }
    return rest
  }

  /** The files that whole blobs are to become. */
  *#newFiles(whole: readonly WholeBlob[]): Generator<readonly [PutStep, Uint8Array], void, void> {
    for (const { range, bytes } of whole) {
      const pending = this.#pending.get(range)
      if (pending === undefined || pending.placed > 0) continue
      for (const step of pending.steps) yield [step, bytes]
    }
  }

  /** What came of blobs that this version does not have is given up. */
  async dropStale(steps: readonly Step[]): Promise<void> {
    const { places } = this.#folder
    const expected = places.expected().filter((blob) => this.#pending.get(blob) === undefined)
    if (expected.length === 0) return
    const kept = new Set<string>()
    for (const { source } of steps) {
      if (source?.entry.blob != null) kept.add(keyOf(source.entry.blob))
    }
    const stale = expected.filter((blob) => !kept.has(keyOf(blob)))
    await letGo(this.#folder, stale)
  }
}

/** Milliseconds between two looks at how much has come. */
const PROGRESS_MS = 100
const ABSENT = 'the drive does not have its blocks'
