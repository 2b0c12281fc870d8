/**
 * Real hypercores of both generations, synchronizers, and the ways to connect them.
 *
 * Teardown order: connections and servers (0), synchronizers (1), hypercores (2), local tables (10).
 *
 * @module
 */
import { createRequire } from 'node:module'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Assertions } from 'brittle'
import {
  memory,
  Synchronizer,
  type FeedSession,
  type Peer,
  type SynclineError,
  type SynchronizerOptions
} from '../../lib/index.ts'
import type { FramedStream } from '../../lib/transport/transport.ts'

/** The part of both generations that the tests use. */
export interface Core {
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  readonly keyPair: { readonly publicKey: Uint8Array; readonly secretKey: Uint8Array }
  readonly length: number
  readonly byteLength: number
  readonly fork: number
  readonly contiguousLength: number
  readonly closed: boolean
  readonly peers: readonly CorePeer[]
  ready(): Promise<void>
  append(blocks: unknown): Promise<{ length: number; byteLength: number }>
  get(index: number, options?: object): Promise<Uint8Array | null>
  has(start: number, end?: number): Promise<boolean>
  seek(bytes: number, options?: object): Promise<[index: number, offset: number] | null>
  update(options?: object): Promise<boolean>
  truncate(length: number, options?: object): Promise<void>
  clear(start: number, end?: number): Promise<unknown>
  treeHash(length?: number): Promise<Uint8Array>
  download(range?: object): CoreDownload
  registerExtension(name: string, handlers?: object): CoreExtension
  replicate(target: unknown, options?: object): CoreStream
  close(): Promise<void>
  // oxlint-disable-next-line typescript/no-explicit-any -- any listener
  on(event: string, run: (...args: any[]) => void): unknown
}
/** A peer of a hypercore, for one feed. */
export interface CorePeer {
  readonly remoteLength: number
  readonly remoteUploading: boolean
}
/** See `Core.download`; version 11 calls its promise `done`, version 10 `done` or `downloaded`. */
export interface CoreDownload {
  done(): Promise<unknown>
  destroy(): void
}
/** See `Core.registerExtension`. */
export interface CoreExtension {
  send(message: unknown, peer: CorePeer): void
  broadcast(message: unknown): void
}
/** What `replicate` returns. */
export interface CoreStream extends FramedStream {
  readonly noiseStream: FramedStream
  readonly destroyed: boolean
  pipe(target: unknown): { pipe(target: unknown): unknown }
}
/** `storage` is a folder, or in version 11 a shared `CoreStorage`. */
export type CoreClass = new (storage: unknown, key?: Uint8Array | null, options?: object) => Core
/** One generation of hypercore. */
export interface Version {
  /** For test names. */
  readonly name: string
  readonly major: 10 | 11
  readonly Core: CoreClass
}

const require = createRequire(import.meta.url)

/** hypercore 11 as it is installed. */
export const V11: Version = {
  name: `hypercore ${versionOf('hypercore')}`,
  major: 11,
  Core: require('hypercore') as CoreClass
}
/** hypercore 10 as it is installed. */
export const V10: Version = {
  name: `hypercore ${versionOf('hypercore10')}`,
  major: 10,
  Core: require('hypercore10') as CoreClass
}
/** Both generations. */
export const VERSIONS: readonly Version[] = [V11, V10]

/** Storage of many version 11 cores in one place, as Corestore has it. */
export const CoreStorage = require('hypercore-storage') as new (folder: string) => {
  close(): Promise<void>
}

function versionOf(name: string): string {
  return (require(`${name}/package.json`) as { version: string }).version
}

/** An open hypercore in a folder of its own. */
export async function openCore(
  t: Assertions,
  version: Version,
  key: Uint8Array | null = null,
  options: object = {}
): Promise<Core> {
  return openCoreIn(t, version, await t.tmp(), key, options)
}

/** As {@link openCore}, in a folder that may have held it before. */
export async function openCoreIn(
  t: Assertions,
  { Core }: Version,
  folder: string,
  key: Uint8Array | null = null,
  options: object = {}
): Promise<Core> {
  const core = new Core(folder, key, options)
  await core.ready()
  t.teardown(() => core.close(), { order: 2 })
  return core
}

/** A hypercore with `count` blocks of {@link blockBytes}. */
export async function filledCore(
  t: Assertions,
  version: Version,
  count: number,
  options: object = {}
): Promise<Core> {
  const core = await openCore(t, version, null, options)
  await core.append(blocksOf(0, count))
  return core
}

