/**
 * Brings a folder to what a drive holds: plan, fetch what is not here, put in place.
 *
 * Blobs come straight into files of ours below `.syncline`, small ones into the file itself, and are moved to their
 * names when they are whole: the files of the folder are the store of the blobs. What a version replaces or removes
 * goes to the trash, from where it goes on being served. What the user changed here is never overwritten: it gets a
 * name of its own, beside.
 *
 * @module
 */
import { EventEmitter, setMaxListeners } from 'node:events'
import { lstatSync, type BigIntStats } from 'node:fs'
import { chmod, open, rm, truncate } from 'node:fs/promises'
import path from 'node:path'
import { isSynclineError, SynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import type { FeedChange } from '../feed/feed.ts'
import { compareContent } from './content.ts'
import { DriveBlobs } from './drive-blobs.ts'
import { readMetadata, sameRange, type BlobRange } from './entry.ts'
import type { Known } from './folder/catalog.ts'
import { reflinkOrCopy } from './folder/copy.ts'
import type { FileAttributes } from './folder/file-attributes.ts'
import type { Blobs, DriveFolder } from './folder/drive-folder.ts'
import { FileNames, type Renamed } from './folder/file-names.ts'
import { hashFile, holdsLeaves } from './folder/file-reader.ts'
import { probeNames } from './folder/name-probe.ts'
import { fieldsOf, sameStamp, stampOf, type Stamp, type StampFields } from './folder/stamp.ts'
import {
  Target,
  type Blocked,
  type Placed,
  type PutOptions,
  type Refused
} from './folder/target.ts'
import { parseKeep, Trash, type TrashInfo } from './folder/trash.ts'
import { listDrive, type ListedEntry } from './listing.ts'
import { holdsBack, plan, type Action, type Comparison } from './plan.ts'
import {
  ABSENT_BLOCKS_MS,
  BLOCK_BYTES_MAX,
  COMPARED_FILES,
  FEED_LENGTH_MAX,
  FETCHED_WHOLE_BYTES
} from '../limits.ts'
import { ProgressNotes } from './progress.ts'
import { adoptMatches, findMatches } from './reuse.ts'
import { Selection } from './selection.ts'

/** Options of {@link Clone}. */
export interface CloneOptions {
  /** True: each file is on the disk before the next step. Default: false. */
  readonly fsync?: boolean
  /** Deletes that are allowed where there is no trash; null holds back more than ten that are more than a quarter. */
  readonly maxDelete?: number | null
  readonly progress?: ProgressNotes
  readonly signal?: AbortSignal
}

/** An entry that was not applied. */
export interface SkippedEntry {
  readonly name: string
  readonly reason: string
}

/** What an update of a clone did. */
export interface CloneReport {
  /** The version that the folder has now. */
  readonly version: number
  /** Entries by what was done with them. */
  readonly added: number
  readonly changed: number
  readonly removed: number
  /** Files that came from others that were here, at no transfer. */
  readonly reused: number
  /** Blocks of changed files that were here already. */
  readonly adopted: number
  /** Local edits that stood in the way, and where they are now. */
  readonly conflicts: readonly { readonly name: string; readonly path: string }[]
  readonly skipped: readonly SkippedEntry[]
  /** Names that have another name here, since the file system does not take theirs. */
  readonly renamed: readonly Renamed[]
  /** Names whose deletion is held back: too many at once, and no trash. */
  readonly heldBack: readonly string[]
}

/** Events of a {@link Clone}. */
export interface CloneEvents {
  /** The folder was brought to a version. */
  updated: [report: CloneReport]
  /** A newer version came before all of an older one was here. */
  superseded: [version: number, newer: number]
  /** Names that the file system does not take, before anything is written. */
  renamed: [renamed: readonly Renamed[]]
}

interface Row {
  readonly name: string
  readonly known: Known
}

type Step = Action<ListedEntry, Row>
type PutStep = Exclude<Step, { type: 'remove' }>
type Put = PutOptions & FileAttributes

/** A blob that is to come. */
interface Pending {
  readonly blob: BlobRange
  readonly steps: PutStep[]
  /** True once it came in one piece and is in place, before the tree told whether it is what its entries say. */
  placed: boolean
  /** True if a local file was copied to where it comes to. */
  readonly compared: boolean
  /** True once its blocks are asked for: they are when the feed is known to reach that far. */
  asked: boolean
}

/** Rows after which the catalog is written. */
const SAVE_ROWS = 2000

/** See the module comment. One at a time for a folder. */
export class Clone extends EventEmitter<CloneEvents> {
  readonly folder: DriveFolder
  readonly progress: ProgressNotes
  readonly #options: CloneOptions
  readonly #trash: Trash | null
  #names: FileNames
  #target: Target
  #state = newState()
  /** Blobs that are to come, by {@link keyOf}. */
  readonly #pending = new Map<string, Pending>()
  /** The same in the order of their first blocks: which of them an arrival may complete. */
  #byFirst: Pending[] = []
  /** Those that reach beyond the first block of another: an arrival in their middle may be their last. */
  #long: Pending[] = []
  /** Puts whole files in place, one after the other. */
  #finishing: Promise<void> = Promise.resolve()
  #failure: Error | null = null
  #signal: AbortSignal | null = null
  #wake: () => void = () => {}
  #unsaved = 0

  constructor(folder: DriveFolder, options: CloneOptions = {}) {
    super()
    this.folder = folder
    this.#options = options
    this.progress = options.progress ?? new ProgressNotes()
    const rule = parseKeep(folder.config.keep)
    const keeps = rule.days > 0 && rule.percent > 0
    this.#trash = keeps ? new Trash(folder.statePath('trash')) : null
    folder.placeTrash(this.#trash?.list() ?? [])
    const renamed: Renamed[] = []
    for (const [name, known] of folder.catalog.rows()) {
      if (known.path !== undefined) renamed.push({ name, path: known.path })
    }
    this.#names = new FileNames(probeNames(folder.statePath()), renamed)
    this.#target = this.#newTarget()
    this.#target.sweep()
  }

  /**
   * Brings the folder to the newest version that is known here, or to the one that it stays at.
   *
   * Resolves when all of it is in place, or could not be put there and is told in the report. A newer version that
   * comes meanwhile takes over.
   *
   * @throws SynclineError FEED_NOT_FOUND for a version that does not exist; DISK_FULL, STORAGE_FAILED, ENCRYPTED; the
   * signal's reason. What is in place stays, and the next update goes on from there.
   */
  async update(signal: AbortSignal | null = null): Promise<CloneReport> {
    const signals = [signal, this.#options.signal].filter((one) => one != null)
    this.#signal = signals.length > 1 ? AbortSignal.any(signals) : (signals[0] ?? null)
    while (true) {
      const version = this.#version()
      await this.#checkWhole(version)
      const report = await this.#apply(version)
      if (report !== null) {
        this.emit('updated', report)
        return report
      }
      this.emit('superseded', version, this.#version())
    }
  }

  /**
   * Takes a file or link out of the folder, whatever it holds, so that the next update brings it again. What stands
   * there goes to the trash; without one it gets a name of its own, beside.
   *
   * @returns its new path below the root; null if nothing stands there.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async discard(name: string): Promise<string | null> {
    const { catalog, root } = this.folder
    const known = catalog.get(name)
    const at = this.#names.pathOf(name)
    if (known === undefined || at === null) return null
    let moved: string | null = null
    if (exists(path.join(root, at))) {
      const old = { name, blob: null, timeMs: Date.now() }
      const removed = this.#trash === null ? null : await this.#target.remove(name, { old })
      const trashed = removed?.verdict === 'done' ? removed.trashed : null
      moved =
        trashed == null
          ? this.#target.moveAside(at, Date.now()).path
          : path.relative(root, trashed.entry.path)
    }
    if (known.entry.blob !== null) this.folder.leaveFile(name, known.entry.blob)
    catalog.delete(name)
    await catalog.save()
    return moved
  }

  /**
   * Deletes what stands under a name, the drive's or the user's, if it is as it was seen: into the trash, or for good if
   * there is none. With a file of the drive's, the next update brings it again. Folders go that this left empty.
   *
   * @param stamp - null if nothing stood there.
   * @returns false if something else stands there, or the system does not let it go.
   * @throws SynclineError DISK_FULL.
   */
  async delete(name: string, stamp: Stamp | null): Promise<boolean> {
    const { catalog } = this.folder
    const known = catalog.get(name)
    const old = this.#trash === null ? {} : { old: { name, blob: null, timeMs: Date.now() } }
    try {
      const removed = await this.#target.remove(name, {
        ...old,
        ...(stamp === null ? {} : { expected: fieldsOf(stamp) }),
        mayRemove: (folder) => !this.#state.folders.has(folder)
      })
      if (removed.verdict === 'blocked' || removed.verdict === 'refused') return false
    } catch (error) {
      if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
      return false
    }
    if (known === undefined) return true
    const { blob } = known.entry
    catalog.delete(name)
    if (blob === null || blob.byteLength === 0 || !this.folder.leaveFile(name, blob)) return true
    // Nobody has its bytes here any more: they are asked for.
    await this.folder.places.drop(blob)
    const { feed } = await this.folder.blobs()
    await feed.release([[blob.blockOffset, blob.blockOffset + blob.blockLength]])
    return true
  }

  /** Deletes a folder if it is empty and the drive has none there; see {@link Clone.delete}. */
  async deleteFolder(name: string): Promise<void> {
    if (this.#state.folders.has(name)) return
    await this.#removeEmptyFolders(`${name}/`)
  }

  #version(): number {
    const { config, index } = this.folder
    if (config.at === null) return index.version
    if (config.at > index.version) {
      const reason = `there is no version ${config.at}: the newest is ${index.version}`
      throw new SynclineError('FEED_NOT_FOUND', reason)
    }
    return config.at
  }

  /** What stands in the midst of an append has no tree of its own: taken for a version it would lack most names. */
  async #checkWhole(version: number): Promise<void> {
    const { config, index } = this.folder
    if (config.at === null || (await index.isWhole(version))) return
    const reason = `there is no version ${version}: it was written together with later ones`
    throw new SynclineError('FEED_NOT_FOUND', reason)
  }

  /** Null if a newer version came. */
  async #apply(version: number): Promise<CloneReport | null> {
    const { folder } = this
    const { catalog } = folder
    const signal = this.#signal
    this.#state = newState()
    this.#failure = null
    const blobs = await folder.blobs()
    this.progress.set({ phase: 'scan', files: 0, bytes: 0, filesTotal: 0, bytesTotal: 0 })
    const steps = await this.#plan(version)
    const stop = blobs.feed.onchange((change) => this.#arrived(change))
    folder.places.keeper = { whole: (range, bytes) => this.#whole(range, bytes) }
    try {
      const removals = steps.filter((step) => step.type === 'remove')
      const fetches = await this.#putWhatIsHere(steps, removals, blobs)
      await this.#dropStale(steps, blobs)
      const superseded = await this.#fetch(fetches, version, blobs)
      if (superseded) return null
      for (const step of this.#state.mapped) await this.#putMapped(step, blobs)
      this.progress.set({ phase: 'apply' })
      const held = await this.#remove(removals)
      for (const step of this.#state.deferred) {
        await this.#putDeferred(step, blobs)
      }
      await this.#putFolders(steps)
      signal?.throwIfAborted()
      if (held.length === 0) catalog.version = version
      await this.#expire()
      this.progress.set({ phase: 'done' })
      return this.#report(version, held)
    } finally {
      stop()
      folder.places.keeper = null
      await this.#finishing.catch(() => {})
      await catalog.save()
    }
  }

  /** Puts what had to wait until what was below its name is gone. */
  async #putDeferred(step: PutStep, blobs: Blobs): Promise<void> {
    const { kind, entry } = step.source
    if (kind === 'link') await this.#putLink(step)
    else if (entry.blob?.byteLength === 0) await this.#putBytes(step, NO_BYTES)
    else if (!(await this.#putHeld(step, blobs))) this.#skip(step.name, GONE)
  }

  async #plan(version: number): Promise<Step[]> {
    const { folder } = this
    const { config, index, catalog } = folder
    const state = this.#state
    const selection = new Selection(config.only)
    const names = this.#names
    const listed = async function* (): AsyncGenerator<readonly ListedEntry[]> {
      let batch: ListedEntry[] = []
      const entries = listDrive(index, version, ({ name, reason }) => {
        state.skipped.push({ name, reason: `the drive has a bad entry (${reason})` })
      })
      for await (const item of entries) {
        if (!selection.has(item.name)) continue
        if (item.kind === 'folder') state.folders.add(item.name)
        const refusal = names.add(item.name)
        if (refusal !== null) {
          state.skipped.push({ name: item.name, reason: refusal })
          continue
        }
        batch.push(item)
        if (batch.length < 1024) continue
        yield batch
        batch = []
      }
      yield batch
    }
    const steps: Step[] = []
    for await (const batch of plan(listed(), rowsOf(catalog), compare)) {
      this.#signal?.throwIfAborted()
      for (const step of batch) {
        // What is not selected any more stays as it is.
        if (step.type !== 'remove' || selection.has(step.name)) steps.push(step)
      }
    }
    const renamed = names.renamed()
    if (renamed.length > 0) this.emit('renamed', renamed)
    return steps
  }

  /** Does what needs no transfer. Returns the steps that do. */
  async #putWhatIsHere(
    steps: readonly Step[],
    removals: readonly Step[],
    blobs: Blobs
  ): Promise<PutStep[]> {
    const fetches: PutStep[] = []
    const movable = new Map<number, Step>()
    for (const step of removals) {
      const blob = step.target?.known.entry.blob ?? null
      if (blob !== null && blob.byteLength > 0) movable.set(blob.byteOffset, step)
    }
    let filesTotal = 0
    for (const step of steps) {
      this.#signal?.throwIfAborted()
      if (step.type === 'remove' || step.source.kind === 'folder') continue
      filesTotal++
      const { blob } = step.source.entry
      if (step.source.kind === 'link') await this.#putLink(step)
      else if (blob === null) continue
      else if (step.type === 'touch') await this.#touch(step)
      else if (blob.blockMap === true) this.#state.mapped.push(step)
      else if (blob.byteLength === 0) await this.#putBytes(step, NO_BYTES)
      else if (isImpossible(blob)) this.#skip(step.name, MISFIT)
      else if (!isHeld(blobs, blob)) fetches.push(step)
      else if (!(await this.#putLocal(step, movable.get(blob.byteOffset), blobs))) {
        fetches.push(step)
      }
    }
    this.progress.set({ filesTotal })
    return fetches
  }

  /** Puts a file in place whose blob is held. False if its bytes turn out to be gone. */
  async #putLocal(step: PutStep, moved: Step | undefined, blobs: Blobs): Promise<boolean> {
    const at = this.#names.pathOf(step.name)
    // A stop came after it was put in place, and before that was noted.
    const { entry } = step.source
    const isThere = at !== null && (await this.#holds(at, step.source))
    if (isThere && (await isFitting(this.folder, entry.blob as BlobRange))) {
      await rm(this.folder.places.incomingPath(entry.blob as BlobRange), { force: true })
      await this.#touch(step)
      return true
    }
    return (await this.#move(step, moved)) || this.#putHeld(step, blobs)
  }

  /** True if a newer version came before all was here. */
  async #fetch(steps: readonly PutStep[], version: number, blobs: Blobs): Promise<boolean> {
    const { folder } = this
    const signal = this.#signal
    let bytesTotal = 0
    this.#pending.clear()
    const comparable: PutStep[] = []
    for (const step of steps) {
      const blob = step.source.entry.blob as BlobRange
      const others = this.#pending.get(keyOf(blob))
      if (others !== undefined) {
        others.steps.push(step)
        continue
      }
      const asked = this.#isComparable(step, blobs)
      this.#pending.set(keyOf(blob), { blob, steps: [step], placed: false, compared: asked, asked })
      if (asked) comparable.push(step)
      bytesTotal += blob.byteLength
    }
    if (steps.length === 0) return false
    this.#order()
    if (folder.inPlace) folder.places.expectAll(this.#byFirst.map(({ blob }) => blob))
    const written = folder.places.bytesWritten
    const wanted: [start: number, end: number][] = []
    this.progress.set({ phase: 'transfer', bytesTotal })
    const appended = (): void => this.#wake()
    const stop = new AbortController()
    // Each node that a comparison waits for listens to it.
    setMaxListeners(0, stop.signal)
    const grew = (): void => {
      void this.#ask(blobs, wanted).catch(failed)
    }
    const failed = (error: unknown): void => {
      this.#failure ??= error as Error
      this.#wake()
    }
    let absentMs = 0
    const timer = setInterval(() => {
      this.progress.set({ bytes: folder.places.bytesWritten - written })
      absentMs = this.#waitsForNothing(blobs) ? absentMs + PROGRESS_MS : 0
      if (absentMs >= ABSENT_BLOCKS_MS) this.#skipAbsent()
    }, PROGRESS_MS)
    blobs.session.on('append', grew)
    blobs.session.on('failed', failed)
    folder.indexSession.on('append', appended)
    folder.indexSession.on('synced', appended)
    signal?.addEventListener('abort', appended)
    try {
      await this.#ask(blobs, wanted)
      const comparing = this.#compareAll(comparable, blobs, wanted, stop.signal).catch(failed)
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
      blobs.session.off('append', grew)
      blobs.session.off('failed', failed)
      folder.indexSession.off('append', appended)
      folder.indexSession.off('synced', appended)
      signal?.removeEventListener('abort', appended)
      this.#pending.clear()
      this.#order()
      stop.abort()
      for (const range of wanted) await blobs.session.unwant(range).catch(() => {})
    }
  }

  /** Asks for what the feed is known to have, and was not asked for yet. */
  async #ask(blobs: Blobs, wanted: [start: number, end: number][]): Promise<void> {
    const { length } = blobs.feed
    const reached = this.#byFirst.filter(
      ({ blob, asked }) => !asked && blob.blockOffset + blob.blockLength <= length
    )
    for (const pending of reached) pending.asked = true
    for (const range of joinBlocks(reached.map(({ blob }) => blob))) {
      wanted.push(range)
      await blobs.session.want(range)
    }
    // Some may have come before anybody waited for them.
    for (const pending of reached) if (isHeld(blobs, pending.blob)) this.#complete(pending)
  }

  /** True if all that is still to come lies beyond the end of the feed, as far as any peer knows. */
  #waitsForNothing({ session }: Blobs): boolean {
    for (const { asked } of this.#pending.values()) if (asked) return false
    return this.#pending.size > 0 && session.progress().synced
  }

  /** True if blocks are waited for. */
  awaits(start: number, end: number): boolean {
    return this.#byFirst.some(
      ({ blob }) =>
        this.#pending.has(keyOf(blob)) &&
        blob.blockOffset < end &&
        start < blob.blockOffset + blob.blockLength
    )
  }

  #skipAbsent(): void {
    for (const pending of this.#pending.values()) {
      for (const { name } of pending.steps) this.#skip(name, ABSENT)
      this.#settled(pending)
    }
  }

  #order(): void {
    const sorted = [...this.#pending.values()].sort(
      (a, b) => a.blob.blockOffset - b.blob.blockOffset
    )
    this.#byFirst = sorted
    this.#long = sorted.filter(({ blob }, i) => {
      const next = sorted[i + 1]?.blob.blockOffset ?? Infinity
      return blob.blockOffset + blob.blockLength > next
    })
  }

  /** True if a local file may hold part of what is to come, and nothing of it came yet. */
  #isComparable({ name, source }: PutStep, { feed }: Blobs): boolean {
    const { blockOffset, blockLength, byteLength } = source.entry.blob as BlobRange
    const at = this.#names.pathOf(name)
    if (!this.folder.inPlace || at === null || byteLength <= FETCHED_WHOLE_BYTES) return false
    const stats = look(path.join(this.folder.root, at))
    if (stats === null || !stats.isFile() || stats.size === 0n) return false
    if (blockLength === 1 && stats.size !== BigInt(byteLength)) return false
    return feed.have.firstSet(blockOffset, blockOffset + blockLength) === -1
  }

  /** Compares files with what they are to become, some at a time; what is missing then is wanted. */
  async #compareAll(
    steps: readonly PutStep[],
    blobs: Blobs,
    wanted: [start: number, end: number][],
    signal: AbortSignal
  ): Promise<void> {
    const queue = steps.values()
    const work = async (): Promise<void> => {
      for (const { name, source } of queue) {
        const blob = source.entry.blob as BlobRange
        const file = path.join(this.folder.root, this.#names.pathOf(name) as string)
        await this.#reuse(file, blob, blobs, signal).catch((error: unknown) => {
          // Whatever it was: all of it can be fetched.
          if (isSynclineError(error, 'DISK_FULL')) throw error
        })
        if (signal.aborted) return
        const range: [number, number] = [blob.blockOffset, blob.blockOffset + blob.blockLength]
        wanted.push(range)
        await blobs.session.want(range)
        const pending = this.#pending.get(keyOf(blob))
        if (pending !== undefined) this.#complete(pending)
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
    const incoming = this.folder.places.incomingPath(blob)
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
    this.#state.adopted += adopted
  }

  #isSuperseded(version: number): boolean {
    const { config, index, indexSession } = this.folder
    return config.at === null && index.version > version && indexSession.progress().synced
  }

  #arrived(change: FeedChange): void {
    if (change.type !== 'have') return
    const { start, end } = change
    const byFirst = this.#byFirst
    let low = 0
    let high = byFirst.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((byFirst[middle] as Pending).blob.blockOffset < start) low = middle + 1
      else high = middle
    }
    for (let i = Math.max(low - 1, 0); i < byFirst.length; i++) {
      const pending = byFirst[i] as Pending
      if (pending.blob.blockOffset >= end) break
      this.#complete(pending)
    }
    for (const pending of this.#long) {
      const { blockOffset, blockLength } = pending.blob
      if (blockOffset < start && start < blockOffset + blockLength) this.#complete(pending)
    }
  }

  /** Puts a blob in place if all of it is here. */
  #complete(pending: Pending): void {
    const { blob, steps } = pending
    this.#finishing = this.#finishing.then(async () => {
      if (!this.#pending.has(keyOf(blob)) || this.#failure !== null) return
      const blobs = await this.folder.blobs()
      if (!isHeld(blobs, blob)) return
      try {
        if (!pending.placed) {
          for (const step of steps) if (!(await this.#putHeld(step, blobs))) return
        } else if (!(await isFitting(this.folder, blob))) {
          for (const step of steps) await this.#takeBack(step, blob)
        } else if (pending.compared) {
          await rm(this.folder.places.incomingPath(blob), { force: true })
        }
        this.#settled(pending)
        await this.#saveSometimes()
      } catch (error) {
        this.#failure = error as Error
        this.#wake()
      }
    })
  }

  #settled({ blob }: Pending): void {
    this.#pending.delete(keyOf(blob))
    if (this.#pending.size === 0) this.#wake()
  }

  /**
   * A whole blob came in one piece: it becomes its files at once. Runs while the feed is being written, so nothing is
   * read from the feed here.
   */
  async #whole(blob: BlobRange, bytes: Uint8Array): Promise<boolean> {
    const pending = this.#pending.get(keyOf(blob))
    if (pending === undefined || pending.placed) return false
    for (const step of pending.steps) {
      const placed = await this.#target.write(step.name, bytes, this.#putOptions(step))
      if (placed.verdict !== 'done') return false
      this.#placed(step, placed)
    }
    pending.placed = true
    return true
  }

  /** The bytes of an entry are not those of its blocks: what was made of them goes. */
  async #takeBack({ type, name }: PutStep, blob: BlobRange): Promise<void> {
    const { catalog } = this.folder
    const known = catalog.get(name)
    if (known?.stamp != null) {
      await this.#target.remove(name, { expected: fieldsOf(known.stamp) })
    }
    this.folder.leaveFile(name, blob)
    await this.folder.places.drop(blob)
    catalog.delete(name)
    if (type === 'add') this.#state.added--
    else this.#state.changed--
    this.#skip(name, MISFIT)
  }

  /** Puts a file in place whose blob is held, wherever its bytes are. False if they turn out to be gone. */
  async #putHeld(step: PutStep, blobs: Blobs): Promise<boolean> {
    const { places, inPlace } = this.folder
    const blob = step.source.entry.blob as BlobRange
    if (!(await isFitting(this.folder, blob))) {
      await places.drop(blob)
      this.#skip(step.name, MISFIT)
      return true
    }
    const incoming = places.incomingPath(blob)
    const isIncoming =
      inPlace &&
      places.expects(blob) &&
      exists(incoming) &&
      (places.isWhole(blob) || (await hasBytes(this.folder, incoming, blob)))
    const file = isIncoming ? incoming : await this.#copyOf(blob, blobs)
    if (file === null) return false
    if (!isIncoming) this.#state.reused++
    try {
      await this.#put(step, (options) => this.#target.place(file, step.name, options))
    } finally {
      if (!isIncoming) await rm(file, { force: true })
    }
    return true
  }

  /** A file of ours with the bytes of a held blob, hashed; null if they are not to be had. */
  async #copyOf(blob: BlobRange, { session }: Blobs): Promise<string | null> {
    const { places, root } = this.folder
    const end = blob.blockOffset + blob.blockLength
    const copy = this.#newCopy()
    const file = places.fileOf(blob)
    if (file !== null) {
      try {
        await reflinkOrCopy(path.join(root, file), copy)
        if (await hasBytes(this.folder, copy, blob)) return copy
      } catch (error) {
        if (isSynclineError(error, 'DISK_FULL')) throw error
      }
      await rm(copy, { force: true })
    }
    const handle = await open(copy, 'wx', 0o600)
    try {
      for (let block = blob.blockOffset; block < end;) {
        const blocks = await session.getRun(block, end)
        if (blocks === null) {
          await rm(copy, { force: true })
          return null
        }
        for (const bytes of blocks) await handle.writeFile(bytes)
        block += blocks.length
      }
    } finally {
      await handle.close()
    }
    return copy
  }

  /**
   * Puts a file in place whose blocks are listed in a map. Other files may share them, so they are kept as blocks as well.
   */
  async #putMapped(step: PutStep, { session }: Blobs): Promise<void> {
    const copy = this.#newCopy()
    const signal = this.#signal
    try {
      const handle = await open(copy, 'wx', 0o600)
      try {
        const blob = step.source.entry.blob as BlobRange
        const pieces = new DriveBlobs(session).read(blob, signal === null ? {} : { signal })
        for await (const piece of pieces) await handle.writeFile(piece)
      } finally {
        await handle.close()
      }
      await this.#put(step, (options) => this.#target.place(copy, step.name, options))
    } catch (error) {
      if (!isSynclineError(error, 'BAD_MESSAGE') && !isSynclineError(error, 'TOO_MANY')) throw error
      this.#skip(step.name, MISFIT)
    } finally {
      await rm(copy, { force: true })
    }
  }

  /** A file of ours that is gone when the next clone begins. */
  #newCopy(): string {
    const number = COPY_NUMBERS + copies++
    return this.folder.statePath('incoming', `write-${process.pid}-${number}`)
  }

  /** Renames the file that had these bytes, if it is to go and nobody changed it. */
  async #move(step: PutStep, from: Step | undefined): Promise<boolean> {
    const { catalog, root } = this.folder
    const known = from?.target?.known
    if (from === undefined || known === undefined || !catalog.get(from.name)) return false
    if (!sameBlob(known.entry.blob, step.source.entry.blob)) return false
    const local = this.#names.pathOf(from.name)
    if (local === null || known.stamp === null) return false
    const file = path.join(root, local)
    const stats = look(file)
    if (stats === null || !stats.isFile() || !sameStamp(stampOf(stats), known.stamp)) return false
    await this.#put(step, (options) => this.#target.place(file, step.name, options))
    if (look(file) !== null) return true
    this.folder.leaveFile(from.name, known.entry.blob as BlobRange)
    catalog.delete(from.name)
    await this.#removeEmptyFolders(from.name)
    this.#state.reused++
    this.#state.removed++
    return true
  }

  async #putBytes(step: PutStep, bytes: Uint8Array): Promise<void> {
    await this.#put(step, (options) => this.#target.write(step.name, bytes, options))
  }

  async #putLink(step: PutStep): Promise<void> {
    const linkname = step.source.entry.linkname as string
    await this.#put(step, (options) => this.#target.link(step.name, linkname, options))
  }

  /** Only time or mode changed: a file that the user changed stays as it is. */
  async #touch(step: PutStep): Promise<void> {
    const local = this.#names.pathOf(step.name)
    if (local === null) return
    const file = path.join(this.folder.root, local)
    const present = this.#putOptions(step)
    const options = withOld(present, present.expected ?? look(file), null)
    const placed = await this.#target.place(file, step.name, options).catch((error: unknown) => {
      if (isSynclineError(error, 'STORAGE_FAILED')) return null
      throw error
    })
    if (placed?.verdict === 'done') this.#placed(step, placed)
    else await this.#keepLocal(step)
  }

  /** What the user made of a file stays; the catalog learns what the drive says of it. */
  async #keepLocal({ name, source }: PutStep): Promise<void> {
    const known = this.folder.catalog.get(name)
    if (known !== undefined)
      this.folder.catalog.set(name, { ...known, entry: source.entry, stamp: null })
  }

  /** Puts something in place, whatever stands there: ours goes to the trash, the user's gets a name of its own. */
  async #put(
    step: PutStep,
    attempt: (options: Put) => Promise<Placed | Blocked | Refused>
  ): Promise<void> {
    let options = this.#putOptions(step)
    try {
      for (let tries = 0; tries < PUT_TRIES; tries++) {
        const verdict = await attempt(options)
        if (verdict.verdict === 'done') return this.#placed(step, verdict)
        if (verdict.verdict === 'refused') return this.#skip(step.name, verdict.reason)
        const next = await this.#makeWay(step, verdict, options)
        if (next === null) return
        options = next
      }
      this.#skip(step.name, 'something stands in the way again and again')
    } catch (error) {
      // What the system refuses for one entry does not end the others.
      if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
      this.#skip(step.name, systemCode(error.cause) || error.message)
    }
  }

  #putOptions({ name, source }: PutStep): Put {
    const known = this.folder.catalog.get(name)
    const { executable, metadata } = source.entry
    const { mode, mtimeMs } = readMetadata(metadata)
    const stamp = known?.kind === 'folder' ? null : (known?.stamp ?? null)
    const old = this.#trashInfo(name, known)
    return {
      executable,
      mode,
      mtimeMs,
      fsync: this.#options.fsync ?? false,
      expected: stamp === null ? null : fieldsOf(stamp),
      ...(old === null || stamp === null ? {} : { old })
    }
  }

  #trashInfo(name: string, known: Known | undefined): TrashInfo | null {
    if (this.#trash === null || known === undefined || known.kind === 'folder') return null
    return { name, blob: known.entry.blob, timeMs: Date.now() }
  }

  /** Deals with what stands in the way. Returns how to try again, or null if that is settled. */
  async #makeWay(step: PutStep, { path: at, by }: Blocked, options: Put): Promise<Put | null> {
    const { name } = step
    if (by === 'nothing') return withOld(options, null, null)
    const isOwn = at === this.#names.pathOf(name)
    if (by === 'folder' && isOwn && !this.#state.deferred.includes(step)) {
      // It may be empty once what was below it is gone.
      const removed = await this.#target.removeFolder(name)
      if (removed.verdict === 'done') return withOld(options, null, null)
      this.#state.deferred.push(step)
      return null
    }
    const owner = isOwn ? name : this.#names.nameOf(at)
    const known = this.folder.catalog.get(owner)
    const isBare = by === 'file' || by === 'link'
    if (isBare && (await this.#isKnown(at, known))) {
      const stats = look(path.join(this.folder.root, at))
      if (stats !== null && isOwn && step.source.kind !== 'folder') {
        const old = this.#trashInfo(name, known)
        return withOld(options, stats, old)
      }
      if (stats !== null && known !== undefined) {
        await this.#removeFile(owner, known, stats)
        return options
      }
    }
    if (isBare && isOwn && (await this.#holds(at, step.source))) {
      // Just what is to come: only its time and mode are to be set.
      const stats = look(path.join(this.folder.root, at))
      if (stats !== null) return withOld(options, stats, null)
    }
    const moved = this.#target.moveAside(at, Date.now())
    this.#state.conflicts.push({ name: owner, path: moved.path })
    return withOld(options, null, null)
  }

  /** True if a local file or link is what the catalog says. */
  async #isKnown(at: string, known: Known | undefined): Promise<boolean> {
    return known !== undefined && known.kind !== 'folder' && this.#holds(at, known)
  }

  async #holds(at: string, entry: Pick<Known, 'kind' | 'entry'>): Promise<boolean> {
    const file = path.join(this.folder.root, at)
    return (await compareContent(this.folder, file, entry)) === 'ok'
  }

  /** Something stands in its place: the catalog and the places follow. */
  #placed(step: PutStep, { path: at, stats, trashed }: Placed): void {
    const { name, source } = step
    const { catalog } = this.folder
    const { kind, entry } = source
    const before = catalog.get(name)
    const old = before?.entry.blob ?? null
    const { blob } = entry
    if (old !== null && !(blob !== null && sameBlob(old, blob))) {
      this.#left(name, old, trashed?.entry.path ?? null)
    }
    catalog.set(name, {
      kind,
      entry,
      stamp: kind === 'folder' ? null : stampOf(stats),
      digest: 0,
      ...(`/${at}` === name ? {} : { path: at })
    })
    if (blob !== null) this.folder.placeFile(name, blob, at)
    if (step.type === 'add') this.#state.added++
    else this.#state.changed++
    this.progress.add(1, 0)
    this.#unsaved++
  }

  /** A file no longer holds a blob: its bytes are in the trash, or with another file, or gone. */
  #left(name: string, blob: BlobRange, trashed: string | null): void {
    if (blob.byteLength === 0 || !this.folder.leaveFile(name, blob)) return
    // Before a stop it may have gone to the trash already.
    const kept = trashed ?? this.#trash?.list().find((entry) => sameBlob(entry.blob, blob))?.path
    if (kept === undefined) this.#state.lost.push(blob)
    else this.#placeTrash(blob, kept)
  }

  #placeTrash(blob: BlobRange, file: string): void {
    const { places, root, inPlace } = this.folder
    if (inPlace) places.put(blob, path.relative(root, file))
  }

  /** Removes what the version no longer has. Returns the names that are held back. */
  async #remove(steps: readonly Step[]): Promise<string[]> {
    const { catalog } = this.folder
    const rows = steps.filter(({ name }) => catalog.get(name) !== undefined)
    const max = this.#trash === null ? (this.#options.maxDelete ?? null) : Infinity
    if (holdsBack(rows.length, catalog.size, max)) return rows.map(({ name }) => name)
    // Folders after what is in them.
    for (const { name } of rows.toReversed()) {
      this.#signal?.throwIfAborted()
      const known = catalog.get(name)
      if (known === undefined) continue
      try {
        if (known.kind === 'folder') await this.#removeFolder(name)
        else await this.#removeKnown(name, known)
      } catch (error) {
        if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
        this.#skip(name, systemCode(error.cause) || error.message)
      }
      await this.#saveSometimes()
    }
    return []
  }

  async #removeFolder(name: string): Promise<void> {
    if (!this.#state.folders.has(name)) {
      await this.#target.removeFolder(name, {
        mayRemove: (folder) => !this.#state.folders.has(folder)
      })
    }
    this.folder.catalog.delete(name)
  }

  async #removeKnown(name: string, known: Known): Promise<void> {
    const at = this.#names.pathOf(name)
    const stats = at === null ? null : look(path.join(this.folder.root, at))
    // A folder there is another name's, or the user's.
    if (at === null || stats === null || stats.isDirectory()) {
      if (known.entry.blob !== null) this.#left(name, known.entry.blob, null)
      this.folder.catalog.delete(name)
      await this.#removeEmptyFolders(name)
      this.#state.removed++
      return
    }
    const same = known.stamp !== null && sameStamp(stampOf(stats), known.stamp)
    if (same || (await this.#isKnown(at, known))) return this.#removeFile(name, known, stats)
    // The user changed it, and the drive has it no longer: it is the user's now.
    const moved = this.#target.moveAside(at, Date.now())
    this.#state.conflicts.push({ name, path: moved.path })
    if (known.entry.blob !== null) this.#left(name, known.entry.blob, null)
    this.folder.catalog.delete(name)
  }

  async #removeFile(name: string, known: Known, stats: BigIntStats): Promise<void> {
    const old = this.#trashInfo(name, known)
    const removed = await this.#target.remove(name, {
      expected: stats,
      fsync: this.#options.fsync ?? false,
      mayRemove: (folder) => !this.#state.folders.has(folder),
      ...(old === null ? {} : { old })
    })
    if (removed.verdict === 'refused' || removed.verdict === 'blocked') {
      return this.#skip(name, removed.verdict === 'refused' ? removed.reason : 'it just changed')
    }
    const trashed = removed.verdict === 'done' ? (removed.trashed?.entry.path ?? null) : null
    if (known.entry.blob !== null) this.#left(name, known.entry.blob, trashed)
    this.folder.catalog.delete(name)
    this.#state.removed++
    this.#unsaved++
  }

  async #removeEmptyFolders(name: string): Promise<void> {
    const above = name.slice(0, name.lastIndexOf('/'))
    if (above === '' || this.#state.folders.has(above)) return
    await this.#target
      .removeFolder(above, { mayRemove: (folder) => !this.#state.folders.has(folder) })
      .catch(() => {})
  }

  async #putFolders(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      if (step.type === 'remove' || step.source.kind !== 'folder') continue
      const attributes = readMetadata(step.source.entry.metadata)
      await this.#put(step, () => this.#target.folder(step.name, attributes))
    }
  }

  /** What came of blobs that this version does not have is given up. */
  async #dropStale(steps: readonly Step[], { feed }: Blobs): Promise<void> {
    const { places } = this.folder
    const expected = places.expected()
    if (expected.length === 0) return
    const kept = new Set<string>()
    for (const { source } of steps) {
      if (source?.entry.blob != null) kept.add(keyOf(source.entry.blob))
    }
    const stale = expected.filter((blob) => !kept.has(keyOf(blob)))
    if (stale.length === 0) return
    for (const blob of stale) await places.drop(blob)
    await feed.release(stale.map(blocksOf))
  }

  /** What the trash no longer keeps, and what nobody has, is said to be gone. */
  async #expire(): Promise<void> {
    const { folder } = this
    const lost = this.#state.lost.splice(0)
    if (this.#trash !== null) {
      let dataBytes = 0
      for (const [, { entry }] of folder.catalog.rows()) dataBytes += entry.blob?.byteLength ?? 0
      const rule = parseKeep(folder.config.keep)
      for (const { blob, path: file } of this.#trash.expire(Date.now(), dataBytes, rule)) {
        if (blob === null) continue
        if (folder.places.fileOf(blob) === path.relative(folder.root, file)) lost.push(blob)
      }
    }
    if (lost.length === 0) return
    const { feed } = await folder.blobs()
    for (const blob of lost) await folder.places.drop(blob)
    await feed.release(lost.map(blocksOf))
  }

  #skip(name: string, reason: string): void {
    this.#state.skipped.push({ name, reason })
  }

  async #saveSometimes(): Promise<void> {
    if (this.#unsaved < SAVE_ROWS) return
    this.#unsaved = 0
    await this.folder.catalog.save()
  }

  #report(version: number, heldBack: readonly string[]): CloneReport {
    const { added, changed, removed, reused, adopted, conflicts, skipped } = this.#state
    const renamed = this.#names.renamed()
    return {
      version,
      added,
      changed,
      removed,
      reused,
      adopted,
      conflicts,
      skipped,
      renamed,
      heldBack
    }
  }

  #newTarget(): Target {
    const { root, config } = this.folder
    return new Target(root, {
      names: this.#names,
      trash: this.#trash,
      links: config.allLinks ? 'all' : 'inside'
    })
  }
}

