/**
 * One small copy in the journal of its folder, which moves into files of its own once it is too large for that, or is
 * changed in a way that only those can hold: cut, cleared, frozen, given a secret key or data of the user.
 *
 * A feed whose files hold a block stands in these, whatever the journal says; it takes these over from the beginning. So does
 * one without any block. One with files that are empty was stopped while it moved, and does so again with the next write.
 *
 * @module
 */
import { isSynclineError, SynclineError } from '../../errors.ts'
import type { BufferPool } from '../../primitives/buffer-pool.ts'
import type { BlockRange } from '../../primitives/ranges.ts'
import type { TreeNode } from '../../wire/message.ts'
import { missingRanges } from '../missing-ranges.ts'
import type { Commit, KeyPair, Store, StoreState } from '../store.ts'
import { changedError, lockedError } from './feed-lock.ts'
import type { FileLayer } from './file.ts'
import { FileStore, type FileStoreOptions, onlyDrops } from './file-store.ts'
import type { Journal, JournalEntry } from './journal.ts'
import type { SmallFeed } from './small-feed.ts'

/** What a {@link JournalStore} is made of. */
export interface JournalStoreOptions {
  readonly journal: Journal
  readonly entry: JournalEntry
  /** Where the files of the feed are, or would be. */
  readonly folder: string
  /** They, if there are any; they belong to the store. */
  readonly files: FileStore | null
  /** How to open or make them. */
  readonly options: FileStoreOptions
  readonly layer: Pick<FileLayer, 'exists'>
  /** False moves the feed out with the first write. */
  readonly stays: boolean
  /** True if the journal was entered for this store already. */
  readonly entered: boolean
}

/** See the module comment. */
export class JournalStore implements Store {
  readonly #with: JournalStoreOptions
  #entry: JournalEntry
  #feed: SmallFeed | null = null
  /** Number of the last commit that the state has. */
  #sequence = 0
  /** Files that all goes to. */
  #files: FileStore | null = null
  /** Files that are open and empty. */
  #empty: FileStore | null = null
  #entered: boolean
  /** True while this store is the one that writes the feed. */
  #writing = false
  /** True once there are files of the feed that another process made. */
  #lost = false
  /** They, to read on from. */
  #others: Promise<FileStore | null> | null = null
  /** Blocks that these do not hold any more, until somebody asked. */
  #cleared: BlockRange[] = []
  #closed = false

  constructor(options: JournalStoreOptions) {
    this.#with = options
    this.#entry = options.entry
    this.#entered = options.entered
  }

