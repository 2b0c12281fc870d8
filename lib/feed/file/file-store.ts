/**
 * One feed in a folder, in hypercore 10's layout: `oplog tree bitfield data` (and `header`).
 *
 * A commit writes block bytes and dense nodes into their files, then one batch of entries to the log, which
 * alone makes it count. When the log has grown it is folded: nodes into `tree`, bits into `bitfield`, both
 * synced, then one header that voids all entries at once (see oplog.ts). So after a stop at any point the
 * feed is as before or as after the interrupted commit.
 *
 * Durability. With `fsync` a commit resolves after data and tree, and then the log, are on the disk. With
 * `os` it resolves after the writes: the end of the process loses nothing, the end of the machine may. The
 * file `syncline` (see sync-marker.ts) then tells what is doubtful:
 * - It names a header of the log and how many bytes of its entries are on the disk with all that they
 *   speak of; blocks of later entries are doubtful, and so are those it lists from logs folded before their
 *   bytes were synced. Only in another boot of the machine, though: memory of the system survives a process.
 * - The log itself says what was written after the marker, so a commit need not touch the marker.
 * - If no marker fits the log, hypercore 10 folded it. After a clean close that is its own business, and
 *   nothing is doubtful; otherwise everything is.
 * - Without the file the folder is hypercore 10's, or new: the entries in the log are doubtful.
 * A copy that is made here has no such file, and its header is not synced, until the first fold: its header
 * tells the boot of the machine in which it was begun. A loss of power may take it as a whole until then.
 * Truncations are always synced: later blocks overwrite the bytes of those cut off.
 *
 * What a sync fails to write the system takes for written: the next one succeeds and leaves the disk as it is. The marker
 * says that it failed, and whoever opens the feed next to write it first writes again all that is not known to be on the
 * disk. That is then as doubtful as in another boot: some of it may be gone.
 *
 * Dense nodes may outlive the entry that they belong to. After an unclean stop, and after a write that failed, those
 * that do not hash up to a root are hidden, and blank with the next write (see stray-nodes.ts).
 *
 * A manifest that a proof brings stands in an entry of the log, where hypercore 10 does not look for it, until
 * the next fold, so until the feed is closed at the latest.
 *
 * Reading takes no lock and makes no file; who has no lock looks after each read whether somebody else took back what was
 * read (see log-watch.ts). The first write takes the lock and looks whether somebody else has written since the store was
 * opened.
 *
 * @module
 */
import path from 'node:path'
import { isSynclineError, SynclineError } from '../../errors.ts'
import { NODE_BYTES, treeHash } from '../../kernels/fold.ts'
import { LOG_BYTES_MAX } from '../../limits.ts'
import type { BufferPool } from '../../primitives/buffer-pool.ts'
import { Bitmap, PAGE_BITS } from '../../primitives/bitmap.ts'
import { fullRoots } from '../../primitives/flat-tree.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { TreeNode } from '../../wire/message.ts'
import { equalBytes } from '../bytes.ts'
import {
  BEGUN_NAME,
  encodeBeginning,
  entriesOf,
  FROZEN_NAME,
  MANIFEST_NAME,
  storedBeginning,
  storedManifest
} from './commit-entry.ts'
import { type BlockData, FeedFiles, type FilesImage } from './feed-files.ts'
import { changedError, type Release } from './feed-lock.ts'
import { storageError } from './file-error.ts'
import { type FilePool, PooledFile, sharedPool } from './file-pool.ts'
import { decodeBitfield, writeUnfolded } from './fold-files.ts'
import { loadFileLocks } from './native-file.ts'
import { FeedLog } from './feed-log.ts'
import { LogWatch } from './log-watch.ts'
import {
  encodeHeader,
  encodeNextHeader,
  ENTRIES_OFFSET,
  fitsSlot,
  type LogEntry,
  type LogHeader,
  markOf
} from './oplog.ts'
import { rewrite } from './rewrite.ts'
import { settle } from './settle.ts'
import type { Commit, Head, Identity, KeyPair, Store, StoreState } from '../store.ts'
import { type BlockRange, joinRanges } from '../../primitives/ranges.ts'
import { cutStrays, findStrays } from './stray-nodes.ts'
import { processOf, RANGES_MAX, SyncMarkerFile } from './sync-marker.ts'
import { nodeAtOffset, TreeNodes } from '../tree/tree-nodes.ts'
import { byteOffset } from '../tree/tree-view.ts'
import { PAGE_BYTES, Unfolded } from './unfolded.ts'

