/**
 * Keeps few files open for many feeds: files are opened on use and closed when cold.
 *
 * @module
 */
import { OPEN_FILES_MAX } from '../../limits.ts'
import { storageError, systemCode } from './file-error.ts'
import { diskFiles, openFilesLimit, type FileLayer, type OpenFile } from './file.ts'
import type { BufferPool } from '../../primitives/buffer-pool.ts'

/** What the pool keeps about a file that is open, opening or closing. */
interface Slot {
  readonly access: 'read' | 'write'
  readonly opening: Promise<OpenFile>
  /** Calls that use the file now. */
  users: number
  /** Calls that wait for the last of them. */
  readonly leaving: (() => void)[]
}

/**
 * At most `max` descriptors at a time, by default OPEN_FILES_MAX or half of what the system allows; more calls
 * than that wait for each other.
 *
 * A call uses one file only, so calls that wait cannot block each other.
 */
export class FilePool {
  readonly layer: FileLayer
  #max: number | null
  readonly #slots: Map<PooledFile, Slot> = new Map()
  /** Those of them that nobody uses, least recently used first. */
  readonly #idle: Map<PooledFile, Slot> = new Map()
  #closing = 0
  readonly #waiting: (() => void)[] = []

  constructor(options: { readonly max?: number; readonly layer?: FileLayer } = {}) {
    this.#max = options.max === undefined ? null : Math.max(options.max, 1)
    this.layer = options.layer ?? diskFiles
  }

  /** Descriptors in use. */
  get openFiles(): number {
    return this.#slots.size + this.#closing
  }

  /** Runs `run` with the open file. Called by {@link PooledFile} only. */
  async use<T>(
    file: PooledFile,
    access: 'read' | 'write',
    run: (open: OpenFile) => Promise<T>
  ): Promise<T> {
    const slot = await this.#acquire(file, access)
    try {
      return await run(await slot.opening)
    } finally {
      slot.users--
      if (slot.users === 0) this.#left(file, slot)
    }
  }

  /** Closes the file once nobody uses it. */
  async close(file: PooledFile): Promise<void> {
    while (true) {
      const slot = this.#slots.get(file)
      if (slot === undefined) return
      if (slot.users === 0) return this.#evict(file, slot)
      await this.#leftBy(slot)
    }
  }

  async #acquire(file: PooledFile, access: 'read' | 'write'): Promise<Slot> {
    // True if a call that waits for room was woken by what this one may now do without.
    let owes = false
    while (true) {
      const slot = this.#slots.get(file)
      if (slot !== undefined && (slot.access === 'write' || access === 'read')) {
        slot.users++
        this.#idle.delete(file)
        if (owes) this.#wakeNext()
        return slot
      }
      if (slot !== undefined) {
        // Open for reading only: reopened for writing as soon as the readers are done.
        if (slot.users === 0) await this.#evict(file, slot)
        else await this.#leftBy(slot)
        continue
      }
      if (this.openFiles < this.#most()) return this.#open(file, access)
      const idle = this.#coldest()
      if (idle === undefined) {
        await this.#room(owes)
        owes = true
      } else await this.#evict(...idle)
    }
  }