/** Block `index` of every test feed: 0 to 40 bytes and its number, so that sizes differ. */
export function blockBytes(index: number): Buffer {
  return Buffer.from(`block ${index}`.padEnd(index % 41, '.'))
}

/** Blocks `[start, end)` of every test feed. */
export function blocksOf(start: number, end: number): Buffer[] {
  return Array.from({ length: end - start }, (_, i) => blockBytes(start + i))
}

/** A synchronizer, in memory unless a folder is given, that keeps what went wrong. */
export function openSync(t: Assertions, options: Partial<SynchronizerOptions> = {}): Synchronizer {
  const sync = new Synchronizer({ storage: memory(), ...options })
  t.teardown(() => sync.close(), { order: 1 })
  return sync
}

/** Faults that a synchronizer blames its peers for, as they come. */
export function faultsOf(sync: Synchronizer): SynclineError[] {
  const faults: SynclineError[] = []
  sync.on('peer-fault', (_peer, error) => faults.push(error))
  sync.on('feed-error', (_feed, error) => faults.push(error))
  return faults
}

/** Serves hypercores over TCP as their README shows it; returns the port. */
export async function serveCores(t: Assertions, ...cores: Core[]): Promise<number> {
  const server = createServer((socket) => replicateOver(t, socket, false, cores))
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Dials a port from the side of hypercores. */
export function dialCores(t: Assertions, port: number, ...cores: Core[]): Socket {
  const socket = connect(port, '127.0.0.1')
  replicateOver(t, socket, true, cores)
  return socket
}

function replicateOver(
  t: Assertions,
  socket: Socket,
  isInitiator: boolean,
  cores: readonly Core[]
): void {
  const [first, ...others] = cores
  if (first === undefined) throw new Error('nothing to replicate')
  const stream = first.replicate(isInitiator)
  for (const core of others) core.replicate(stream)
  stream.on('error', () => {})
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  stream.pipe(socket).pipe(stream)
}

/** Two hypercores that replicate with each other, in memory. */
export function replicatePair(t: Assertions, one: Core, other: Core): void {
  const [a, b] = [one.replicate(true), other.replicate(false)]
  for (const stream of [a, b]) {
    stream.on('error', () => {})
    t.teardown(() => stream.destroy())
  }
  a.pipe(b).pipe(a)
}

/** Listens on the loopback; returns the port. */
export async function listenOn(sync: Synchronizer): Promise<number> {
  const [address] = await sync.listen(0, '127.0.0.1')
  return Number(address?.split(':')[1])
}

/** A way to connect a synchronizer with hypercores. */
export interface Route {
  readonly name: string
  connect(t: Assertions, sync: Synchronizer, ...cores: Core[]): Promise<void>
}
/** The synchronizer dials. */
export const DIALLING: Route = {
  name: 'TCP, we dial',
  async connect(t, sync, ...cores) {
    await sync.connect('127.0.0.1', await serveCores(t, ...cores))
  }
}
/** The hypercores dial. */
export const DIALLED: Route = {
  name: 'TCP, they dial',
  async connect(t, sync, ...cores) {
    dialCores(t, await listenOn(sync), ...cores)
  }
}

/** Connects two synchronizers over TCP. */
export async function connectSyncs(from: Synchronizer, to: Synchronizer): Promise<void> {
  await from.connect('127.0.0.1', await listenOn(to))
}

/** The public key and the blocks are the same on both sides, byte for byte. */
export async function sameFeed(t: Assertions, feed: FeedSession, core: Core): Promise<void> {
  t.is(feed.length, core.length, 'length')
  t.is(feed.fork, core.fork, 'fork')
  let different = -1
  for (let i = 0; i < core.length && different === -1; i++) {
    const [ours, theirs] = [
      await feed.get(i, { wait: false, raw: true }),
      await core.get(i, { wait: false, raw: true, decrypt: false })
    ]
    if (ours === null || theirs === null || !Buffer.from(ours).equals(theirs)) different = i
  }
  t.is(different, -1, 'every block is the same')
}

/** Resolves when `holds` does. The runner's own timeout ends it. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Resolves with the first peer that has the feed open. */
export async function firstPeer(feed: FeedSession): Promise<Peer> {
  await until(() => feed.peers.length > 0)
  return feed.peers[0] as Peer
}
