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
import { EventEmitter } from 'node:events'
import { SynclineError } from '../errors.ts'
import { emit } from '../synchronizer/emit.ts'
import { Arrivals } from './arrivals.ts'
import { isHeld, isImpossible, sameBlob } from './blob-check.ts'
import type { CloneReport, PutStep, Step } from './clone-report.ts'
import { readMetadata } from './entry.ts'
import type { Blobs, DriveFolder } from './folder/drive-folder.ts'
import type { CatalogRow } from './folder/catalog.ts'
import type { Renamed } from './folder/file-names.ts'
import type { Stamp } from './folder/stamp.ts'
import { listBatches, type BadEntry, type ListedEntry } from './listing.ts'
import { MISFIT, Placement } from './placement.ts'
import { plan, type Comparison } from './plan.ts'
import { ProgressNotes } from './progress.ts'
import { Selection } from './selection.ts'

export type { CloneReport, SkippedEntry } from './clone-report.ts'

/** Options of {@link Clone}. */
export interface CloneOptions {
  /** True: each file is on the disk before the next step. Default: false. */
  readonly fsync?: boolean
  /** Deletes that are allowed where no trash would keep them; null holds back more than ten that are more than a quarter. */
  readonly maxDelete?: number | null
  /** How long and how much of what is replaced or removed is kept, as long as it is open. Default: what the folder says. */
  readonly keep?: string
  readonly progress?: ProgressNotes
  readonly signal?: AbortSignal
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

const NO_BYTES = new Uint8Array(0)

/** See the module comment. One at a time for a folder. */
export class Clone extends EventEmitter<CloneEvents> {
  readonly folder: DriveFolder
  readonly progress: ProgressNotes
  readonly #options: CloneOptions
  readonly #placement: Placement
  readonly #arrivals: Arrivals
  #signal: AbortSignal | null = null

  constructor(folder: DriveFolder, options: CloneOptions = {}) {
    super()
    this.folder = folder
    this.#options = options
    this.progress = options.progress ?? new ProgressNotes()
    this.#placement = new Placement(folder, options, this.progress)
    this.#arrivals = new Arrivals(folder, this.#placement, this.progress)
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
        emit(this, 'updated', report)
        return report
      }
      emit(this, 'superseded', version, this.#version())
    }
  }

  /**
   * Takes a file or link out of the folder, whatever it holds, so that the next update brings it again. What stands
   * there goes to the trash; without one it gets a name of its own, beside.
   *
   * @returns its new path below the root; null if nothing stands there.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  discard(name: string): Promise<string | null> {
    return this.#placement.discard(name)
  }

  /** See {@link Placement.delete}. */
  delete(name: string, stamp: Stamp | null): Promise<boolean> {
    return this.#placement.delete(name, stamp)
  }

  /** Deletes a folder if it is empty and the drive has none there; see {@link Clone.delete}. */
  deleteFolder(name: string): Promise<void> {
    return this.#placement.deleteFolder(name)
  }