/** Options of {@link FileStore}. */
export interface FileStoreOptions {
  /** Shared by all feeds of the process unless given. */
  readonly pool?: FilePool
  /** True takes the lock of the feed when it is opened, not with the first write. */
  readonly lock?: boolean
  /** True refuses every write. */
  readonly readOnly?: boolean
  /** Folder, at or above the feed's, below which others are made for a feed; by default the feed's own. */
  readonly root?: string
  /** Where the bytes of blocks lie instead of the file `data`. It belongs to the store, which closes it. */
  readonly data?: BlockData
}

const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_RANGES: readonly BlockRange[] = []
const NO_HEAD: Head = { fork: 0, length: 0, rootHash: NO_BYTES, signature: NO_BYTES }

/** Looks at a feed that another process cuts before it is given up. */
const TRIES = 20

/** What is known of a feed once it is open. */
interface Opened {
  readonly identity: Identity
  manifest: Manifest | null
  keyPair: LogHeader['keyPair']
  readonly unfolded: Unfolded
  readonly log: FeedLog
  /** What others write while this store has no lock. */
  readonly watch: LogWatch
  /** What is held, as the feed has it, which changes it. */
  bitmap: Bitmap
  /** Bytes of entries that are on the disk with all that they speak of. */
  syncedBytes: number
  /** Blocks whose bytes may not be on the disk. */
  doubt: BlockRange[]
  contiguousLength: number
}

/** See the module comment. */
export class FileStore implements Store {
  readonly folder: string
  readonly #pool: FilePool
  readonly #files: FeedFiles
  readonly #marker: SyncMarkerFile
  readonly #options: FileStoreOptions
  #opened: Opened | null = null
  #release: Release | null = null
  /** What this store has just made, locked, in a folder that was not there before. */
  #made: FilesImage | null = null
  /** True once this store has the lock, knows that the files are as it read them, and has cleaned up. */
  #writing = false
  #markedClean = false
  #closing = false
  /** False while nothing can stand in `tree`, which then need not be looked for. */
  #hasTree = true
  /** There may be nodes beyond the end, or half ones, that are to be cut off before the next write. */
  #hasStrays = true
  /** The feed was closed, by us or then by hypercore 10: `tree` has nodes of commits only. */
  #foundClean = false
  /** The marker on the disk may say that all is clean. */
  #saysClean = false
  /** The header was never synced, as far as is known. */
  #headerUnsynced = false
  /** All that was found when the feed was opened is on the disk. */
  #foundSynced = false
  /** Doubtful blocks were reported, and the caller has not looked at all of them yet. */
  #unchecked = false
  /** A sync failed in this boot, and what it did not write was not written again. */
  #failed = false
  #dataUnsynced = false
  #treeUnsynced = false
  readonly #touched: Set<PooledFile> = new Set()
  /** Folders whose new entries are not known to be on the disk. */
  #unsyncedFolders: readonly string[]
  /** A fold is due, whatever the length of the log. */
  #foldDue = false
  /** Why nothing can be written any more until the feed is opened again. */
  #broken: SynclineError | null = null
  #closed = false

  private constructor(folder: string, options: FileStoreOptions, newFolders: readonly string[]) {
    this.folder = path.resolve(folder)
    this.#options = options
    this.#pool = options.pool ?? sharedPool
    this.#files = new FeedFiles(this.#pool, this.folder, options.data)
    this.#marker = new SyncMarkerFile(this.#files.marker)
    this.#unsyncedFolders = newFolders
  }

  /**
   * Makes the files of a new feed in `folder` (and the folder, with mode 0700). The store that is returned
   * is opened like any other.
   *
   * @param userData - kept from the beginning, by name.
   * @throws SynclineError FEED_EXISTS, FEED_LOCKED, DISK_FULL, STORAGE_FAILED.
   */
  static async create(
    folder: string,
    identity: Identity,
    options: FileStoreOptions & { readonly userData?: ReadonlyMap<string, Uint8Array> } = {}
  ): Promise<FileStore> {
    const { userData = new Map<string, Uint8Array>(), ...rest } = options
    const pool = options.pool ?? sharedPool
    const made = await pool.layer.makeFolder(path.resolve(folder)).catch((error: unknown) => {
      throw storageError(error, folder)
    })
    const top = made === null ? (options.root ?? folder) : path.dirname(made)
    const store = new FileStore(folder, rest, foldersUpTo(path.resolve(folder), path.resolve(top)))
    try {
      await store.#create(identity, userData, made !== null)
    } catch (error) {
      await store.close().catch(() => {})
      throw error
    }
    return store
  }

  /** The store in `folder`; nothing is touched before it is asked for something. */
  static open(folder: string, options: FileStoreOptions = {}): FileStore {
    return new FileStore(folder, options, [path.resolve(folder)])
  }

  /** True if a feed is stored in the folder, damaged or not. */
  exists(): Promise<boolean> {
    return this.#files.exists()
  }

