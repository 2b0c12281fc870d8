/**
 * hypercore 11 as the roles use it: cores in one shared storage, as Corestore keeps them.
 *
 * @module
 */
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import NoiseSecretStream from '@hyperswarm/secret-stream'
import { createKeyPair } from '../../../lib/index.ts'

/** The part of a core that the roles use. */
export interface Core {
  readonly key: Uint8Array
  readonly length: number
  readonly contiguousLength: number
  /** hypercore's own bitfield, the quickest way to what is here; -1 for none. */
  readonly core: InnerCore & {
    readonly bitfield: { firstSet(start: number): number; firstUnset(start: number): number }
  }
  ready(): Promise<void>
  append(blocks: readonly Uint8Array[]): Promise<unknown>
  get(index: number, options?: { readonly wait?: boolean }): Promise<Uint8Array | null>
  clear(start: number, end: number): Promise<unknown>
  download(range: { readonly start: number; readonly end: number }): { done(): Promise<unknown> }
  replicate(stream: object): unknown
  close(): Promise<void>
}

/** What sessions of a core share. */
interface InnerCore {
  close(): Promise<void>
}

/** Storage of many cores. */
export interface CoreStorage {
  ready(): Promise<void>
  close(): Promise<void>
}

const require = createRequire(import.meta.url)
const Hypercore = require('hypercore') as {
  new (options: { readonly core: InnerCore }): Core
  /** As Corestore makes its cores: they leave the storage open when they close. */
  createCore(storage: CoreStorage, options: object): InnerCore
  key(manifest: object): Uint8Array
}
const Storage = require('hypercore-storage') as new (folder: string) => CoreStorage

/** Opens a storage of cores. */
export async function openStorage(folder: string): Promise<CoreStorage> {
  const storage = new Storage(folder)
  await storage.ready()
  return storage
}

/** Opens a core of the storage, or adds it, by its key in hex. */
export async function openCore(storage: CoreStorage, key: string): Promise<Core> {
  return open(storage, { key: Buffer.from(key, 'hex') })
}

/** Makes a new core that can be written. */
export async function createCore(storage: CoreStorage): Promise<Core> {
  const { publicKey, secretKey } = createKeyPair()
  const keyPair = { publicKey: Buffer.from(publicKey), secretKey: Buffer.from(secretKey) }
  const manifest = { version: 1, signers: [{ publicKey: keyPair.publicKey }] }
  return open(storage, { key: Hypercore.key(manifest), keyPair, manifest })
}

/** Closes a core and leaves its storage open. */
export async function closeCore(core: Core): Promise<void> {
  await core.close()
  await core.core.close()
}

/** Encrypts a socket directly, which costs less than the pipes of hypercore's README. */
export function secure(isInitiator: boolean, socket: Socket): NoiseSecretStream {
  socket.setNoDelay(true)
  const stream = new NoiseSecretStream(isInitiator, socket)
  stream.on('error', () => {})
  return stream
}

/** Resolves when the handshake is done. */
export async function connected(stream: NoiseSecretStream): Promise<void> {
  if (stream.handshakeHash === null) {
    await new Promise<void>((resolve) => stream.on('connect', resolve))
  }
}

async function open(storage: CoreStorage, options: object): Promise<Core> {
  const core = new Hypercore({ core: Hypercore.createCore(storage, options) })
  await core.ready()
  return core
}