  /** Not all that the process may open: connections need descriptors, too. */
  #most(): number {
    this.#max ??= Math.max(1, Math.min(OPEN_FILES_MAX, Math.floor(openFilesLimit() / 2)))
    return this.#max
  }

  #open(file: PooledFile, access: 'read' | 'write'): Slot {
    const slot: Slot = {
      access,
      opening: this.#openOrMakeRoom(file.path, access),
      users: 1,
      leaving: []
    }
    this.#slots.set(file, slot)
    slot.opening.catch(() => {
      if (this.#slots.get(file) === slot) this.#slots.delete(file)
      this.#wakeNext()
    })
    return slot
  }

  /** The rest of the process may have used up the descriptors; then ours have to go. */
  async #openOrMakeRoom(path: string, access: 'read' | 'write'): Promise<OpenFile> {
    while (true) {
      try {
        return await this.layer.open(path, access)
      } catch (error) {
        const code = systemCode(error)
        const idle = this.#coldest()
        if ((code !== 'EMFILE' && code !== 'ENFILE') || idle === undefined) throw error
        await this.#evict(...idle)
      }
    }
  }

  #coldest(): readonly [PooledFile, Slot] | undefined {
    for (const entry of this.#idle) return entry
    return undefined
  }

  #left(file: PooledFile, slot: Slot): void {
    // One that could not be opened is gone already.
    if (this.#slots.get(file) === slot) this.#idle.set(file, slot)
    for (const resolve of slot.leaving.splice(0)) resolve()
    this.#wakeNext()
  }

  async #evict(file: PooledFile, slot: Slot): Promise<void> {
    this.#slots.delete(file)
    this.#idle.delete(file)
    this.#closing++
    try {
      // Nothing is promised of bytes that were not synced, so an error at closing changes nothing.
      await slot.opening.then((open) => open.close()).catch(() => {})
    } finally {
      this.#closing--
      this.#wakeNext()
    }
  }

  /** Resolves when nobody uses the file of a slot any more. */
  #leftBy(slot: Slot): Promise<void> {
    return new Promise((resolve) => {
      slot.leaving.push(resolve)
    })
  }

  /** Resolves when there may be room for another file; whoever waited before goes first. */
  #room(again: boolean): Promise<void> {
    return new Promise((resolve) => {
      if (again) this.#waiting.unshift(resolve)
      else this.#waiting.push(resolve)
    })
  }

  /** One only: thousands may wait, and all but one would have to wait again. */
  #wakeNext(): void {
    this.#waiting.shift()?.()
  }
}

/** The pool that all feeds of the process share. */
export const sharedPool: FilePool = new FilePool()

/**
 * One file of a feed, opened by the pool when it is used. A missing file reads as empty, and is made by
 * the first write only.
 *
 * Errors: SynclineError STORAGE_FAILED, DISK_FULL, with the path.
 */
export class PooledFile {
  readonly path: string
  readonly #pool: FilePool

  constructor(pool: FilePool, path: string) {
    this.#pool = pool
    this.path = path
  }

  /** Bytes `[position, position + byteLength)`, fewer at the end of the file; null if there is no file. */
  read(position: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array | null> {
    return this.#reading(async (open) => {
      const target = pool?.take(byteLength) ?? new Uint8Array(byteLength)
      const count = await open.read(target, position)
      return count === byteLength ? target : target.subarray(0, count)
    })
  }

  /** The whole file, in one read if it has fewer than `likely` bytes; null if there is none. */
  async readAll(likely: number): Promise<Uint8Array | null> {
    const bytes = await this.read(0, likely)
    if (bytes === null || bytes.byteLength < likely) return bytes
    return this.read(0, (await this.size()) ?? 0)
  }

  /** Bytes of the file, or null if there is none. */
  size(): Promise<number | null> {
    return this.#reading((open) => open.size())
  }

  write(parts: readonly Uint8Array[], position: number): Promise<void> {
    return this.#writing((open) => open.write(parts, position))
  }

  truncate(size: number): Promise<void> {
    return this.#writing((open) => open.truncate(size))
  }

  sync(): Promise<void> {
    return this.#writing((open) => open.sync())
  }

  /** As sync, for what others wrote: on a disk that can only be read, too, and without making the file. */
  async syncFound(): Promise<void> {
    // Windows syncs only what may be written.
    if (process.platform !== 'win32') await this.#reading((open) => open.sync())
    else if ((await this.size()) !== null) await this.sync()
  }

  punch(offset: number, length: number): Promise<boolean> {
    return this.#writing((open) => open.punch(offset, length))
  }

  close(): Promise<void> {
    return this.#pool.close(this)
  }

  async #reading<T>(run: (open: OpenFile) => Promise<T>): Promise<T | null> {
    try {
      return await this.#pool.use(this, 'read', run)
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null
      throw storageError(error, this.path)
    }
  }

  async #writing<T>(run: (open: OpenFile) => Promise<T>): Promise<T> {
    try {
      return await this.#pool.use(this, 'write', run)
    } catch (error) {
      throw storageError(error, this.path)
    }
  }
}