  /**
   * Reads the state.
   *
   * @throws SynclineError FEED_NOT_FOUND, FEED_DAMAGED, STORE_IS_V11, FEED_LOCKED, STORAGE_FAILED.
   */
  async open(): Promise<StoreState> {
    const { oplog } = this.#files
    if (this.#options.lock === true && (await oplog.size()) !== null) await this.#lock()
    const state = await this.#readSteady()
    // What is read after that stands in the files as it will on the disk.
    if (this.#failed && (await this.#mend(state))) return this.#read()
    return state
  }

  /** Reads the state, again if another process took part of it back meanwhile. */
  async #readSteady(): Promise<StoreState> {
    for (let tries = 1; ; tries++) {
      const read = await this.#read().catch((error: unknown) => ({ error }))
      const isSteady = await this.#isSteady()
      if (isSteady && !('error' in read)) return read
      if (isSteady && 'error' in read) throw read.error
      if (tries === TRIES) throw changedError(this.folder, await this.#owner())
    }
  }

  async #isSteady(): Promise<boolean> {
    if (this.#opened === null) return true
    try {
      return (await this.takenBack()).length === 0
    } catch (error) {
      if (!isSynclineError(error, 'FEED_LOCKED')) throw error
      return false
    }
  }

  async #read(): Promise<StoreState> {
    const { bitfield, marker } = this.#files
    this.#opened = null
    const image = this.#made ?? (await this.#files.read())
    const { header, log } = image
    const unfolded = new Unfolded(header)
    for (const { entry } of log.entries) unfolded.apply(entry, NO_BYTES)
    const manifest = header.manifest ?? storedManifest(unfolded.userData)
    unfolded.userData.delete(MANIFEST_NAME)
    unfolded.userData.delete(BEGUN_NAME)
    const { key, keyPair } = header
    const opened: Opened = {
      identity: { key, manifest, keyPair: keyPair?.secretKey.byteLength ? keyPair : null },
      manifest,
      keyPair,
      unfolded,
      log: new FeedLog(this.#files, image),
      watch: new LogWatch(this.#files, image),
      bitmap: new Bitmap(),
      syncedBytes: 0,
      doubt: [],
      contiguousLength: 0
    }
    this.#opened = opened
    const { head } = unfolded
    const roots = await this.#roots(head.length)
    if (head !== header.head) {
      const rootHash = head.length === 0 ? NO_BYTES : treeHash(roots)
      unfolded.head = { ...head, rootHash }
    }
    const bitmap = this.#bitmap(opened, image.bitfield)
    opened.bitmap = bitmap
    const doubtful = await this.#findDoubt(opened, image, bitmap)
    if (!this.#foundClean) await this.#hideStrays(opened, roots, doubtful)
    this.#foldDue ||= unfolded.hides
    // Not needed again before the next fold.
    await settle([bitfield.close(), marker.close()])
    const frozen = unfolded.userData.has(FROZEN_NAME)
    const { contiguousLength } = opened
    return {
      identity: opened.identity,
      head: unfolded.head,
      roots,
      bitmap,
      contiguousLength,
      frozen,
      doubtful
    }
  }

  checked(): void {
    this.#unchecked = false
  }

  async getNode(index: number): Promise<TreeNode | null> {
    const { unfolded } = this.#state()
    const known = unfolded.node(index)
    if (known !== undefined) return known
    if (!this.#hasTree) return null
    const bytes = await this.#files.tree.read(NODE_BYTES * index, NODE_BYTES)
    if (bytes === null || bytes.byteLength < NODE_BYTES) return null
    return nodeAtOffset(bytes, 0, index)
  }

  async getNodeRun(first: number, count: number): Promise<Uint8Array> {
    const { unfolded } = this.#state()
    const bytes = new Uint8Array(NODE_BYTES * count)
    const stored = this.#hasTree
      ? await this.#files.tree.read(NODE_BYTES * first, bytes.byteLength)
      : null
    if (stored !== null) {
      // Half a node at the end of the file is none.
      bytes.set(stored.subarray(0, stored.byteLength - (stored.byteLength % NODE_BYTES)))
    }
    unfolded.overlay(first, bytes)
    return bytes
  }

  async getBytes(offset: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array> {
    this.#state()
    if (byteLength === 0) return new Uint8Array(0)
    const { path } = this.#files.data
    const bytes = await this.#files.data.read(offset, byteLength, pool)
    if (bytes !== null && bytes.byteLength === byteLength) return bytes
    if (this.#unchecked) {
      // The file lost its end with the power: whoever hashes the doubtful blocks is to find out which.
      const padded = new Uint8Array(byteLength)
      padded.set(bytes ?? NO_BYTES)
      return padded
    }
    const missing = bytes === null ? `${path} is missing` : `${path} is too short`
    throw new SynclineError('FEED_DAMAGED', `${missing} for bytes that are said to be held`, {
      path
    })
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    return this.#state().unfolded.userData.get(name)?.slice() ?? null
  }

  async takenBack(): Promise<readonly BlockRange[]> {
    if (this.#writing) return NO_RANGES
    const { watch, unfolded, bitmap } = this.#state()
    if (this.#hasLock()) return NO_RANGES
    try {
      const ranges = await watch.look(unfolded.head, bitmap)
      return this.#hasLock() ? NO_RANGES : ranges
    } catch (error) {
      // What is written by this store itself while it looks is of no concern.
      if (this.#hasLock()) return NO_RANGES
      throw error
    }
  }

  #hasLock(): boolean {
    return this.#release !== null
  }

  async commit(commit: Commit): Promise<void> {
    const opened = this.#state()
    // What does not hold is not held for as long as it is open; who may write finds it himself.
    if (this.#options.readOnly === true && onlyDrops(commit)) return
    await this.#beginWriting(opened)
    const { head } = commit
    const { unfolded } = opened
    const truncates = head !== undefined && head.ancestors < unfolded.head.length
    const durable = commit.durability === 'fsync' || truncates

    await this.#writeBulk(opened, commit)
    if (durable) await this.#syncBulk()
    const entries = entriesOf(commit, unfolded.head.length)
    if (entries.length > 0) await this.#append(opened, entries, durable)

    for (const entry of entries) unfolded.apply(entry, head?.rootHash ?? unfolded.head.rootHash)
    unfolded.userData.delete(MANIFEST_NAME)
    opened.manifest = commit.manifest ?? opened.manifest
    opened.contiguousLength = commit.contiguousLength
    if (durable && !this.#unchecked) {
      opened.syncedBytes = opened.log.byteLength
      opened.doubt = []
    } else {
      this.#addDoubt(opened, commit.bits ?? [])
    }
    if (unfolded.hides && !truncates && !this.#unchecked) {
      // What hangs from nodes that were taken back now is stray.
      await this.#sweep(opened, commit.bits ?? [])
    }
    // Besides, hypercore 10 reads entries after a truncation wrongly.
    if (unfolded.hides) this.#foldDue = true
    if (this.#foldDue || opened.log.byteLength > LOG_BYTES_MAX) {
      this.#foldDue = true
      // The commit counts already; the next one tries again.
      await this.#fold(opened, false).catch(() => {})
    }
  }

  async free(offset: number, byteLength: number): Promise<void> {
    const opened = this.#state()
    if (byteLength <= 0) return
    await this.#beginWriting(opened)
    // The entry that says so must not be lost while the bytes are.
    await this.#sync([this.#files.oplog])
    await this.#files.data.free(offset, byteLength)
  }

  /**
   * Keeps the key pair of a feed that could only be read until now; it counts when the feed is opened again.
   *
   * @throws SynclineError INVALID_OPERATION when the feed has another one.
   */
  async putKeyPair(keyPair: KeyPair): Promise<void> {
    const opened = this.#state()
    const { publicKey, secretKey } = opened.keyPair ?? {
      publicKey: keyPair.publicKey,
      secretKey: NO_BYTES
    }
    if (!equalBytes(publicKey, keyPair.publicKey)) {
      throw new SynclineError('INVALID_OPERATION', `${this.folder} has another key pair`)
    }
    if (secretKey.byteLength > 0) return
    await this.#beginWriting(opened)
    opened.keyPair = keyPair
    this.#foldDue = true
    await this.#fold(opened, false)
  }

  /** True if {@link FileStore.free} gives disk back; else it does nothing. */
  async canFree(): Promise<boolean> {
    return (await loadFileLocks()) !== null
  }

  async flush(): Promise<void> {
    const opened = this.#state()
    if (this.#broken !== null) throw this.#broken
    if (!this.#writing) {
      if (!this.#closing && !this.#foundSynced) await this.#syncFound()
      return
    }
    if (this.#markedClean) {
      // A lock that is found later must not be blamed on us.
      if (this.#closing) await this.#writeMarker(opened, true)
      return
    }
    await this.#syncBulk()
    await this.#sync([this.#files.oplog])
    await this.#syncFolders()
    // A sync does not bring back what was lost before.
    if (!this.#unchecked) {
      opened.doubt = []
      opened.syncedBytes = opened.log.byteLength
    }
    try {
      await this.#fold(opened, !this.#unchecked)
    } catch (error) {
      // The log has it all; nothing is lost by leaving it as it is.
      if (!this.#closing || this.#broken !== null) throw error
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closing = true
    try {
      if (this.#opened !== null && this.#broken === null) await this.flush()
    } finally {
      this.#closed = true
      this.#opened = null
      await this.#files.close()
      await this.#unlock()
    }
  }

  async #create(
    { key, manifest, keyPair }: Identity,
    userData: ReadonlyMap<string, Uint8Array>,
    isNewFolder: boolean
  ): Promise<void> {
    const { oplog } = this.#files
    if (!isNewFolder) await this.#refuseExisting()
    // The lock may be on the file itself.
    await oplog.write([], 0)
    await this.#lock()
    const isEmpty = (await oplog.size()) === 0
    if (!isEmpty) {
      await this.#refuseExisting()
      // Of a creation that did not come to its end, or was lost with the power.
      await this.#pool.layer.remove(this.#files.marker.path)
      await oplog.truncate(0)
    }
    const isCopy = keyPair === null
    const boot = await this.#pool.layer.bootId()
    const begun = encodeBeginning({ boot, pid: process.pid })
    const header: LogHeader = {
      key,
      manifest,
      keyPair,
      userData: new Map([...userData, ...(isCopy ? ([[BEGUN_NAME, begun]] as const) : [])]),
      head: NO_HEAD,
      reorgs: [],
      contiguousLength: 0
    }
    const payload = encodeHeader(header)
    const external = fitsSlot(payload) ? null : { start: 0, length: payload.byteLength }
    if (external !== null) {
      await this.#files.header.write([payload], 0)
      await this.#sync([this.#files.header])
    }
    const { bytes, position, bits, id } = encodeNextHeader(
      null,
      external === null ? payload : encodeHeader(external)
    )
    await oplog.write([bytes], position)
    // Only the full length makes it a feed.
    await oplog.truncate(ENTRIES_OFFSET)
    if (isNewFolder && isEmpty) {
      const log = {
        bits,
        id,
        mark: markOf(bytes),
        header: external ?? header,
        entries: [],
        byteLength: 0
      }
      // It is locked from the beginning: nobody asks whether others changed it.
      this.#made = { log, header, external, logSize: ENTRIES_OFFSET, sum: 0, bitfield: NO_BYTES }
      this.#hasTree = false
    }
    if (isCopy) return
    try {
      // A key that others may have learnt must not be lost.
      await this.#sync([oplog])
      await this.#syncFolders()
    } catch (error) {
      // Else it would be a feed, of which the next sync says that it is on the disk.
      await oplog.truncate(0).catch(() => {})
      throw error
    }
  }

  async #refuseExisting(): Promise<void> {
    if (!(await this.#files.exists())) return
    const reason = `a feed is stored in ${this.folder} already`
    throw new SynclineError('FEED_EXISTS', reason, { path: this.folder })
  }

  #state(): Opened {
    if (this.#closed) throw new SynclineError('SESSION_CLOSED', `${this.folder} is closed`)
    if (this.#opened === null) {
      throw new SynclineError('INVALID_OPERATION', `${this.folder} was not opened`)
    }
    return this.#opened
  }

  async #roots(length: number): Promise<TreeNode[]> {
    const roots: TreeNode[] = []
    for (const index of fullRoots(length)) {
      const root = await this.getNode(index)
      if (root === null) {
        const { path } = this.#files.tree
        const reason = `${path} lacks root ${index} of ${length} blocks`
        throw new SynclineError('FEED_DAMAGED', reason, { path, node: index })
      }
      roots.push(root)
    }
    return roots
  }

  #bitmap(opened: Opened, bytes: Uint8Array): Bitmap {
    const bitmap = decodeBitfield(bytes)
    for (const { start, end, drop } of opened.unfolded.bits) bitmap.setRange(start, end, !drop)
    const { length } = opened.unfolded.head
    const stray = bitmap.firstSet(length) !== -1
    if (stray) {
      // Hypercore 10 sets bits of blocks that were never signed; once the feed grows they would lie.
      const end = (Math.floor(bytes.byteLength / PAGE_BYTES) + 1) * PAGE_BITS
      const change = { start: length, end: Math.max(end, bitmap.firstUnset(length)), drop: true }
      bitmap.setRange(change.start, Number.MAX_SAFE_INTEGER, false)
      opened.unfolded.changeBits(change)
      this.#foldDue = true
    }
    opened.contiguousLength = Math.min(bitmap.firstUnset(0), length)
    return bitmap
  }

  /** Finds out what may not be on the disk, and what of that must not be believed. */
  async #findDoubt(opened: Opened, image: FilesImage, bitmap: Bitmap): Promise<BlockRange[]> {
    const { fitting, latest } =
      image === this.#made
        ? { fitting: null, latest: null }
        : await this.#marker.read(opened.log.id)
    const { length } = opened.unfolded.head
    this.#headerUnsynced = latest === null
    if (this.#headerUnsynced && image !== this.#made) {
      // Nor are the folders that were made for it.
      this.#unsyncedFolders = foldersUpTo(
        this.folder,
        path.resolve(this.#options.root ?? this.folder)
      )
    }
    this.#foundSynced =
      fitting?.clean === true && latest?.failed !== true && opened.log.byteLength === 0
    opened.syncedBytes = Math.min(fitting?.syncedBytes ?? 0, opened.log.byteLength)
    let doubt: BlockRange[] = [...(fitting?.doubtful ?? [])]
    if (fitting === null && latest !== null) doubt = latest.clean ? [] : [[0, length]]
    for (const { entry, end } of image.log.entries) {
      if (end <= opened.syncedBytes || entry.bits === null || entry.bits.drop) continue
      doubt.push([entry.bits.start, entry.bits.end])
    }
    opened.doubt = joinRanges(doubt)
    // Whoever wrote them may have been killed before he synced them: that is ours to do now, in this boot, too.
    this.#dataUnsynced = opened.doubt.length > 0
    this.#treeUnsynced = this.#dataUnsynced
    this.#saysClean = fitting?.clean === true || latest?.clean === true
    this.#foundClean = this.#foundSynced || (fitting === null && latest?.clean === true)
    const boot = await this.#pool.layer.bootId()
    const written = latest ?? storedBeginning(image.header.userData)
    const isSameBoot = boot !== '' && written?.boot === boot
    this.#failed = latest?.failed === true && (isSameBoot || boot === '' || latest.boot === '')
    if (isSameBoot && !this.#failed) return []
    const doubtful = opened.doubt.flatMap(([start, end]) => [
      ...bitmap.runs(start, Math.min(end, length))
    ])
    this.#unchecked = doubtful.length > 0
    return doubtful
  }

  /**
   * After a sync that failed: writes all again that is not known to be on the disk. What is gone from memory by then is as
   * doubtful as after a loss of power. False if only whoever has the lock can do that, or somebody who may write.
   */
  async #mend({ head, roots = [], doubtful }: StoreState): Promise<boolean> {
    const opened = this.#state()
    const { oplog, header, bitfield, marker, tree, data } = this.#files
    if (this.#options.readOnly === true) {
      const reason = `a sync of ${this.folder} failed, and here it cannot be written again`
      this.#broken = new SynclineError('STORAGE_FAILED', reason, { path: this.folder })
      return false
    }
    try {
      await this.#lock()
      await this.#refuseForeignChange(opened)
    } catch (error) {
      if (!isSynclineError(error, 'FEED_LOCKED')) throw error
      this.#broken = error
      return false
    }
    const whole = [oplog, header, bitfield, marker]
    for (const file of whole) await rewrite(file, 0, Infinity)
    const { length } = head
    const byteLength = roots.reduce((sum, { size }) => sum + size, 0)
    const nodes = new TreeNodes(this, length)
    for (const [start, end] of doubtful) {
      await rewrite(tree, NODE_BYTES * 2 * start, NODE_BYTES * 2 * end)
      const view = { length, byteLength, roots, nodes }
      try {
        const offset = await byteOffset(view, start)
        await data.rewrite(offset, (await byteOffset(view, end)) - offset)
      } catch (error) {
        // Without its nodes a block will not be believed.
        if (!isSynclineError(error, 'BLOCK_NOT_AVAILABLE')) throw error
      }
    }
    nodes.clear()
    await this.#syncFound(whole)
    this.#unchecked = true
    await this.#writeMarker(opened, false)
    await this.#sync([marker])
    return true
  }

  async #lock(): Promise<void> {
    if (this.#release !== null) return
    this.#release = await this.#pool.layer.lock(this.folder, () => this.#owner())
  }

  async #unlock(): Promise<void> {
    const release = this.#release
    this.#release = null
    await release?.()
  }

  /** The process that writes the feed, as far as the files tell: hypercore 10 leaves no trace. */
  async #owner(): Promise<number | null> {
    const pid = await this.#marker.owner()
    if (pid !== null) return pid
    const header = await this.#files.readHeader()
    const begun = header && storedBeginning(header.userData)
    return begun && processOf(begun)
  }

  /** Whatever has to be done before a write. */
  async #beginWriting(opened: Opened): Promise<void> {
    this.#refuseReadOnly()
    if (this.#broken !== null) throw this.#broken
    if (!this.#writing && this.#made !== null) {
      const begun = this.#made.header.userData.has(BEGUN_NAME)
      this.#made = null
      this.#hasStrays = false
      this.#writing = true
      if (!begun) await this.#writeMarker(opened, false)
    } else if (!this.#writing) {
      await this.#lock()
      await this.#refuseForeignChange(opened)
      // Whatever is written from now on is worth nothing without it.
      if (this.#headerUnsynced) await this.#sync([this.#files.oplog])
      this.#writing = true
      await this.#writeMarker(opened, false)
    } else if (this.#markedClean) {
      await this.#writeMarker(opened, false)
    }
    if (this.#hasStrays) {
      await cutStrays(this.#files, opened.unfolded.head.length)
      this.#hasStrays = false
    }
    if (this.#foldDue) await this.#fold(opened, false)
  }

  #refuseReadOnly(): void {
    if (this.#options.readOnly !== true) return
    throw new SynclineError('INVALID_OPERATION', `${this.folder} was opened to be read only`)
  }

  async #refuseForeignChange(opened: Opened): Promise<void> {
    if (!(await opened.log.isForeign())) return
    await this.#unlock()
    throw changedError(this.folder, await this.#owner())
  }

  async #writeBulk(opened: Opened, { data = [], nodeRuns = [] }: Commit): Promise<void> {
    const { data: dataFile, tree, marker } = this.#files
    if (data.length > 0) {
      this.#dataUnsynced = true
      if (dataFile instanceof PooledFile) this.#touch(dataFile)
    }
    if (nodeRuns.length > 0) {
      this.#hasTree = true
      this.#treeUnsynced = true
      this.#touch(tree)
      // Whoever finds the nodes without their entry after a loss of power is to know that they may be stray.
      if (this.#saysClean) await this.#sync([marker])
      this.#saysClean = false
    }
    try {
      await settle([
        ...data.map(({ offset, parts }) => dataFile.write(parts, offset)),
        ...nodeRuns.map(({ first, bytes }) => tree.write([bytes], NODE_BYTES * first))
      ])
    } catch (error) {
      // What of them came to the file must not be believed.
      if (nodeRuns.length > 0) await this.#sweep(opened, [])
      throw error
    }
  }

  /** Looks for stray nodes while the feed is open; the bits of `dropped` are no longer held. */
  async #sweep(opened: Opened, dropped: NonNullable<Commit['bits']>): Promise<void> {
    this.#hasStrays = true
    const ranges = dropped.map(({ start, end }) => [start, end] as const)
    try {
      await this.#hideStrays(opened, await this.#roots(opened.unfolded.head.length), ranges)
    } catch (error) {
      await this.#break(error)
    }
  }

  /**
   * Takes nodes that no commit vouches for as absent, until the next write makes them so.
   *
   * @param unheld - blocks whose bits say nothing.
   */
  async #hideStrays(
    { unfolded, bitmap }: Opened,
    roots: readonly TreeNode[],
    unheld: readonly BlockRange[]
  ): Promise<void> {
    const size = this.#hasTree ? await this.#files.tree.size() : null
    if (size === null) return
    const { length } = unfolded.head
    let sound = bitmap
    if (unheld.length > 0) {
      sound = bitmap.clone()
      for (const [start, end] of unheld) sound.setRange(start, end, false)
    }
    const end = Math.max(Math.ceil(size / NODE_BYTES), unfolded.nodesEnd)
    unfolded.hide(await findStrays({ store: this, length, roots, sound, end }))
    this.#foldDue ||= unfolded.hides
  }

  async #syncBulk(): Promise<void> {
    await this.#sync([
      ...(this.#dataUnsynced ? [this.#files.data] : []),
      ...(this.#treeUnsynced ? [this.#files.tree] : [])
    ])
    this.#dataUnsynced = false
    this.#treeUnsynced = false
  }

  async #append({ log }: Opened, entries: readonly LogEntry[], durable: boolean): Promise<void> {
    const confirm = async (): Promise<void> => {
      if (!durable) return
      await this.#sync([this.#files.oplog])
      await this.#syncFolders()
    }
    await log.append(entries, confirm, (cause) => this.#break(cause))
  }

  /** Whoever wrote the feed may have been killed before he synced it. Nothing is changed. */
  async #syncFound(files: readonly PooledFile[] = [this.#files.oplog]): Promise<void> {
    const { data, tree } = this.#files
    const blocks = data instanceof PooledFile ? asFound(data) : data
    await this.#sync([blocks, ...[tree, ...files].map(asFound)])
    await this.#syncFolders()
    this.#foundSynced = true
  }

  #addDoubt(opened: Opened, bits: NonNullable<Commit['bits']>): void {
    for (const { start, end, drop } of bits) if (!drop) opened.doubt.push([start, end])
    if (opened.doubt.length > 1000) opened.doubt = joinRanges(opened.doubt, RANGES_MAX)
  }

  /** Brings `tree`, `bitfield` and the header up to date and empties the log. */
  async #fold(opened: Opened, clean: boolean): Promise<void> {
    const { tree, bitfield, header, oplog, marker } = this.#files
    const changed = opened.log.byteLength > 0 || !opened.unfolded.empty || this.#foldDue
    if (changed) {
      // Else a loss of power could keep bits of entries that it took, and nobody would doubt them.
      await this.#sync([oplog])
      this.#hasTree = true
      this.#touch(tree, bitfield)
      await writeUnfolded(this.#files, opened.unfolded)
    }
    const next = opened.log.next({
      key: opened.identity.key,
      manifest: opened.manifest,
      keyPair: opened.keyPair,
      userData: opened.unfolded.userData,
      head: opened.unfolded.head,
      reorgs: opened.unfolded.reorgs,
      contiguousLength: opened.contiguousLength
    })
    const external = changed ? next.external : null
    if (external !== null) {
      this.#touch(header)
      await header.write([external.bytes], external.place.start)
    }
    await this.#writeMarker(opened, clean, changed ? next.id : opened.log.id)
    this.#markedClean = false
    await this.#sync([marker, ...(changed ? [tree, bitfield] : []), ...(external ? [header] : [])])
    this.#saysClean = clean
    await this.#syncFolders()
    if (!changed) {
      this.#markedClean = clean
      return
    }
    this.#treeUnsynced = false
    try {
      await opened.log.begin(next)
    } catch (error) {
      // Nobody knows which header counts now.
      await this.#break(error)
      throw error
    }
    await this.#sync([oplog])
    opened.unfolded.folded()
    opened.syncedBytes = 0
    this.#foldDue = false
    this.#markedClean = clean
    await opened.log.trim()
  }

  async #writeMarker(opened: Opened, clean: boolean, logId: number = opened.log.id): Promise<void> {
    this.#touch(this.#files.marker)
    await this.#marker.write({
      logId,
      syncedBytes: logId === opened.log.id ? opened.syncedBytes : 0,
      doubtful: opened.doubt,
      clean,
      failed: this.#broken !== null,
      // Until they are checked, the end of this process shall not make them look sound.
      boot: this.#unchecked ? '' : await this.#pool.layer.bootId(),
      pid: this.#closing ? 0 : process.pid
    })
    this.#markedClean = clean
  }

  /** A sync that failed may have lost bytes for good, and the next one would not say so. */
  async #sync(files: readonly { sync(): Promise<void> }[]): Promise<void> {
    try {
      await settle(files.map((file) => file.sync()))
    } catch (error) {
      await this.#break(error)
      throw error
    }
  }

  /** The first write may make the file, and its folder has to know. */
  #touch(...files: readonly PooledFile[]): void {
    for (const file of files) {
      if (this.#touched.has(file)) continue
      this.#touched.add(file)
      if (!this.#unsyncedFolders.includes(this.folder)) {
        this.#unsyncedFolders = [...this.#unsyncedFolders, this.folder]
      }
    }
  }

  async #syncFolders(): Promise<void> {
    const folders = this.#unsyncedFolders
    for (const folder of folders) {
      try {
        await this.#pool.layer.syncFolder(folder)
      } catch (error) {
        await this.#break(error)
        throw storageError(error, folder)
      }
    }
    this.#unsyncedFolders = []
  }

  /** Nothing is written any more, and the next one to open the feed is told why. */
  async #break(cause: unknown): Promise<void> {
    if (this.#broken !== null) return
    const reason = `${this.folder} failed to write and must be opened again before the next write`
    this.#broken = new SynclineError('STORAGE_FAILED', reason, { path: this.folder }, cause)
    const opened = this.#opened
    if (opened === null || this.#options.readOnly === true) return
    const hadLock = this.#release !== null
    try {
      await this.#lock()
      if (hadLock || !(await opened.log.isForeign())) await this.#writeMarker(opened, false)
    } catch {
      // Whoever has the lock has the same disk, and what cannot be written here is not to hide the cause.
    } finally {
      if (!hadLock) await this.#unlock().catch(() => {})
    }
  }
}

/** `folder` and all above it up to `top`. */
export function foldersUpTo(folder: string, top: string): string[] {
  const folders = [folder]
  for (let at = folder; at !== top && at !== path.dirname(at);) {
    at = path.dirname(at)
    folders.push(at)
  }
  return folders
}

/** Syncs what others wrote. */
function asFound(file: PooledFile): { sync(): Promise<void> } {
  return { sync: () => file.syncFound() }
}

/** True for a commit that takes back what does not hold, and does nothing else. */
export function onlyDrops(commit: Commit): boolean {
  const { head, data, nodeRuns, manifest, userData, frozen, bits = [] } = commit
  const others = [head, data, nodeRuns, manifest, userData, frozen]
  return others.every((part) => part === undefined) && bits.every(({ drop }) => drop)
}