  /** True if blocks are waited for. */
  awaits(start: number, end: number): boolean {
    return this.#arrivals.awaits(start, end)
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
    this.#placement.begin(signal)
    const blobs = await folder.blobs()
    this.progress.set({ phase: 'scan', files: 0, bytes: 0, filesTotal: 0, bytesTotal: 0 })
    const stop = this.#arrivals.begin(blobs, signal)
    try {
      const steps = await this.#plan(version, blobs)
      await this.#placement.giveWay()
      await this.#arrivals.expectAhead(blobs)
      const removals = steps.filter((step) => step.type === 'remove')
      const fetches = await this.#putWhatIsHere(steps, removals, blobs)
      await this.#arrivals.dropStale(steps)
      const superseded = await this.#arrivals.fetch(fetches, version, blobs)
      if (superseded) return null
      for (const step of this.#placement.state.mapped) await this.#placement.putMapped(step, blobs)
      this.progress.set({ phase: 'apply' })
      const held = await this.#placement.remove(removals)
      for (const step of this.#placement.state.deferred) {
        await this.#placement.putDeferred(step, blobs)
      }
      await this.#placement.putFolders(steps)
      signal?.throwIfAborted()
      if (held.length === 0) catalog.version = version
      await this.#placement.expire()
      this.progress.set({ phase: 'done' })
      return this.#placement.report(version, held)
    } finally {
      await stop()
      await catalog.save()
    }
  }

  async #plan(version: number, blobs: Blobs): Promise<Step[]> {
    const { folder } = this
    const { config, index, catalog } = folder
    const state = this.#placement.state
    const selection = new Selection(config.only)
    if (this.#placement.isFolding) {
      const stays = await this.#namesOf(version)
      this.#placement.keepPaths((name) => stays.has(name) || !selection.has(name, false))
    }
    const names = this.#placement.names
    // What stands there stays as it is: the drive has the name, whatever we make of it.
    const passed = new Set<string>()
    const pass = (name: string, reason: string): void => {
      passed.add(name)
      this.#placement.skip(name, reason)
    }
    const onbad = ({ name, reason }: BadEntry): void =>
      pass(name, `the drive has a bad entry (${reason})`)
    const listed = async function* (): AsyncGenerator<readonly ListedEntry[]> {
      // All of the index is here.
      for await (const batch of listBatches(index, version, { onbad, readAhead: false })) {
        yield batch.filter((item) => {
          const isFolder = item.kind === 'folder'
          if (!selection.has(item.name, isFolder)) return false
          if (isFolder) state.folders.add(item.name)
          const refusal = names.add(item.name, isFolder)
          if (refusal !== null) pass(item.name, refusal)
          return refusal === null
        })
      }
    }
    const comparison = (item: ListedEntry, row: CatalogRow): Comparison => {
      const result = compare(item, row)
      return result === 'same' && this.#isLost(item, blobs) ? 'unknown' : result
    }
    const steps: Step[] = []
    for await (const batch of plan(listed(), catalog.listing(), comparison)) {
      this.#signal?.throwIfAborted()
      for (const step of batch) {
        // What is not selected any more stays as it is.
        const isFolder = step.target?.known.kind === 'folder'
        if (step.type !== 'remove' || selection.has(step.name, isFolder)) steps.push(step)
      }
      await this.#arrivals.askAhead(batch, blobs)
      const turn = this.#placement.turn()
      if (turn !== null) await turn
    }
    state.renamed = names.renamed()
    if (state.renamed.length > 0) emit(this, 'renamed', state.renamed)
    return steps.filter(({ type, name }) => type !== 'remove' || !passed.has(name))
  }

  async #namesOf(version: number): Promise<ReadonlySet<string>> {
    const names = new Set<string>()
    for await (const batch of listBatches(this.folder.index, version, { readAhead: false })) {
      this.#signal?.throwIfAborted()
      for (const { name } of batch) names.add(name)
    }
    return names
  }

  /** True if a file should be here and its bytes were not what they must be: a loss of power took them, or the user. */
  #isLost({ entry: { blob } }: ListedEntry, blobs: Blobs): boolean {
    if (!this.folder.inPlace || blob === null || blob.blockMap === true) return false
    return blob.byteLength > 0 && !isHeld(blobs, blob)
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
      if (step.type === 'remove' || step.source.kind === 'folder') continue
      filesTotal++
      if (this.#arrivals.isAhead(step)) continue
      this.#signal?.throwIfAborted()
      try {
        if (!(await this.#putWithout(step, movable, blobs))) fetches.push(step)
      } catch (error) {
        this.#placement.skipRefused(step.name, error)
      }
    }
    this.progress.set({ filesTotal })
    return fetches
  }

  /** Does a step if that needs no transfer, or leaves it for later; false if it does. */
  async #putWithout(
    step: PutStep,
    movable: ReadonlyMap<number, Step>,
    blobs: Blobs
  ): Promise<boolean> {
    const placement = this.#placement
    const { blob } = step.source.entry
    if (step.source.kind === 'link') await placement.putLink(step)
    else if (blob === null) return true
    else if (step.type === 'check' && (await placement.isSettled(step, blobs))) return true
    else if (step.type === 'touch') await placement.touch(step)
    else if (blob.blockMap === true) placement.state.mapped.push(step)
    else if (blob.byteLength === 0) await placement.putBytes(step, NO_BYTES)
    else if (isImpossible(blob)) placement.skip(step.name, MISFIT)
    else if (!isHeld(blobs, blob)) return false
    else return placement.putLocal(step, movable.get(blob.byteOffset), blobs)
    return true
  }
}

function compare({ kind, entry }: ListedEntry, { known }: CatalogRow): Comparison {
  if (kind !== known.kind) return 'content'
  const { entry: before } = known
  if (kind === 'link') return entry.linkname === before.linkname ? 'same' : 'content'
  if (kind === 'file' && !sameBlob(entry.blob, before.blob)) return 'content'
  const now = readMetadata(entry.metadata)
  const then = readMetadata(before.metadata)
  const same = now.mode === then.mode && now.mtimeMs === then.mtimeMs
  return same && entry.executable === before.executable ? 'same' : 'metadata'
}
