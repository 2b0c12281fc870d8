/**
 * Puts what a version of a drive holds into the files of a clone, and takes away what it no longer holds.
 *
 * What stands in the way and is the drive's goes to the trash, from where it goes on being served; what the user made
 * of it gets a name of its own, beside.
 *
 * @module
 */
import { rmSync, type BigIntStats } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { isSynclineError } from '../errors.ts'
import { systemCode } from '../feed/file/file-error.ts'
import { adoptAll, hasBytes, isFitting, letGo, sameBlob } from './blob-check.ts'
import type { CloneOptions } from './clone.ts'
import type { CloneReport, PutStep, SkippedEntry, Step } from './clone-report.ts'
import { compareContent } from './content.ts'
import { DriveBlobs } from './drive-blobs.ts'
import { readMetadata, type BlobRange } from './entry.ts'
import type { Known } from './folder/catalog.ts'
import { reflinkOrCopy } from './folder/copy.ts'
import type { FileAttributes } from './folder/file-attributes.ts'
import type { Blobs, DriveFolder } from './folder/drive-folder.ts'
import { FileNames, isFolding, type NameRules, type Renamed } from './folder/file-names.ts'
import { holdsLeaves } from './folder/file-reader.ts'
import { look } from './folder/look.ts'
import { probeNames } from './folder/name-probe.ts'
import { fieldsOf, sameStamp, stampOf, type Stamp, type StampFields } from './folder/stamp.ts'
import {
  Target,
  type Blocked,
  type Placed,
  type PutOptions,
  type Refused
} from './folder/target.ts'
import {
  type KeepRule,
  keepsNothing,
  parseKeep,
  Trash,
  type TrashInfo,
  trashRoom
} from './folder/trash.ts'
import { holdsBack } from './plan.ts'
import type { ProgressNotes } from './progress.ts'

type Put = PutOptions & FileAttributes

/** Rows after which the catalog is written. */
const SAVE_ROWS = 2000

/** See the module comment. */
export class Placement {
  /** Of the update that is under way; between two, of what stands there. */
  names: FileNames
  /** Of the update that is under way. */
  state: State = newState()
  readonly #folder: DriveFolder
  readonly #options: CloneOptions
  readonly #progress: ProgressNotes
  readonly #keep: KeepRule
  readonly #trash: Trash | null
  #target: Target
  #signal: AbortSignal | null = null
  #unsaved = 0
  /** Where files went that were discarded, absolute, by the name that they had. */
  readonly #discarded = new Map<string, string>()

  constructor(folder: DriveFolder, options: CloneOptions, progress: ProgressNotes) {
    this.#folder = folder
    this.#options = options
    this.#progress = progress
    this.#keep = parseKeep(options.keep ?? folder.config.keep)
    this.#trash = keepsNothing(this.#keep) ? null : new Trash(folder.statePath('trash'))
    folder.placeTrash(this.#trash?.list() ?? [])
    this.names = this.#namesOf(probeNames(folder.statePath()))
    this.#target = this.#newTarget()
    this.#target.sweep()
  }

  /** True if several names may be one to the file system: {@link Placement.keepPaths} comes before the first path then. */
  get isFolding(): boolean {
    return isFolding(this.names.rules)
  }

  /** What stands there and stays keeps its path; the paths of what goes are free for what comes. */
  keepPaths(stays: (name: string) => boolean): void {
    this.names = this.#namesOf(this.names.rules, stays)
    this.#target = this.#newTarget()
  }

  #namesOf(rules: NameRules, stays: (name: string) => boolean = () => true): FileNames {
    const known: Renamed[] = []
    const leaving: Renamed[] = []
    for (const [name, { kind, path: at }] of this.#folder.catalog.rows()) {
      if (at === undefined && !isFolding(rules)) continue
      const key = kind === 'folder' ? `${name}/` : name
      const stands = { name: key, path: at ?? name.slice(1) }
      if (stays(name)) known.push(stands)
      else leaving.push(stands)
    }
    return new FileNames(rules, known, leaving)
  }

  /** Begins an update. */
  begin(signal: AbortSignal | null): void {
    this.#signal = signal
    for (const copy of this.state.copies.values()) rmSync(copy, { force: true })
    this.state = newState()
  }