const NO_BYTES = new Uint8Array(0)
const PUT_TRIES = 5
/** Milliseconds between two looks at how much has come. */
const PROGRESS_MS = 100
const ABSENT = 'the drive does not have its blocks'
const GONE = 'its bytes were lost again'
const MISFIT = 'its blocks are not those that the drive says'
/** Numbers of the copies that are made here, apart from those of {@link Target}. */
const COPY_NUMBERS = 1_000_000_000
let copies = 0

interface State {
  added: number
  changed: number
  removed: number
  reused: number
  adopted: number
  readonly conflicts: { readonly name: string; readonly path: string }[]
  readonly skipped: SkippedEntry[]
  /** Empty folders of the version. */
  readonly folders: Set<string>
  /** Steps that wait until what is below their name is gone. */
  readonly deferred: PutStep[]
  /** Files whose blocks are listed in a map. */
  readonly mapped: PutStep[]
  /** Blobs that nobody has here any more. */
  readonly lost: BlobRange[]
}

function newState(): State {
  return {
    added: 0,
    changed: 0,
    removed: 0,
    reused: 0,
    adopted: 0,
    conflicts: [],
    skipped: [],
    folders: new Set(),
    deferred: [],
    mapped: [],
    lost: []
  }
}

function compare({ kind, entry }: ListedEntry, { known }: Row): Comparison {
  if (kind !== known.kind) return 'content'
  const { entry: before } = known
  if (kind === 'link') return entry.linkname === before.linkname ? 'same' : 'content'
  if (kind === 'file' && !sameBlob(entry.blob, before.blob)) return 'content'
  const now = readMetadata(entry.metadata)
  const then = readMetadata(before.metadata)
  const same = now.mode === then.mode && now.mtimeMs === then.mtimeMs
  return same && entry.executable === before.executable ? 'same' : 'metadata'
}

