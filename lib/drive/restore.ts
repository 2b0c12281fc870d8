/**
 * Puts files of a drive, of any version, into a folder: nothing that stands there is lost unless it is asked for.
 *
 * @module
 */
import { existsSync, rmdirSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { isSynclineError, SynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import { makeFolder } from '../feed/file/make-folder.ts'
import { readMetadata } from './entry.ts'
import type { FileAttributes } from './folder/file-attributes.ts'
import { FileNames, type Renamed } from './folder/file-names.ts'
import { probeNames } from './folder/name-probe.ts'
import {
  Target,
  type Blocked,
  type Placed,
  type PutOptions,
  type Refused
} from './folder/target.ts'
import type { ListedEntry } from './listing.ts'
import { STATE_FOLDER } from './folder/state-folder.ts'

/** An entry, and the name below the root under which it shall stand. */
export interface RestoreItem {
  readonly name: string
  readonly source: ListedEntry
}

/** Options of {@link restore}. */
export interface RestoreOptions {
  /** The bytes of a file. What it throws as BLOCK_NOT_AVAILABLE is told of that entry, and the others go on. */
  read(source: ListedEntry): AsyncIterable<Uint8Array>
  /** True: files and links that stand there give way. Default: false. */
  readonly overwrite?: boolean
  /** True makes links that leave the root, too. Default: false. */
  readonly allLinks?: boolean
  /** Names that have a path of their own already below this root. */
  readonly renamed?: Iterable<Renamed>
  readonly signal?: AbortSignal
}

/** What was restored. */
export interface RestoreReport {
  readonly restored: readonly { readonly name: string; readonly path: string }[]
  readonly bytes: number
  readonly skipped: readonly { readonly name: string; readonly reason: SynclineError }[]
}

/** Bytes up to which a file is kept in memory until it is whole. */
const SMALL_BYTES: number = 1024 * 1024

/**
 * See the module comment.
 *
 * @param root - made if it is missing. Our own folder in it is gone at the end if it was not there before.
 * @param items - in the order of a listing.
 * @throws SynclineError DISK_FULL, STORAGE_FAILED, TIMEOUT; the signal's reason. What is there by then stays.
 */
export async function restore(
  root: string,
  items: readonly RestoreItem[],
  options: RestoreOptions
): Promise<RestoreReport> {
  const state = path.join(root, STATE_FOLDER)
  const isNew = !existsSync(state)
  try {
    await makeFolder(state, 0o700)
    return await new Restore(root, options).run(items)
  } catch (error) {
    throw systemCode(error) === '' ? error : storageError(error, root)
  } finally {
    if (isNew) for (const folder of [path.join(state, 'incoming'), state]) removeEmpty(folder)
  }
}

class Restore {
  readonly #root: string
  readonly #options: RestoreOptions
  readonly #names: FileNames
  readonly #target: Target

  constructor(root: string, options: RestoreOptions) {
    const { allLinks = false, renamed = [] } = options
    this.#root = root
    this.#options = options
    this.#names = new FileNames(probeNames(path.join(root, STATE_FOLDER)), renamed)
    this.#target = new Target(root, { names: this.#names, links: allLinks ? 'all' : 'inside' })
  }

  async run(items: readonly RestoreItem[]): Promise<RestoreReport> {
    const restored: { name: string; path: string }[] = []
    const skipped: { name: string; reason: SynclineError }[] = []
    let bytes = 0
    const taken = items.filter(({ name, source }) => {
      const refusal = this.#names.add(name, source.kind === 'folder')
      if (refusal !== null) skipped.push({ name: source.name, reason: refused(refusal) })
      return refusal === null
    })
    for (const item of taken) {
      this.#options.signal?.throwIfAborted()
      const { name } = item.source
      try {
        const verdict = await this.#put(item)
        if (verdict.verdict === 'done') {
          restored.push({ name, path: path.join(this.#root, verdict.path) })
          bytes += item.source.entry.blob?.byteLength ?? 0
        } else skipped.push({ name, reason: reasonOf(verdict) })
      } catch (error) {
        if (!isSynclineError(error, 'STORAGE_FAILED', 'BLOCK_NOT_AVAILABLE')) throw error
        skipped.push({ name, reason: error })
      }
    }
    return { restored, bytes, skipped }
  }

  async #put({ name, source }: RestoreItem): Promise<Placed | Blocked | Refused> {
    const { kind, entry } = source
    const { mode, mtimeMs } = readMetadata(entry.metadata)
    if (kind === 'folder') return this.#target.folder(name, { mode, mtimeMs })
    const standing = this.#options.overwrite === true ? {} : { expected: null }
    const options = { executable: entry.executable, mode, mtimeMs, ...standing }
    if (kind === 'link') return this.#target.link(name, entry.linkname ?? '', options)
    if ((entry.blob?.byteLength ?? 0) > SMALL_BYTES) return this.#putLarge(name, source, options)
    const pieces: Uint8Array[] = []
    for await (const piece of this.#options.read(source)) pieces.push(piece)
    return this.#target.write(name, Buffer.concat(pieces), options)
  }

  async #putLarge(
    name: string,
    source: ListedEntry,
    options: PutOptions & FileAttributes
  ): Promise<Placed | Blocked | Refused> {
    const file = this.#target.newTemp()
    try {
      const handle = await open(file, 'wx', 0o600)
      try {
        for await (const piece of this.#options.read(source)) await handle.writeFile(piece)
      } finally {
        await handle.close()
      }
      return await this.#target.place(file, name, options)
    } catch (error) {
      throw systemCode(error) === '' ? error : storageError(error, file)
    } finally {
      await rm(file, { force: true })
    }
  }
}

function reasonOf(verdict: Blocked | Refused): SynclineError {
  if (verdict.verdict === 'refused') return refused(verdict.reason)
  const { path: at, by } = verdict
  return refused(by === 'file' || by === 'link' ? `${at} is there already` : `a ${by} is at ${at}`)
}

function refused(reason: string): SynclineError {
  return new SynclineError('REFUSED', reason)
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Somebody else uses it by now.
  }
}
