/**
 * Real hyperdrives in Corestores, localdrives, mirrors between them, and their way to our synchronizers.
 *
 * @module
 */
import { createRequire } from 'node:module'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import type { Assertions } from 'brittle'
import type { Synchronizer } from '../../lib/index.ts'
import type { HypercoreLike } from '../../lib/feed/hypercore/hypercore-like.ts'
import { listenOn, type CoreStream } from './helpers.ts'

/** What hyperdrive says of a file. */
export interface HyperEntry {
  readonly seq: number
  readonly key: string
  readonly value: {
    readonly executable: boolean
    readonly linkname: string | null
    readonly blob: Record<string, unknown> | null
    readonly metadata: unknown
  }
}
/** The part of hyperdrive that the tests use. */
export interface Hyperdrive {
  readonly key: Uint8Array
  readonly contentKey: Uint8Array
  readonly version: number
  readonly core: HypercoreLike & {
    append(blocks: unknown): Promise<unknown>
    readonly length: number
  }
  readonly blobs: { readonly core: HypercoreLike }
  ready(): Promise<void>
  close(): Promise<void>
  put(name: string, bytes: Uint8Array, options?: object): Promise<void>
  get(name: string, options?: object): Promise<Buffer | null>
  entry(name: string, options?: object): Promise<HyperEntry | null>
  del(name: string): Promise<void>
  symlink(name: string, linkname: string): Promise<void>
  update(options?: object): Promise<boolean>
  getBlobs(): Promise<unknown>
  checkout(version: number): Hyperdrive
  list(folder?: string): AsyncIterable<HyperEntry>
  entries(): AsyncIterable<HyperEntry>
  readdir(folder: string): AsyncIterable<string>
  diff(
    version: number,
    folder?: string
  ): AsyncIterable<{ left: HyperEntry | null; right: HyperEntry | null }>
  createReadStream(name: string, options?: object): Readable
  createWriteStream(name: string, options?: object): Writable
}
/** The part of Corestore that the tests use. */
export interface Corestore {
  replicate(isInitiator: boolean): CoreStream
  namespace(name: string): Corestore
  close(): Promise<void>
}
/** One difference that a mirror found. */
export interface MirrorStep {
  readonly op: 'add' | 'change' | 'remove'
  readonly key: string
}

const require = createRequire(import.meta.url)
const CorestoreClass = require('corestore') as new (folder: string, options?: object) => Corestore
const HyperdriveClass = require('hyperdrive') as new (
  store: Corestore,
  key: Uint8Array | null,
  options: object
) => Hyperdrive
const LocaldriveClass = require('localdrive') as new (root: string, options?: object) => object
const MirrorClass = require('mirror-drive') as new (
  source: object,
  target: object,
  options: object
) => AsyncIterable<MirrorStep>

function versionOf(name: string): string {
  return (require(`${name}/package.json`) as { version: string }).version
}
/** For the names of tests. */
export const HYPERDRIVE: string = `hyperdrive ${versionOf('hyperdrive')}`
export const LOCALDRIVE: string = `localdrive ${versionOf('localdrive')}`

/** A Corestore in a folder of its own. */
export async function openStore(t: Assertions, options: object = {}): Promise<Corestore> {
  const store = new CorestoreClass(await t.tmp(), options)
  t.teardown(() => store.close(), { order: 2 })
  return store
}

/** A hyperdrive: a new one of the store's, or that of a key. */
export async function openHyperdrive(
  t: Assertions,
  store: Corestore,
  key: Uint8Array | null = null,
  options: object = {}
): Promise<Hyperdrive> {
  const drive = new HyperdriveClass(store, key, options)
  t.teardown(() => drive.close(), { order: 1 })
  await drive.ready()
  return drive
}

/** A localdrive over a folder that keeps metadata in memory. */
export function openLocaldrive(root: string, metadata: Map<string, unknown> = new Map()): object {
  return new LocaldriveClass(root, { metadata })
}

/** Mirrors one drive to another; gives what it did. */
export async function mirror(
  source: object,
  target: object,
  options: object = {}
): Promise<string[]> {
  const steps: string[] = []
  for await (const { op, key } of new MirrorClass(source, target, options))
    steps.push(`${op} ${key}`)
  return steps.sort()
}

/** Connects a store with a synchronizer over TCP. */
export async function connectStore(
  t: Assertions,
  store: Corestore,
  sync: Synchronizer
): Promise<void> {
  replicateOver(t, connect(await listenOn(sync), '127.0.0.1'), store, true)
}

/** Serves a store over TCP, and lets a synchronizer dial it. */
export async function dialStore(
  t: Assertions,
  sync: Synchronizer,
  store: Corestore
): Promise<void> {
  const server = createServer((socket) => replicateOver(t, socket, store, false))
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  await sync.connect('127.0.0.1', (server.address() as AddressInfo).port)
}

function replicateOver(
  t: Assertions,
  socket: Socket,
  store: Corestore,
  isInitiator: boolean
): void {
  const stream = store.replicate(isInitiator)
  stream.on('error', () => {})
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  stream.pipe(socket).pipe(stream)
}