/** The options for what stands there now, and where it goes. */
function withOld(options: Put, expected: StampFields | null, old: TrashInfo | null): Put {
  const { executable, mode, mtimeMs, fsync } = options
  const kept = { executable, mode, mtimeMs, fsync } as Put
  return { ...kept, expected, ...(old === null ? {} : { old }) }
}

function* rowsOf(catalog: DriveFolder['catalog']): Generator<Row, void, void> {
  for (const [name, known] of catalog.rows()) yield { name, known }
}

function sameBlob(a: BlobRange | null, b: BlobRange | null): boolean {
  if (a === null || b === null) return false
  return (a.byteLength === 0 && b.byteLength === 0) || sameRange(a, b)
}

function isHeld({ feed }: Blobs, { blockOffset, blockLength }: BlobRange): boolean {
  return feed.have.hasAll(blockOffset, blockOffset + blockLength)
}

/** True if no blocks could hold so many bytes. */
function isImpossible({ blockOffset, blockLength, byteLength }: BlobRange): boolean {
  return byteLength > blockLength * BLOCK_BYTES_MAX || blockOffset + blockLength > FEED_LENGTH_MAX
}

/** True if the bytes of a held blob are just those of its blocks. */
async function isFitting(folder: DriveFolder, blob: BlobRange): Promise<boolean> {
  const [start, end] = blocksOf(blob)
  const from = await folder.offsetOf(start)
  return from === blob.byteOffset && (await folder.offsetOf(end)) === from + blob.byteLength
}

