/**
 * Shared and cloned folders on this machine, and what is in them.
 *
 * Teardown order: folders (1), synchronizers (2).
 *
 * @module
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Assertions } from 'brittle'
import type { CloneOptions, CloneReport } from '../../lib/drive/clone.ts'
import { ClonedFolder, type CloneChoices } from '../../lib/drive/cloned-folder.ts'
import { Drive } from '../../lib/drive/drive.ts'
import { encodeEntry, type BlobRange, type Entry } from '../../lib/drive/entry.ts'
import { keyOfName } from '../../lib/drive/drive-name.ts'
import { DriveIndex } from '../../lib/drive/index/drive-index.ts'
import { Registry } from '../../lib/drive/registry.ts'
import { SharedFolder, type ShareOptions } from '../../lib/drive/shared-folder.ts'
import { memory, Synchronizer, type SynchronizerOptions } from '../../lib/index.ts'
import { random } from './hyperbee.ts'

/** A synchronizer that listens on loopback, and what its user has. */
export interface Node {
  readonly sync: Synchronizer
  readonly registry: Registry
  readonly port: number
}

/** Opens a {@link Node}; its registry is in a folder of its own unless one is given. */
export async function openNode(
  t: Assertions,
  store: string | null = null,
  options: Partial<SynchronizerOptions> = {}
): Promise<Node> {
  const sync = new Synchronizer({ storage: memory(), ...options })
  t.teardown(() => sync.close(), { order: 2 })
  const [address = ''] = await sync.listen(0, '127.0.0.1')
  const registry = new Registry(store ?? (await t.tmp()))
  return { sync, registry, port: Number(address.split(':')[1]) }
}

/** Connects two nodes. */
export async function join(from: Node, to: Node): Promise<void> {
  await from.sync.connect('127.0.0.1', to.port)
}

/** Shares a folder, without an import. */
export async function openShare(
  t: Assertions,
  { sync, registry }: Node,
  dir: string,
  options: ShareOptions = {}
): Promise<SharedFolder> {
  const share = await SharedFolder.open(sync, registry, dir, options)
  t.teardown(() => share.close(), { order: 1 })
  return share
}

/** Opens a clone, without an update. */
export async function openClone(
  t: Assertions,
  { sync, registry }: Node,
  key: Uint8Array,
  dir: string,
  choices: CloneChoices = {},
  options: Omit<CloneOptions, 'signal'> = {}
): Promise<ClonedFolder> {
  const clone = await ClonedFolder.open(sync, registry, key, dir, choices, options)
  t.teardown(() => clone.close(), { order: 1 })
  return clone
}

/** Clones a drive of one node into a new folder of a node of its own. */
export async function cloneFrom(
  t: Assertions,
  from: Node,
  key: Uint8Array,
  choices: CloneChoices = {},
  timeoutMs: number = UPDATE_MS
): Promise<{ node: Node; dir: string; clone: ClonedFolder; report: CloneReport }> {
  const node = await openNode(t)
  const dir = path.join(await t.tmp(), 'clone')
  const clone = await openClone(t, node, key, dir, choices)
  await join(node, from)
  const report = await clone.update({ signal: AbortSignal.timeout(timeoutMs) })
  return { node, dir, clone, report }
}

/** A shared folder and its clone. */
export interface Pair {
  readonly source: Node
  readonly root: string
  readonly share: SharedFolder
  readonly node: Node
  readonly dir: string
  readonly clone: ClonedFolder
}

/** A share with files, and a clone of it. */
export async function openPair(
  t: Assertions,
  files: Record<string, string | Uint8Array>,
  choices: object = {}
): Promise<Pair> {
  const root = fs.realpathSync(await t.tmp())
  writeTree(root, files)
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { node, dir, clone } = await cloneFrom(t, source, share.key, choices)
  return { source, root, share, node, dir, clone }
}

/** Takes in what the source did, and brings the clone to it. */
export async function bring({ share, clone }: Pair): Promise<CloneReport> {
  await share.import({ maxDelete: 1000 })
  const { version } = share.folder.index
  await until(() => clone.index.length === version, 'the index came')
  return clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
}

/** Milliseconds for an update; one that takes longer hangs. */
export const UPDATE_MS = 20_000