  async open(): Promise<StoreState> {
    const { files, entry, options } = this.#with
    if (files !== null) {
      const state = await files.open()
      const isEmpty = state.head.length === 0 && state.head.fork === 0
      // Where the journal has no block either, they are ahead: with a secret key, or data of the user.
      if (!isEmpty || (await this.#load()).head.length === 0) {
        this.#files = files
        this.#feed = null
        await this.#leave()
        return state
      }
      this.#empty = files
    }
    const feed = this.#feed ?? (await this.#load())
    if (options.lock === true && !(await this.#beginWriting())) {
      throw lockedError(this.#with.journal.folder, this.#with.journal.writer, 'small feeds')
    }
    const { head, manifest, contiguousLength } = feed
    return {
      identity: { key: entry.key, manifest, keyPair: null },
      head,
      bitmap: feed.bitmap(),
      contiguousLength,
      frozen: false,
      doubtful: []
    }
  }

  checked(): void {
    this.#files?.checked()
  }

  async getNode(index: number): Promise<TreeNode | null> {
    return this.#files === null ? this.#state().node(index) : this.#files.getNode(index)
  }

  async getNodeRun(first: number, count: number): Promise<Uint8Array> {
    return this.#files === null
      ? this.#state().nodeRun(first, count)
      : this.#files.getNodeRun(first, count)
  }

  async getBytes(offset: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array> {
    if (this.#files !== null) return this.#files.getBytes(offset, byteLength, pool)
    const moved = await this.#others
    if (moved !== null) return moved.getBytes(offset, byteLength, pool)
    const bytes = pool?.take(byteLength) ?? new Uint8Array(byteLength)
    const found = await this.#retry((entry) =>
      this.#readData(entry, this.#state(), offset, bytes)
    ).catch(async (error: unknown) => {
      const others = await this.#openOthers()
      if (others === null) throw error
      bytes.set(await others.getBytes(offset, byteLength))
      return byteLength
    })
    if (found === byteLength) return bytes
    const path = this.#with.journal.folder
    const reason = `${path} lacks bytes of a feed that are said to be held`
    throw new SynclineError('FEED_DAMAGED', reason, { path, feed: this.#entry.id })
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    return this.#files === null ? null : this.#files.getUserData(name)
  }

  async takenBack(): Promise<readonly BlockRange[]> {
    if (this.#files !== null) return this.#files.takenBack()
    // Records stay as they are, but what is read from files others may change.
    const files = await this.#others
    if (files === null) return []
    return [...this.#cleared.splice(0), ...(await files.takenBack())]
  }

  async commit(commit: Commit): Promise<void> {
    if (this.#files !== null) return this.#files.commit(commit)
    this.#state()
    if (this.#lost) throw changedError(this.#with.folder)
    const { journal, options, stays } = this.#with
    if (options.readOnly === true) {
      // What does not hold is not held for as long as it is open; who may write finds it himself.
      if (onlyDrops(commit)) return
      throw new SynclineError('INVALID_OPERATION', 'the folder was opened to be read only')
    }
    const fits = stays && this.#empty === null && !journal.full && this.#state().fits(commit)
    if (!fits || !(await this.#beginWriting())) return (await this.moveOut()).commit(commit)
    const opens = !this.#entry.open
    const places = await journal.commit(this.#entry, commit)
    // Whoever made files for it before that has it; who makes them now finds that we write it.
    if (opens && (await this.#with.layer.exists(this.#with.folder))) {
      this.#lost = true
      throw changedError(this.#with.folder)
    }
    this.#state().apply(commit, places)
    this.#sequence = this.#entry.sequence
  }

  async free(offset: number, byteLength: number): Promise<void> {
    // Only bytes of blocks that were dropped are freed, and with that it has moved.
    await this.#files?.free(offset, byteLength)
  }

  /** As {@link FileStore.putKeyPair}. */
  async putKeyPair(keyPair: KeyPair): Promise<void> {
    await (await this.moveOut()).putKeyPair(keyPair)
  }

  /** Moves the feed into files of its own, unless it is there; returns them: they belong to the store. */
  async moveOut(): Promise<FileStore> {
    if (this.#files !== null) return this.#files
    this.#state()
    const { journal } = this.#with
    const mine = await this.#beginWriting()
    // Before there are files, and after: they would be in the way of whoever writes it.
    if (!mine) await this.#refuseOthers()
    const files = this.#empty ?? (await this.#makeFiles())
    this.#empty = files
    // Whoever began to write it in the journal before there were files has it.
    if (!mine) await this.#refuseOthers()
    const feed = this.#state()
    if (feed.commits > 0) await files.commit(await journal.wholeCommit(this.#entry, feed))
    this.#files = files
    this.#empty = null
    if (mine) await journal.remove(this.#entry)
    this.#stopWriting()
    this.#feed = null
    await this.#leave()
    return files
  }

  async flush(): Promise<void> {
    if (this.#files !== null) return this.#files.flush()
    this.#state()
    await this.#with.journal.sync(this.#with.options.readOnly === true)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    const { journal } = this.#with
    try {
      if (this.#files === null && this.#writing) await journal.sync(false)
    } finally {
      this.#closed = true
      if (this.#writing && this.#entry.open) journal.closed(this.#entry)
      this.#stopWriting()
      this.#feed = null
      await (this.#files ?? this.#empty ?? this.#with.files)?.close()
      await (await this.#others)?.close()
      await this.#leave()
    }
  }

  #state(): SmallFeed {
    if (this.#closed) throw new SynclineError('SESSION_CLOSED', `${this.#with.folder} is closed`)
    if (this.#feed === null) {
      throw new SynclineError('INVALID_OPERATION', `${this.#with.folder} was not opened`)
    }
    return this.#feed
  }

  async #load(): Promise<SmallFeed> {
    return this.#retry(async (entry) => {
      const { sequence } = entry
      const feed = await this.#with.journal.load(entry)
      this.#feed = feed
      this.#sequence = sequence
      return feed
    })
  }

  /** Puts bytes of the feed from `offset` on into `bytes`, as far as they are here; returns how many. */
  async #readData(
    entry: JournalEntry,
    feed: SmallFeed,
    offset: number,
    bytes: Uint8Array
  ): Promise<number> {
    const end = offset + bytes.byteLength
    let found = 0
    for (const part of feed.data) {
      const from = Math.max(offset, part.offset)
      const to = Math.min(end, part.offset + part.byteLength)
      if (from >= to) continue
      const record = await this.#with.journal.record(entry, part.commit)
      const at = part.at + from - part.offset
      bytes.set(record.subarray(at, at + to - from), from - offset)
      found += to - from
    }
    return found
  }

  /** Reads, and once more if the journal was written anew meanwhile. */
  async #retry<T>(read: (entry: JournalEntry) => Promise<T>): Promise<T> {
    const entry = this.#entry
    try {
      return await read(entry)
    } catch (error) {
      if (this.#writing || !isSynclineError(error, 'FEED_DAMAGED')) throw error
      const { journal } = this.#with
      const now = await journal.find(entry.id)
      if (now === null || now === entry) throw error
      if (this.#feed !== null && this.#entry !== now) {
        // It may have grown, but then what was read before still holds.
        const feed = await journal.load(now)
        if (!continues(feed, this.#feed)) throw error
        this.#feed = feed
      }
      this.#entry = now
      return read(now)
    }
  }

  /** The files that another process moved the feed into since it was opened; null if there are none that continue it. */
  #openOthers(): Promise<FileStore | null> {
    if (this.#writing) return Promise.resolve(null)
    return (this.#others ??= this.#findOthers(this.#state().head))
  }

  async #findOthers({ fork, length }: SmallFeed['head']): Promise<FileStore | null> {
    const { folder, options } = this.#with
    const files = FileStore.open(folder, { ...options, lock: false, readOnly: true })
    const state = await files.open().catch(() => null)
    if (state !== null && state.head.fork === fork && state.head.length >= length) {
      this.#lost = true
      this.#cleared = missingRanges(state.bitmap, 0, length)
      return files
    }
    await files.close()
    this.#others = null
    return null
  }

  /** Becomes the one that writes the feed in the journal; false if another process writes that. */
  async #beginWriting(): Promise<boolean> {
    if (this.#writing) return true
    const { journal } = this.#with
    this.#entered ||= await journal.enter()
    if (!this.#entered) return false
    const entry = await journal.find(this.#entry.id)
    if (entry !== null && entry.writer !== null) throw lockedError(this.#with.folder, process.pid)
    if (entry !== null) entry.writer = this
    try {
      await this.#take(entry)
    } catch (error) {
      if (entry !== null) entry.writer = null
      throw error
    }
    this.#writing = true
    return true
  }

  #stopWriting(): void {
    if (this.#writing) this.#entry.writer = null
    this.#writing = false
  }

  async #makeFiles(): Promise<FileStore> {
    const { folder, options } = this.#with
    const identity = { key: this.#entry.key, manifest: null, keyPair: null }
    try {
      const files = await FileStore.create(folder, identity, options)
      await files.open()
      return files
    } catch (error) {
      if (isSynclineError(error, 'FEED_EXISTS')) throw changedError(this.#with.folder)
      throw error
    }
  }

  /** Throws if the process that writes the journal writes this feed, or has done so since it was opened here. */
  async #refuseOthers(): Promise<void> {
    const { journal } = this.#with
    const entry = await journal.find(this.#entry.id)
    const pid = journal.writer
    if (entry?.open === true && pid !== null) throw lockedError(this.#with.folder, pid)
    await this.#take(entry)
  }

  /** Goes on with what the journal has of the feed now: the state that was opened, maybe at other places. */
  async #take(entry: JournalEntry | null): Promise<void> {
    const { number } = this.#entry
    if (entry?.number !== number || entry.sequence !== this.#sequence) {
      throw changedError(this.#with.folder)
    }
    if (entry !== this.#entry) {
      // One commit may have been taken back and another one written with its number.
      const feed = await this.#with.journal.load(entry)
      if (!feed.equals(this.#state())) throw changedError(this.#with.folder)
      this.#feed = feed
    }
    this.#entry = entry
  }

  async #leave(): Promise<void> {
    if (!this.#entered) return
    this.#entered = false
    await this.#with.journal.leave()
  }
}

/** True if one state of a feed has all that an earlier one had. */
function continues(feed: SmallFeed, earlier: SmallFeed): boolean {
  const { head } = feed
  return head.fork === earlier.head.fork && head.length >= earlier.head.length
}