/** True if a file holds just the blocks of a blob, of which the leaves are known. */
async function hasBytes(folder: DriveFolder, file: string, blob: BlobRange): Promise<boolean> {
  const leaves = await folder.leaves(blob)
  return leaves !== null && holdsLeaves(file, leaves).catch(() => false)
}

function blocksOf({ blockOffset, blockLength }: BlobRange): [start: number, end: number] {
  return [blockOffset, blockOffset + blockLength]
}

function keyOf({ blockOffset, blockLength, byteOffset, byteLength }: BlobRange): string {
  return `${blockOffset} ${blockLength} ${byteOffset} ${byteLength}`
}

function look(file: string): BigIntStats | null {
  try {
    return lstatSync(file, { bigint: true, throwIfNoEntry: false }) ?? null
  } catch (error) {
    // A file or a link stands in the place of a folder above it, or nothing of that name can be there.
    if (['ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error))) return null
    throw storageError(error, file)
  }
}

function exists(file: string): boolean {
  return look(file) !== null
}

/** Blocks of ranges, joined where they touch. */
function joinBlocks(ranges: readonly BlobRange[]): [start: number, end: number][] {
  const sorted = [...ranges].sort((a, b) => a.blockOffset - b.blockOffset)
  const joined: [number, number][] = []
  for (const { blockOffset, blockLength } of sorted) {
    const last = joined.at(-1)
    if (last !== undefined && blockOffset <= last[1]) {
      last[1] = Math.max(last[1], blockOffset + blockLength)
    } else joined.push([blockOffset, blockOffset + blockLength])
  }
  return joined
}