  /**
   * Makes new files of whole blobs, of those whose folders are not there yet: a folder comes into place with its files.
   *
   * @returns those of the steps whose files are in place.
   */
  async putInNewFolders(
    files: Iterable<readonly [step: PutStep, bytes: Uint8Array]>
  ): Promise<ReadonlySet<PutStep>> {
    const placed = new Set<PutStep>()
    if (this.#options.fsync === true) return placed
    const folders = this.#target.newFolders()
    const made = new Map<string, PutStep>()
    for (const [step, bytes] of files) {
      const path = step.type === 'add' ? this.names.pathOf(step.name) : null
      if (path === null) continue
      const turn = this.#target.turn()
      if (turn !== null) await turn
      if (folders.add(path, bytes, attributesOf(step))) made.set(path, step)
    }
    for (const { path, stats } of folders.settle()) {
      const step = made.get(path) as PutStep
      this.#placed(step, { verdict: 'done', path, stats, trashed: null })
      placed.add(step)
    }
    return placed
  }

  /** Makes a new file of a whole blob on the spot. False if something is in the way: see {@link Placement.putWhole}. */
  putNew(step: PutStep, bytes: Uint8Array): boolean {
    if (step.type !== 'add' || this.#options.fsync === true) return false
    const placed = this.#target.writeNew(step.name, bytes, attributesOf(step))
    if (placed === null) return false
    this.#placed(step, placed)
    return true
  }

  /** Makes a file of a whole blob at once. False if it could not be made: {@link Placement.putHeld} tells why. */
  async putWhole(step: PutStep, bytes: Uint8Array): Promise<boolean> {
    // What the system refuses for one file is no failure of the feed that it comes by.
    const placed = await orRefused(() =>
      this.#target.write(step.name, bytes, this.#putOptions(step))
    )
    if (placed?.verdict !== 'done') return false
    this.#placed(step, placed)
    return true
  }

  /** See {@link Target.turn}. */
  turn(): Promise<void> | null {
    return this.#target.turn()
  }

  /**
   * Takes a file or link out of the folder, whatever it holds, so that the next update brings it again. What stands
   * there goes to the trash; without one it gets a name of its own, beside.
   *
   * @returns its new path below the root; null if nothing stands there.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async discard(name: string): Promise<string | null> {
    const { catalog, root } = this.#folder
    const known = catalog.get(name)
    const at = this.names.pathOf(name)
    if (known === undefined || at === null) return null
    let moved: string | null = null
    if (this.#target.look(at) !== null) {
      const old = { name, blob: null, timeMs: Date.now() }
      const removed = this.#trash === null ? null : await this.#target.remove(name, { old })
      const trashed = removed?.verdict === 'done' ? removed.trashed : null
      moved =
        trashed == null
          ? this.#target.moveAside(at, Date.now()).path
          : path.relative(root, trashed.entry.path)
    }
    if (moved !== null) this.#discarded.set(name, path.join(root, moved))
    await this.#forget(name, known)
    // A stop may come before the update does.
    catalog.version = 0
    await catalog.save()
    return moved
  }

  /** A file that may hold part of what is to come under a name: what was discarded, else what stands there. */
  basisOf(name: string): string | null {
    const at = this.names.pathOf(name)
    return this.#discarded.get(name) ?? (at === null ? null : path.join(this.#folder.root, at))
  }

  /** What the drive has under a name is no longer here. */
  async #forget(name: string, { entry: { blob } }: Known): Promise<void> {
    this.#folder.catalog.delete(name)
    if (blob === null || !this.#leaveFile(name, blob)) return
    // Nobody has its bytes here any more: they are asked for.
    await letGo(this.#folder, [blob])
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
    const { catalog } = this.#folder
    const known = catalog.get(name)
    const old = this.#trash === null ? {} : { old: { name, blob: null, timeMs: Date.now() } }
    try {
      const removed = await this.#target.remove(name, {
        ...old,
        ...(stamp === null ? {} : { expected: fieldsOf(stamp) }),
        mayRemove: (folder) => !this.state.folders.has(folder)
      })
      if (removed.verdict === 'refused') return false
      if (removed.verdict === 'blocked') {
        // A folder in the place of a file, or a file in that of a folder: it gives way when the drive's comes again.
        const isOther = removed.by === 'folder' || removed.path !== this.names.pathOf(name)
        if (known === undefined || !isOther) return false
      }
    } catch (error) {
      if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
      return false
    }
    if (known !== undefined) await this.#forget(name, known)
    return true
  }

  /** Deletes a folder if it is empty and the drive has none there; see {@link Clone.delete}. */
  async deleteFolder(name: string): Promise<void> {
    if (this.state.folders.has(name)) return
    await this.#removeEmptyFolders(`${name}/`)
  }

  /** Files that are folders as well now go to their new paths, before anything comes into their place. */
  async giveWay(): Promise<void> {
    for (const { name } of this.state.renamed) {
      const known = this.#folder.catalog.get(name)
      const to = this.names.pathOf(name)
      if (known === undefined || known.kind === 'folder' || to === null) continue
      const from = known.path ?? name.slice(1)
      if (from === to) continue
      try {
        const stats = await this.#rename(from, to, name, known)
        if (stats !== null) this.#standsAt(to, name, known, stats)
      } catch (error) {
        this.skipRefused(name, error)
      }
    }
  }

  /** What stands at the new path of a name; null if nothing of ours does. */
  async #rename(from: string, to: string, name: string, known: Known): Promise<BigIntStats | null> {
    const seen = this.#target.look(from)
    if (seen !== null && (await this.#isOurs(from, known, seen))) {
      const placed = await this.#target.rename(from, seen, name)
      return placed.verdict === 'done' ? placed.stats : null
    }
    // A stop may have come after it went there, and before that was noted.
    const stats = this.#target.look(to)
    return stats !== null && (await this.#isOurs(to, known, stats)) ? stats : null
  }

  #standsAt(at: string, name: string, known: Known, stats: BigIntStats): void {
    const { blob } = known.entry
    this.#folder.catalog.set(name, { ...known, stamp: stampOf(stats), path: at })
    if (blob !== null) this.#folder.placeFile(name, blob, at)
    this.#unsaved++
  }

  /** Puts what had to wait until what was below its name is gone. */
  async putDeferred(step: PutStep, blobs: Blobs): Promise<void> {
    const { kind, entry } = step.source
    if (kind === 'link') await this.putLink(step)
    else if (entry.blob?.byteLength === 0) await this.putBytes(step, new Uint8Array(0))
    else if (!(await this.putHeld(step, blobs))) this.skip(step.name, GONE)
  }

  /** Puts a file in place whose blob is held. False if its bytes turn out to be gone. */
  async putLocal(step: PutStep, moved: Step | undefined, blobs: Blobs): Promise<boolean> {
    const at = this.names.pathOf(step.name)
    // A stop came after it was put in place, and before that was noted.
    const { entry } = step.source
    const stats = at === null ? null : this.#target.look(at)
    const isThere = at !== null && stats !== null && (await this.#holds(at, step.source))
    if (isThere && (await isFitting(this.#folder, entry.blob as BlobRange))) {
      await rm(this.#folder.places.incomingPath(entry.blob as BlobRange), { force: true })
      await this.touch(step, stats)
      return true
    }
    return (await this.#move(step, moved, blobs)) || this.putHeld(step, blobs)
  }

  /**
   * True if nothing has to be done for a file of which blocks are missing: the user changed it, or it is as it should be,
   * and its blocks are held again.
   */
  async isSettled({ name }: PutStep, { feed }: Blobs): Promise<boolean> {
    const known = this.#folder.catalog.get(name)
    const at = this.names.pathOf(name)
    const blob = known?.entry.blob ?? null
    if (known === undefined || at === null || blob === null) return false
    const file = path.join(this.#folder.root, at)
    const stats = this.#target.look(at)
    if (stats === null || known.stamp === null || !sameStamp(stampOf(stats), known.stamp))
      return true
    const leaves = await this.#folder.leaves(blob)
    if (leaves === null || !(await holdsLeaves(file, leaves).catch(() => false))) return false
    this.#folder.placeFile(name, blob, at)
    return adoptAll(feed, blob.blockOffset, leaves)
  }

  /** The bytes of an entry are not those of its blocks: what was made of them goes. */
  async takeBack({ type, name }: PutStep, blob: BlobRange): Promise<void> {
    const { catalog } = this.#folder
    const known = catalog.get(name)
    if (known?.stamp != null) {
      await this.#target.remove(name, { expected: fieldsOf(known.stamp) })
    }
    this.#folder.leaveFile(name, blob)
    await this.#folder.places.drop(blob)
    catalog.delete(name)
    if (type === 'add') this.state.added--
    else this.state.changed--
    this.skip(name, MISFIT)
  }

  /** Puts a file in place whose blob is held, wherever its bytes are. False if they turn out to be gone. */
  async putHeld(step: PutStep, blobs: Blobs): Promise<boolean> {
    const { places, inPlace } = this.#folder
    const blob = step.source.entry.blob as BlobRange
    if (!(await isFitting(this.#folder, blob))) {
      await places.drop(blob)
      this.skip(step.name, MISFIT)
      return true
    }
    const incoming = places.incomingPath(blob)
    const isIncoming =
      inPlace &&
      places.expects(blob) &&
      look(incoming) !== null &&
      (places.isWhole(blob) || (await hasBytes(this.#folder, incoming, blob)))
    const copy = this.state.copies.get(step) ?? null
    this.state.copies.delete(step)
    const file = isIncoming ? incoming : (copy ?? (await this.#copyOf(blob, blobs)))
    if (file === null) return false
    if (!isIncoming && copy === null) this.state.reused++
    const isDeferred = this.state.deferred.includes(step)
    try {
      await this.#put(step, (options) => this.#target.place(file, step.name, options))
      // What it was copied from may be gone by the time that its place is free.
      const isLater = !isDeferred && this.state.deferred.includes(step)
      if (isLater && !isIncoming) this.state.copies.set(step, file)
    } finally {
      if (!isIncoming && !this.state.copies.has(step)) await rm(file, { force: true })
    }
    return true
  }

  /** A file of ours with the bytes of a held blob, hashed; null if they are not to be had. */
  async #copyOf(blob: BlobRange, { session }: Blobs): Promise<string | null> {
    const { places, root } = this.#folder
    const end = blob.blockOffset + blob.blockLength
    const copy = this.#target.newTemp()
    const file = places.fileOf(blob)
    if (file !== null) {
      try {
        await reflinkOrCopy(path.join(root, file), copy)
        if (await hasBytes(this.#folder, copy, blob)) return copy
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
  async putMapped(step: PutStep, { session }: Blobs): Promise<void> {
    const copy = this.#target.newTemp()
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
      this.skip(step.name, MISFIT)
    } finally {
      await rm(copy, { force: true })
    }
  }

  /** Renames the file that had these bytes, if it is to go and nobody changed it. */
  async #move(step: PutStep, from: Step | undefined, blobs: Blobs): Promise<boolean> {
    const { catalog, root } = this.#folder
    const known = from?.target?.known
    if (from === undefined || known === undefined || !catalog.get(from.name)) return false
    if (!sameBlob(known.entry.blob, step.source.entry.blob)) return false
    const local = this.names.pathOf(from.name)
    if (local === null || known.stamp === null) return false
    const file = path.join(root, local)
    // Where it may not be seen its bytes may still come from elsewhere.
    const stats = await orRefused(() => this.#target.look(local))
    if (stats === null || !stats.isFile() || !sameStamp(stampOf(stats), known.stamp)) return false
    const to = this.names.pathOf(step.name)
    // Where a folder takes its place it has to go before the folder comes.
    if (to !== null && this.names.isBelow(to, local)) return false
    // The same name to the file system: only its letters change.
    const isSame = to !== null && this.names.leavingAt(to) === from.name
    await this.#put(step, (options) => {
      const present = isSame ? withOld(options, stats, null) : options
      return this.#target.place(file, step.name, present)
    })
    const blob = known.entry.blob as BlobRange
    if (look(file) !== null) {
      // Its bytes must not go with the names that have them before its place is free.
      const copy = this.state.deferred.includes(step) ? await this.#copyOf(blob, blobs) : null
      if (copy !== null) this.state.copies.set(step, copy)
      return true
    }
    this.#folder.leaveFile(from.name, blob)
    catalog.delete(from.name)
    await this.#removeEmptyFolders(from.name)
    this.state.reused++
    this.state.removed++
    return true
  }

  /** Makes a file of bytes that are here. */
  async putBytes(step: PutStep, bytes: Uint8Array): Promise<void> {
    await this.#put(step, (options) => this.#target.write(step.name, bytes, options))
  }

  /** Makes a link, unless it would lead out of the folder. */
  async putLink(step: PutStep): Promise<void> {
    const linkname = step.source.entry.linkname as string
    await this.#put(step, (options) => this.#target.link(step.name, linkname, options))
  }

  /**
   * Only time or mode changed: a file that the user changed stays as it is.
   *
   * @param seen - what stands there, if it is known to hold what it should, whatever the catalog says of it.
   */
  async touch(step: PutStep, seen: StampFields | null = null): Promise<void> {
    const local = this.names.pathOf(step.name)
    if (local === null) return
    const file = path.join(this.#folder.root, local)
    const present = this.#putOptions(step)
    // Looked at before it is read: whoever changes it meanwhile keeps it.
    const expected = seen ?? present.expected ?? look(file)
    const isOurs =
      seen !== null || present.expected !== null || (await this.#holds(local, step.source))
    const options = withOld(present, expected, null)
    const placed = isOurs
      ? await orRefused(() => this.#target.place(file, step.name, options))
      : null
    if (placed?.verdict === 'done') this.#placed(step, placed)
    else await this.#keepLocal(step)
  }

  /** What the user made of a file stays; the catalog learns what the drive says of it. */
  async #keepLocal({ name, source }: PutStep): Promise<void> {
    const known = this.#folder.catalog.get(name)
    if (known !== undefined)
      this.#folder.catalog.set(name, { ...known, entry: source.entry, stamp: null })
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
        if (verdict.verdict === 'refused') return this.skip(step.name, verdict.reason)
        const next = await this.#makeWay(step, verdict, options)
        if (next === null) return
        options = next
      }
      this.skip(step.name, 'something stands in the way again and again')
    } catch (error) {
      this.skipRefused(step.name, error)
    }
  }

  #putOptions(step: PutStep): Put {
    const { name } = step
    const known = this.#folder.catalog.get(name)
    const stamp = known?.kind === 'folder' ? null : (known?.stamp ?? null)
    const old = this.#trashInfo(name, known)
    return {
      ...attributesOf(step),
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
    const isOwn = at === this.names.pathOf(name)
    if (by === 'folder' && isOwn && !this.state.deferred.includes(step)) {
      // It may be empty once what was below it is gone.
      const removed = await this.#target.removeFolder(name)
      if (removed.verdict === 'done') return withOld(options, null, null)
      this.state.deferred.push(step)
      return null
    }
    const owner = this.names.leavingAt(at) ?? (isOwn ? name : this.names.nameOf(at))
    const known = this.#folder.catalog.get(owner)
    const isBare = by === 'file' || by === 'link'
    // Looked at before it is read: whoever changes it meanwhile keeps it.
    const stats = isBare ? look(path.join(this.#folder.root, at)) : null
    if (stats !== null && (await this.#isKnown(at, known))) {
      if (owner === name && step.source.kind !== 'folder') {
        const old = this.#trashInfo(name, known)
        return withOld(options, stats, old)
      }
      if (known !== undefined) {
        await this.#removeFile(owner, known, stats)
        return options
      }
    }
    if (stats !== null && isOwn && (await this.#holds(at, step.source))) {
      // Just what is to come: only its time and mode are to be set.
      return withOld(options, stats, null)
    }
    const moved = this.#target.moveAside(at, Date.now())
    this.state.conflicts.push({ name: owner, path: moved.path })
    return withOld(options, null, null)
  }

  /** True if a local file or link, as it was looked at, is what the catalog says, by its stamp or else by its content. */
  async #isOurs(at: string, known: Known, stats: BigIntStats): Promise<boolean> {
    const same = known.stamp !== null && sameStamp(stampOf(stats), known.stamp)
    return same || this.#isKnown(at, known)
  }

  /** True if a local file or link is what the catalog says. */
  async #isKnown(at: string, known: Known | undefined): Promise<boolean> {
    return known !== undefined && known.kind !== 'folder' && this.#holds(at, known)
  }

  async #holds(at: string, entry: Pick<Known, 'kind' | 'entry'>): Promise<boolean> {
    const file = path.join(this.#folder.root, at)
    return (await compareContent(this.#folder, file, entry)) === 'ok'
  }

  /** Something stands in its place: the catalog and the places follow. */
  #placed(step: PutStep, { path: at, stats, trashed }: Placed): void {
    const { name, source } = step
    const { catalog } = this.#folder
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
    if (blob !== null) this.#folder.placeFile(name, blob, at)
    if (step.type === 'add') this.state.added++
    else this.state.changed++
    this.#progress.add(1, 0)
    this.#unsaved++
  }

  /** A file no longer holds a blob: its bytes are in the trash, or with another file, or gone. */
  #left(name: string, blob: BlobRange, trashed: string | null): void {
    if (!this.#leaveFile(name, blob)) return
    // Before a stop it may have gone to the trash already.
    const kept = trashed ?? this.#trash?.list().find((entry) => sameBlob(entry.blob, blob))?.path
    if (kept === undefined) this.state.lost.push(blob)
    else this.#placeTrash(blob, kept)
  }

  /** True if the file held the blob in place, and no other does. Blocks of a map, and those that it lists, are in no file. */
  #leaveFile(name: string, blob: BlobRange): boolean {
    if (blob.byteLength === 0 || blob.blockMap === true) return false
    return this.#folder.leaveFile(name, blob)
  }

  #placeTrash(blob: BlobRange, file: string): void {
    const { places, root, inPlace } = this.#folder
    if (inPlace) places.put(blob, path.relative(root, file))
  }

  /** Removes what the version no longer has. Returns the names that are held back. */
  async remove(steps: readonly Step[]): Promise<string[]> {
    const { catalog } = this.#folder
    const rows = steps.filter(({ name }) => catalog.get(name) !== undefined)
    const isKept = this.#trash !== null && this.#fitInTrash(rows)
    const max = isKept ? Infinity : (this.#options.maxDelete ?? null)
    // An empty folder goes, too, where it holds something now.
    const files = rows.filter(({ name }) => catalog.get(name)?.kind !== 'folder')
    if (holdsBack(files.length, catalog.size, max)) return files.map(({ name }) => name)
    // Folders after what is in them.
    for (const { name } of rows.toReversed()) {
      this.#signal?.throwIfAborted()
      const known = catalog.get(name)
      if (known === undefined) continue
      try {
        if (known.kind === 'folder') await this.#removeFolder(name)
        else await this.#removeKnown(name, known)
      } catch (error) {
        this.skipRefused(name, error)
      }
      await this.saveSometimes()
    }
    return []
  }

  /** False if some of what goes into the trash would have to leave it at once. */
  #fitInTrash(rows: readonly Step[]): boolean {
    const { catalog } = this.#folder
    let byteLength = 0
    for (const { target } of rows) byteLength += target?.known.entry.blob?.byteLength ?? 0
    return byteLength <= trashRoom(this.#keep, catalog.byteLength - byteLength)
  }

  async #removeFolder(name: string): Promise<void> {
    if (!this.state.folders.has(name)) {
      await this.#target.removeFolder(name, {
        mayRemove: (folder) => !this.state.folders.has(folder)
      })
    }
    this.#folder.catalog.delete(name)
  }

  async #removeKnown(name: string, known: Known): Promise<void> {
    const at = this.names.pathOf(name)
    const isTaken = at !== null && this.names.isTaken(at, name)
    const stats = at === null || isTaken ? null : this.#target.look(at)
    // A folder there is another name's, or the user's; so is what lies behind a link.
    if (at === null || stats === null || stats.isDirectory()) {
      if (known.entry.blob !== null) this.#left(name, known.entry.blob, null)
      this.#folder.catalog.delete(name)
      await this.#removeEmptyFolders(name)
      this.state.removed++
      return
    }
    if (await this.#isOurs(at, known, stats)) return this.#removeFile(name, known, stats)
    // The user changed it, and the drive has it no longer: it is the user's now.
    const moved = this.#target.moveAside(at, Date.now())
    this.state.conflicts.push({ name, path: moved.path })
    if (known.entry.blob !== null) this.#left(name, known.entry.blob, null)
    this.#folder.catalog.delete(name)
  }

  async #removeFile(name: string, known: Known, stats: BigIntStats): Promise<void> {
    const old = this.#trashInfo(name, known)
    const removed = await this.#target.remove(name, {
      expected: stats,
      fsync: this.#options.fsync ?? false,
      mayRemove: (folder) => !this.state.folders.has(folder),
      ...(old === null ? {} : { old })
    })
    if (removed.verdict === 'refused' || removed.verdict === 'blocked') {
      return this.skip(name, removed.verdict === 'refused' ? removed.reason : 'it just changed')
    }
    const trashed = removed.verdict === 'done' ? (removed.trashed?.entry.path ?? null) : null
    if (known.entry.blob !== null) this.#left(name, known.entry.blob, trashed)
    this.#folder.catalog.delete(name)
    this.state.removed++
    this.#unsaved++
  }

  async #removeEmptyFolders(name: string): Promise<void> {
    const above = name.slice(0, name.lastIndexOf('/'))
    if (above === '' || this.state.folders.has(above)) return
    await this.#target
      .removeFolder(above, { mayRemove: (folder) => !this.state.folders.has(folder) })
      .catch(() => {})
  }

  /** Makes the empty folders, when all else is done. */
  async putFolders(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      if (step.type === 'remove' || step.source.kind !== 'folder') continue
      const attributes = readMetadata(step.source.entry.metadata)
      await this.#put(step, () => this.#target.folder(step.name, attributes))
    }
  }

  /** What the trash no longer keeps, and what nobody has, is said to be gone. */
  async expire(): Promise<void> {
    const folder = this.#folder
    // Another file may have got the bytes since.
    const lost = this.state.lost.splice(0).filter((blob) => !folder.isPlaced(blob))
    if (this.#trash !== null) {
      const dataBytes = folder.catalog.byteLength
      for (const { blob, path: file } of this.#trash.expire(Date.now(), dataBytes, this.#keep)) {
        if (blob === null) continue
        if (folder.places.fileOf(blob) === path.relative(folder.root, file)) lost.push(blob)
      }
    }
    await letGo(folder, lost)
  }

  /** Notes that an entry is not applied. */
  skip(name: string, reason: string): void {
    this.state.skipped.push({ name, reason })
  }

  /** Skips an entry for which the system refused something: that does not end the others. @throws any other error. */
  skipRefused(name: string, error: unknown): void {
    if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
    this.skip(name, systemCode(error.cause) || error.message)
  }

  /** Writes the catalog if much of it is new. */
  async saveSometimes(): Promise<void> {
    if (this.#unsaved < SAVE_ROWS) return
    this.#unsaved = 0
    await this.#folder.catalog.save()
  }

  /** What was done since the update began. */
  report(version: number, heldBack: readonly string[]): CloneReport {
    const { added, changed, removed, reused, adopted, conflicts, skipped, renamed } = this.state
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
    const { root, config } = this.#folder
    return new Target(root, {
      names: this.names,
      trash: this.#trash,
      links: config.allLinks ? 'all' : 'inside'
    })
  }
}

/** What comes of an attempt, or null if the system refused it. */
async function orRefused<T>(attempt: () => T | Promise<T>): Promise<T | null> {
  try {
    return await attempt()
  } catch (error) {
    if (isSynclineError(error, 'STORAGE_FAILED')) return null
    throw error
  }
}

const PUT_TRIES = 5
const GONE = 'its bytes were lost again'
export const MISFIT = 'its blocks are not those that the drive says'

/** What an update did so far, and what it puts off. */
export interface State {
  added: number
  changed: number
  removed: number
  reused: number
  adopted: number
  readonly conflicts: { readonly name: string; readonly path: string }[]
  readonly skipped: SkippedEntry[]
  /** Files and folders whose path is not their name. */
  renamed: readonly Renamed[]
  /** Empty folders of the version. */
  readonly folders: Set<string>
  /** Steps that wait until what is below their name is gone. */
  readonly deferred: PutStep[]
  /** Files of ours with the bytes of steps that wait. */
  readonly copies: Map<PutStep, string>
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
    renamed: [],
    folders: new Set(),
    deferred: [],
    copies: new Map(),
    mapped: [],
    lost: []
  }
}

function attributesOf({ source: { entry } }: PutStep): FileAttributes {
  const { mode, mtimeMs } = readMetadata(entry.metadata)
  return { executable: entry.executable, mode, mtimeMs }
}

/** The options for what stands there now, and where it goes. */
function withOld(options: Put, expected: StampFields | null, old: TrashInfo | null): Put {
  const { executable, mode, mtimeMs, fsync } = options
  const kept = { executable, mode, mtimeMs, fsync } as Put
  return { ...kept, expected, ...(old === null ? {} : { old }) }
}
