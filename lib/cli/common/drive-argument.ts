/**
 * Drives as they are named on the command line: a folder that is shared or cloned (or any folder inside), the name of
 * one, or a key.
 *
 * What is here is read without a lock and without a network; what is not comes from peers, and only what is read.
 *
 * @module
 */
import { setMaxListeners } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import b4a from 'b4a'
import { blobsKey } from '../../drive/blobs-key.ts'
import { DriveBlobs, type BlobWaitOptions } from '../../drive/drive-blobs.ts'
import { keyOfName, normalFolder } from '../../drive/drive-name.ts'
import { indexSource } from '../../drive/drive.ts'
import type { BlobRange } from '../../drive/entry.ts'
import {
  DriveFolder,
  findFolder,
  readConfig,
  type FolderConfig
} from '../../drive/folder/drive-folder.ts'
import { DriveIndex } from '../../drive/index/drive-index.ts'
import { listDrive, readListed, type BadEntry, type ListedEntry } from '../../drive/listing.ts'
import type { Registry, RegisteredDrive } from '../../drive/registry.ts'
import { isSynclineError, SynclineError } from '../../errors.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import { formatKey } from '../../synchronizer/key.ts'
import { memory } from '../../synchronizer/storage.ts'
import { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { diagnose } from './diagnosis.ts'
import { ENCRYPTION_KEY } from './drive-flags.ts'
import { UsageError } from './exit.ts'
import { option, wholeNumber, type Flag } from './flag.ts'
import { NETWORK, TIMEOUT } from './flags.ts'
import { checkNetwork, goOnline, hasNetwork, openSynchronizer } from './network.ts'
import { openRegistry } from './folders.ts'
import { Patience } from './patience.ts'
import { keyOf, labelOf, openFolder, openWhileWritten, readReference } from './storage.ts'
import { count } from './text.ts'
import { explainWaits, watch, watched } from './watch.ts'

export const AT: Flag<number | null> = option(
  'at',
  'V',
  'Read version V instead of the newest; `syncline log` tells the versions.',
  null,
  wholeNumber('at', 1)
)

/** Flags of every command that reads a drive. */
export const DRIVE_FLAGS: readonly Flag[] = [AT, ENCRYPTION_KEY, ...NETWORK]

/** A paragraph for the help of these commands. */
export const DRIVE_HELP: string =
  'A DRIVE is a folder that is shared or cloned (or any folder inside), its name, the name of a\n' +
  'mirror, or a key. What is here is read without any network; of what is not, only what is read\n' +
  'comes from peers. A PATH is a name in the drive, with or without a slash in front.'

const NOBODY = 'no peer that is connected has it'

/** Where a drive is. */
export interface FoundDrive {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** How it is called towards people. */
  readonly label: string
  /** Null if the user's store knows nothing of it. */
  readonly registered: RegisteredDrive | null
  /** What is here of it; null if nothing is. */
  readonly here: {
    /** Of a mirror the folder that was copied last, which need not be there. */
    readonly root: string
    readonly state?: string
    readonly config: FolderConfig
  } | null
}

/**
 * Finds a drive by what the user calls it.
 *
 * @throws SynclineError FEED_NOT_FOUND for what is no key and not here; UsageError for a name that several folders have,
 * and for a link without a key.
 */
export async function findDrive(
  context: Pick<Context, 'get' | 'env'>,
  text: string
): Promise<FoundDrive> {
  const registry = openRegistry(context)
  const reference = readReference(text)
  if ('key' in reference) {
    const { key } = reference
    const registered = await registry.get(key)
    return registered === null
      ? { key, label: labelOf(key, null), registered, here: null }
      : found(registry, registered)
  }
  const root = existsSync(text) ? await findFolder(text) : null
  const config = root === null ? null : await readConfig(root)
  if (root !== null && config !== null) {
    const folderKey = b4a.from(config.key, 'hex')
    const registered = await registry.get(folderKey)
    return { key: folderKey, label: path.basename(root), registered, here: { root, config } }
  }
  const named = await registry.named(text)
  const folders = [...new Set(named.map(({ folder }) => folder))]
  if (folders.length > 1) {
    const all = folders.join(', ')
    throw new UsageError(`several folders are called ${text}: ${all}`, 'give the path of one')
  }
  const [first] = named
  if (first !== undefined) return found(registry, await newestOf(named, first))
  const stored = await storedKey(context, text)
  if (stored !== null) return { key: stored, label: text, registered: null, here: null }
  const what = root === null && existsSync(text) ? 'is neither shared nor cloned' : 'is no drive'
  throw new SynclineError('FEED_NOT_FOUND', `${text} ${what}: no folder, name or key of one`)
}

/** Of the drives that one folder was, the one that it is: it may have lost its state and been shared anew. */
async function newestOf(
  drives: readonly RegisteredDrive[],
  first: RegisteredDrive
): Promise<RegisteredDrive> {
  if (drives.length === 1) return first
  const config = await readConfig(first.folder)
  return drives.find(({ key }) => b4a.toString(key, 'hex') === config?.key) ?? first
}

/** The key of a stored feed by its name, or null. */
async function storedKey(
  context: Pick<Context, 'get' | 'env'>,
  name: string
): Promise<Uint8Array | null> {
  try {
    return await keyOf(await openFolder(context), name)
  } catch (error) {
    if (isSynclineError(error, 'FEED_NOT_FOUND', 'BAD_ARGUMENT')) return null
    throw error
  }
}

async function found(registry: Registry, registered: RegisteredDrive): Promise<FoundDrive> {
  const { key, kind, folder: root, name } = registered
  const label = name ?? path.basename(root)
  const state = kind === 'mirror' ? { state: registry.statePath(key) } : {}
  const config = await readConfig(root, ...Object.values(state))
  // Somebody may have moved the folder away, or put another one there.
  const isHere = config !== null && config.key === b4a.toString(key, 'hex')
  return { key, label, registered, here: isHere ? { root, ...state, config } : null }
}

/**
 * Opens a drive to be read.
 *
 * @throws SynclineError FEED_NOT_FOUND also for a version that does not exist; TIMEOUT if nobody had it; ENCRYPTED.
 */
export async function openDrive(context: Context, text: string): Promise<OpenDrive> {
  return openFoundDrive(context, await findDrive(context, text))
}

/** As {@link openDrive}, once it is found. */
export async function openFoundDrive(context: Context, drive: FoundDrive): Promise<OpenDrive> {
  return (await openDriveHere(context, drive)) ?? atVersion(context, await openFar(context, drive))
}

/** Opens a drive to be read without a network; null if it is not here, or not all of its index is. */
export async function openDriveHere(
  context: Context,
  drive: FoundDrive
): Promise<OpenDrive | null> {
  const opened =
    drive.here === null
      ? await openStored(context, drive)
      : await openWhileWritten(() => openHere(context, drive))
  return opened && atVersion(context, opened)
}

async function atVersion({ get }: Context, opened: OpenDrive): Promise<OpenDrive> {
  try {
    await opened.checkout(get(AT))
    return opened
  } catch (error) {
    await opened.close()
    throw error
  }
}

function secretOf({ get }: Context, { registered }: FoundDrive): Uint8Array | null {
  return get(ENCRYPTION_KEY) ?? registered?.encryptionKey ?? null
}

/** What a {@link OpenDrive} is made of. */
interface Parts {
  readonly drive: FoundDrive
  readonly encryptionKey: Uint8Array | null
  readonly sync: Synchronizer
  readonly session: FeedSession
  readonly folder: DriveFolder | null
  /** Null if they are not here. */
  readonly blobs: FeedSession | null
  /** How blocks are waited for. */
  readonly wait: BlobWaitOptions
  /** Ends what tells why nothing comes. */
  readonly quiet?: () => void
}

/** A drive that is open to be read. */
export class OpenDrive {
  readonly index: DriveIndex
  readonly #parts: Parts
  #version = 0
  #far: Parts | null = null
  #blobs: DriveBlobs | null = null

  constructor(parts: Parts) {
    this.#parts = parts
    this.index = new DriveIndex(indexSource(parts.session, parts.wait))
    this.#blobs = parts.blobs && new DriveBlobs(parts.blobs)
  }

  get key(): Uint8Array {
    return this.#parts.drive.key
  }

  get label(): string {
    return this.#parts.drive.label
  }

  /** Where it was found. */
  get found(): FoundDrive {
    return this.#parts.drive
  }

  /** True if not all that it ever held is here. */
  async lacks(): Promise<boolean> {
    const { session, blobs } = this.#parts
    return blobs === null || !(await isWhole(session)) || !(await isWhole(blobs))
  }

  /** Where its feeds are open. */
  get sync(): Synchronizer {
    return this.#parts.sync
  }

  /** True if it comes from peers. */
  get isFar(): boolean {
    return this.#parts.wait.wait !== false
  }

  /** Its folder here; null if it comes from the store of the feeds, or from peers. */
  get folder(): DriveFolder | null {
    return this.#parts.folder
  }

  /** The newest version that is known. */
  get newest(): number {
    return this.index.version
  }

  /** The version that is read. */
  get version(): number {
    return this.#version
  }

  /** Goes to a version; null is the newest. @throws SynclineError FEED_NOT_FOUND, ENCRYPTED. */
  async checkout(version: number | null): Promise<void> {
    await this.index.header()
    if (version !== null) await this.checkVersion(version)
    this.#version = version ?? this.newest
  }

  /** @throws SynclineError FEED_NOT_FOUND for a version that does not exist. */
  async checkVersion(version: number): Promise<void> {
    const { label, newest } = this
    if (version > newest) {
      const reason = `${label} has no version ${version}: the newest is ${newest}`
      throw new SynclineError('FEED_NOT_FOUND', reason)
    }
    if (!(await this.index.isWhole(version))) {
      const reason = `${label} has no version ${version}: it was written together with later ones`
      throw new SynclineError('FEED_NOT_FOUND', `${reason}; syncline log tells the versions`)
    }
  }

  /** The file, link or empty folder of a normal name; null if there is none. @throws SynclineError BAD_MESSAGE. */
  async entry(name: string): Promise<ListedEntry | null> {
    if (name === '/') return null
    for (const part of ['files', 'dirs'] as const) {
      const item = await this.index.get(keyOfName(name, part), this.#version)
      if (item === null) continue
      const listed = readListed(item, part)
      if (!('reason' in listed)) return listed
      throw new SynclineError('BAD_MESSAGE', `${name} is a bad entry (${listed.reason})`)
    }
    return null
  }

  /** What lies in a folder, at any depth, in the order of the names. */
  list(
    under: string = '/',
    onbad?: (entry: BadEntry) => void
  ): AsyncGenerator<ListedEntry, void, void> {
    return listDrive(this.index, this.#version, {
      under,
      ...(onbad === undefined ? {} : { onbad })
    })
  }

  /**
   * Bytes `[start, end)` of a file, piece by piece.
   *
   * @throws SynclineError BLOCK_NOT_AVAILABLE when they are kept no more; TIMEOUT if nobody had them.
   */
  async *read(
    context: Context,
    { name, entry }: ListedEntry,
    start: number = 0,
    end: number = Infinity
  ): AsyncGenerator<Uint8Array, void, void> {
    const { blob } = entry
    if (blob === null) return
    let at = start
    if (this.#blobs !== null) {
      try {
        for await (const piece of this.#blobs.read(blob, { start, ...endOf(end), ...this.#wait })) {
          at += piece.byteLength
          yield piece
        }
        return
      } catch (error) {
        if (!isSynclineError(error, 'BLOCK_NOT_AVAILABLE')) throw error
      }
    }
    if (!this.mayFetch(context)) throw this.#notKept(name, 'it is not here')
    yield* this.#fetch(context, name, blob, at, end)
  }

  async close(): Promise<void> {
    for (const parts of [this.#far, this.#parts]) {
      parts?.quiet?.()
      await parts?.sync.close()
    }
  }

  get #wait(): BlobWaitOptions {
    return this.#parts.wait
  }

  /** True if somebody else may have what is not here. */
  mayFetch(context: Context): boolean {
    const isOurs = (this.#parts.drive.registered?.keyPair ?? null) !== null
    return this.isFar || (!isOurs && hasNetwork(context))
  }

  #notKept(name: string, reason: string): SynclineError {
    const what = `${name} of version ${this.#version}`
    const { folder } = this.#parts
    const why =
      folder?.config.kind === 'share' && !folder.config.copy
        ? 'its owner changed or removed it in place (share --copy keeps versions)'
        : reason
    return new SynclineError('BLOCK_NOT_AVAILABLE', `${what} is not kept any more: ${why}`)
  }

  /** Bytes that come from peers. */
  async *#fetch(
    context: Context,
    name: string,
    blob: BlobRange,
    start: number,
    end: number
  ): AsyncGenerator<Uint8Array, void, void> {
    this.#far ??= await this.#openFar(context)
    const { sync, session } = this.#far
    const patience = new Patience(context, sync, session, {
      notKept: () => this.#notKept(name, NOBODY),
      late: (why) => new SynclineError('TIMEOUT', `no peer had ${name} in time: ${why}`)
    })
    // A limit for each block would count from when it is asked for, ahead of the reader.
    const signal = AbortSignal.any([context.signal, patience.signal])
    setMaxListeners(0, signal)
    try {
      const options = { start, ...endOf(end), signal }
      for await (const piece of new DriveBlobs(session).read(blob, options)) {
        patience.waits = false
        yield piece
        patience.waits = true
      }
    } finally {
      patience.end()
    }
  }

  /** The blobs of peers: beside an index from afar on the same connections. */
  async #openFar(context: Context): Promise<Parts> {
    const { session: index, encryptionKey } = this.#parts
    const header = await this.index.header()
    const key = blobsKey(index.key, index.manifest, header?.contentFeed ?? null)
    if (key === null) {
      throw new SynclineError('UNSUPPORTED', 'the index does not say which feed its blobs are')
    }
    const options = { mode: 'pull' as const, ranges: [], ...keyOption(encryptionKey) }
    if (this.isFar) {
      const session = this.#parts.sync.add(key, options)
      await session.ready()
      return { ...this.#parts, session }
    }
    checkNetwork(context)
    const sync = await openSynchronizer(context, memory())
    const session = sync.add(key, options)
    await session.ready()
    await goOnline(context, sync)
    const quiet = explainWaits(context, sync, session)
    return { ...this.#parts, sync, session, wait: waitOf(context), quiet }
  }
}

async function isWhole(feed: FeedSession): Promise<boolean> {
  return feed.length > 0 && (await feed.has(0, feed.length))
}

/** The drive of a folder here. Null if it is a clone that nothing was brought to yet, and its index is not here as a whole. */
async function openHere(context: Context, drive: FoundDrive): Promise<OpenDrive | null> {
  const encryptionKey = secretOf(context, drive)
  const { root, state } = drive.here as NonNullable<FoundDrive['here']>
  const sync = new Synchronizer({ storage: memory() })
  try {
    const where = state === undefined ? {} : { state }
    const options = { ...where, encryptionKey, readOnly: true, mode: 'serve' as const }
    const folder = await DriveFolder.open(sync, root, options)
    const { indexSession: index, catalog, config } = folder
    const isBegun = config.kind === 'clone' && catalog.version === 0
    if (isBegun && !(await isWhole(index))) {
      await sync.close()
      return null
    }
    // A clone that has nothing yet does not know its blobs.
    const blobs = await folder.blobs().catch(() => null)
    const wait = { wait: false }
    const session = folder.indexSession
    return new OpenDrive({
      drive,
      encryptionKey,
      sync,
      session,
      folder,
      blobs: blobs?.session ?? null,
      wait
    })
  } catch (error) {
    await sync.close()
    throw error
  }
}

/** A drive whose feeds are stored, as `syncline sync KEY` does it. Null if its index is not here as a whole. */
async function openStored(context: Context, drive: FoundDrive): Promise<OpenDrive | null> {
  const encryptionKey = secretOf(context, drive)
  const feeds = await openFolder(context)
  if (!(await feeds.has(drive.key))) return null
  const sync = new Synchronizer({ storage: memory() })
  const options = { mode: 'serve' as const, ...keyOption(encryptionKey) }
  const open = (key: Uint8Array): FeedSession =>
    sync.host(key, () => openWhileWritten(() => feeds.openFeed(key)), options)
  try {
    const session = open(drive.key)
    await session.ready()
    if (!(await isWhole(session))) {
      await sync.close()
      return null
    }
    const header = await new DriveIndex(session).header()
    const key = blobsKey(session.key, session.manifest, header?.contentFeed ?? null)
    const blobs = key !== null && (await feeds.has(key)) ? open(key) : null
    await blobs?.ready()
    const wait = { wait: false }
    return new OpenDrive({ drive, encryptionKey, sync, session, folder: null, blobs, wait })
  } catch (error) {
    await sync.close()
    throw error
  }
}

/** A drive of peers. Nothing of it is stored. */
async function openFar(context: Context, drive: FoundDrive): Promise<OpenDrive> {
  const encryptionKey = secretOf(context, drive)
  checkNetwork(context)
  const { key, label } = drive
  const sync = await openSynchronizer(context, memory())
  try {
    const session = sync.add(key, { mode: 'pull', ranges: [], ...keyOption(encryptionKey) })
    await session.ready()
    await goOnline(context, sync)
    const feed = watched(session, label)
    const known = await watch(context, sync, [feed], {
      isDone: (_, { knownLength, pendingPeers }) =>
        session.length > 0 && session.length >= knownLength && pendingPeers === 0,
      live: false,
      timeoutMs: context.get(TIMEOUT) * 1000
    })
    if (feed.error !== null) throw feed.error
    context.signal.throwIfAborted()
    if (!known) {
      const why = diagnose(sync, session)
      throw new SynclineError('TIMEOUT', `no peer had ${formatKey(key)} in time: ${why}`)
    }
    const quiet = explainWaits(context, sync, session)
    const wait = waitOf(context)
    const parts = { drive, encryptionKey, sync, session, folder: null, blobs: null, wait, quiet }
    return new OpenDrive(parts)
  } catch (error) {
    await sync.close()
    throw error
  }
}

/** What a PATH on the command line is in a drive. @throws UsageError for one that leads out of it. */
export function readPath(text: string): string {
  try {
    return normalFolder(text)
  } catch (error) {
    if (!isSynclineError(error, 'BAD_ARGUMENT')) throw error
    throw new UsageError(`${text} leads out of the drive`)
  }
}

/** The error for a name that the version has not. */
export function fileNotFound({ label, version }: OpenDrive, name: string): SynclineError {
  return new SynclineError('FILE_NOT_FOUND', `${label} has no ${name} in version ${version}`)
}

/** Says of entries that cannot be read that they are left out. */
export class BadEntries {
  readonly #names: string[] = []

  readonly note = ({ name, reason }: BadEntry): void => {
    this.#names.push(`${JSON.stringify(name)} (${reason})`)
  }

  get count(): number {
    return this.#names.length
  }

  tell({ log }: Context): void {
    if (this.#names.length === 0) return
    log.info(`${count(this.#names.length, 'bad entry', 'bad entries')} left out:`)
    for (const name of this.#names) log.info(`  ${name}`)
  }
}

function endOf(end: number): { readonly length?: number; readonly end?: number } {
  return end === Infinity ? {} : { end: end - 1 }
}

function keyOption(encryptionKey: Uint8Array | null): { readonly encryptionKey?: Uint8Array } {
  return encryptionKey === null ? {} : { encryptionKey }
}

function waitOf({ get, signal }: Context): BlobWaitOptions {
  // Many blocks are waited for at a time.
  setMaxListeners(0, signal)
  return { timeoutMs: get(TIMEOUT) * 1000, signal }
}