/** What stands at a path: kind, mode, time and content, as one text. */
export function treeOf(
  root: string,
  { times = true }: { readonly times?: boolean } = {}
): Record<string, string> {
  const tree: Record<string, string> = {}
  const walk = (folder: string): void => {
    const names = fs.readdirSync(folder)
    const inside = names.filter((name) => name !== '.syncline')
    if (inside.length === 0 && folder !== root) tree[`${folder.slice(root.length)}/`] = 'empty'
    for (const name of inside) {
      const full = `${folder}/${name}`
      const stats = fs.lstatSync(full, { bigint: true })
      const at = full.slice(root.length)
      if (stats.isDirectory()) walk(full)
      else if (stats.isSymbolicLink()) tree[at] = `-> ${fs.readlinkSync(full)}`
      else if (stats.isFile()) {
        // What a double holds of a time, and utimes can set, is about a microsecond.
        const time = times ? ` ${Math.round(Number(stats.mtimeNs / 1000n) / 10)}` : ''
        const mode = (Number(stats.mode) & 0o777).toString(8)
        tree[at] = `${mode}${time} ${stats.size} ${digestOf(full)}`
      } else tree[at] = 'special'
    }
  }
  walk(root)
  return tree
}

function digestOf(file: string): string {
  const bytes = fs.readFileSync(file)
  if (bytes.byteLength <= 64) return JSON.stringify(bytes.toString('latin1'))
  let a = 1
  let b = 0
  for (const byte of bytes) {
    a = (a + byte) % 65_521
    b = (b + a) % 65_521
  }
  return `${a}.${b}`
}

/** Bytes that nobody else has. */
export function bytesOf(byteLength: number, seed: number): Buffer {
  const next = random(seed * 7919 + 1)
  const words = new Uint32Array(Math.ceil(byteLength / 4))
  for (let i = 0; i < words.length; i++) words[i] = next(2 ** 32)
  return Buffer.from(words.buffer, 0, byteLength)
}

/** Writes files, with times of whole ms, and the folders above them, by their paths. */
export function writeTree(root: string, files: Record<string, string | Uint8Array>): void {
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), content)
    const time = Date.now() / 1000
    fs.utimesSync(path.join(root, name), time, time)
  }
}

/** A drive of which every key and value can be written as it is. */
export class RawDrive {
  readonly node: Node
  readonly drive: Drive
  readonly #index: DriveIndex

  private constructor(node: Node, drive: Drive) {
    this.node = node
    this.drive = drive
    this.#index = new DriveIndex(drive.core)
  }

  static async open(t: Assertions): Promise<RawDrive> {
    const node = await openNode(t)
    const drive = await Drive.create(node.sync, 'raw')
    t.teardown(() => drive.close(), { order: 1 })
    return new RawDrive(node, drive)
  }

  get key(): Uint8Array {
    return this.drive.key
  }

  /** Stores bytes as blocks. */
  async store(bytes: Uint8Array | string): Promise<BlobRange> {
    return (await this.drive.getBlobs()).put(bytes)
  }

  /** Puts values under keys, as they are. */
  async put(
    ...entries: readonly (readonly [key: string | Uint8Array, value: string | null])[]
  ): Promise<void> {
    const puts = entries.map(([key, value]) => ({
      key: typeof key === 'string' ? Buffer.from(key) : key,
      value: value === null ? null : Buffer.from(value)
    }))
    await this.drive.core.append(await this.#index.encode(puts))
  }

  /** Puts entries under names. */
  async putEntries(entries: Record<string, Partial<Entry>>): Promise<void> {
    const puts = Object.entries(entries).map(([name, entry]) => {
      const whole = { executable: false, linkname: null, blob: null, metadata: null, ...entry }
      return { key: keyOfName(name), value: encodeEntry(whole) }
    })
    await this.drive.core.append(await this.#index.encode(puts))
  }
}

/** As a user who is not root, where we can be one; false elsewhere. */
export async function asUser(run: () => Promise<void>): Promise<boolean> {
  if (process.getuid?.() === undefined) return false
  if (process.getuid() !== 0) {
    await run()
    return true
  }
  process.setegid?.(65_534)
  process.seteuid?.(65_534)
  try {
    await run()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
  }
  return true
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!holds()) {
    if (performance.now() > end) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Makes files look older than the two seconds in which stamps are not trusted. */
export function age(root: string, ms = 60_000): void {
  const time = (Date.now() - ms) / 1000
  for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const full = path.join(entry.parentPath, entry.name)
    if (full.includes('/.syncline')) continue
    if (entry.isSymbolicLink()) fs.lutimesSync(full, time, time)
    else if (entry.isFile() || entry.isDirectory()) fs.utimesSync(full, time, time)
  }
}
