/**
 * hyperdrive 13, localdrive and mirror-drive as the roles use them.
 *
 * @module
 */
import { createRequire } from 'node:module'

/** An entry of either kind of drive. */
export interface MirrorEntry {
  readonly key: string
}

/** Brings a target to what a source is. */
export interface Mirror {
  readonly count: { readonly files: number; readonly add: number; readonly change: number }
  done(): Promise<void>
}

/** A folder, as a drive. */
export interface LocalDrive {
  mirror(target: object, options?: { readonly dryRun?: boolean }): Mirror
}

/** A drive in a store. */
export interface RemoteDrive {
  readonly key: Uint8Array
  readonly version: number
  readonly core: {
    on(event: 'append', listener: () => void): void
    update(options: { readonly wait: boolean }): Promise<boolean>
  }
  ready(): Promise<void>
  close(): Promise<void>
  getBlobs(): Promise<unknown>
  list(folder: string): AsyncIterable<MirrorEntry>
  createReadStream(entry: MirrorEntry): AsyncIterable<Uint8Array>
  mirror(target: object, options?: { readonly dryRun?: boolean }): Mirror
}

/** Cores of a user. */
export interface CoreStore {
  ready(): Promise<void>
  close(): Promise<void>
  replicate(stream: object): unknown
  findingPeers(): () => void
}

const require = createRequire(import.meta.url)
const Corestore = require('corestore') as new (folder: string) => CoreStore
const Hyperdrive = require('hyperdrive') as new (store: CoreStore, key?: Buffer) => RemoteDrive
const Localdrive = require('localdrive') as new (folder: string) => LocalDrive

/** Opens a store in a folder. */
export async function openCoreStore(folder: string): Promise<CoreStore> {
  const store = new Corestore(folder)
  await store.ready()
  return store
}

/** The drive of a key in hex, or the store's own. */
export async function openDrive(store: CoreStore, key?: string): Promise<RemoteDrive> {
  const drive =
    key === undefined ? new Hyperdrive(store) : new Hyperdrive(store, Buffer.from(key, 'hex'))
  await drive.ready()
  return drive
}

/** A folder as a drive, with its default options. */
export function localDrive(folder: string): LocalDrive {
  return new Localdrive(folder)
}
