/**
 * The drives of a user: where their folders are, and the secret keys of those that are his.
 *
 * One file a drive, `drives/<key>.json` in the user's store, with mode 0600.
 *
 * @module
 */
import { open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import { makeFolder } from '../feed/file/make-folder.ts'
import { readText } from '../feed/file/text-file.ts'
import type { KeyPair } from '../feed/store.ts'

/** A shared or cloned folder, or a drive that is kept in the store. */
export interface RegisteredDrive {
  /** 32 bytes. */
  readonly key: Uint8Array
  readonly kind: 'share' | 'clone' | 'mirror'
  /** Absolute; of a mirror the one that was copied into it last. */
  readonly folder: string
  /** Clones of it beside, absolute. */
  readonly others?: readonly string[]
  /** What the user calls a mirror. Folders are called by their own names. */
  readonly name?: string
  /** Signs both feeds; null for a clone. Secret. */
  readonly keyPair: KeyPair | null
  /** Decrypts both feeds, if they are encrypted. Secret. */
  readonly encryptionKey: Uint8Array | null
}

/** All folders that hold a drive: a mirror only remembers its source. */
export function foldersOf({ kind, folder, others = [] }: RegisteredDrive): readonly string[] {
  return kind === 'mirror' ? others : [folder, ...others]
}

/** A drive with one more clone: of clones the newest is the first. */
export function withClone(drive: RegisteredDrive, root: string): RegisteredDrive {
  const { kind, folder, others = [] } = drive
  if (foldersOf(drive).includes(root)) return drive
  return kind === 'clone'
    ? { ...drive, folder: root, others: [folder, ...others] }
    : { ...drive, others: [...others, root] }
}

/**
 * A drive without one of its folders; null without the last one. With that of a share its key pair goes: what decrypts it
 * stays for its clones.
 */
export function withoutFolder(drive: RegisteredDrive, root: string): RegisteredDrive | null {
  const others = drive.others?.filter((other) => other !== root) ?? []
  if (drive.kind === 'mirror' || drive.folder !== root) return { ...drive, others }
  const [folder, ...rest] = others
  if (folder === undefined) return null
  return { ...drive, kind: 'clone', keyPair: null, folder, others: rest }
}

/** What opens and makes shares and clones needs of a registry. */
export type DriveRegistry = Pick<Registry, 'stores' | 'get' | 'find' | 'put' | 'delete'>

/** Remembers drives for as long as somebody holds it. */
export function memoryRegistry(): DriveRegistry {
  const drives = new Map<string, RegisteredDrive>()
  return {
    stores: [],
    get: async (key) => drives.get(b4a.toString(key, 'hex')) ?? null,
    find: async (folder) => findIn(drives.values(), folder),
    put: async (drive) => void drives.set(b4a.toString(drive.key, 'hex'), drive),
    delete: async (key) => void drives.delete(b4a.toString(key, 'hex'))
  }
}

function findIn(drives: Iterable<RegisteredDrive>, folder: string): RegisteredDrive | null {
  const wanted = path.resolve(folder)
  for (const drive of drives) {
    if (drive.kind !== 'mirror' && drive.folder === wanted) return drive
  }
  return null
}

/** See the module comment. */
export class Registry {
  /** The user's store, and others of his: of no drive, as they hold secret keys. */
  readonly stores: readonly string[]
  readonly #folder: string

  /**
   * @param store - the user's store; it need not exist.
   * @param others - folders of other stores of the same user.
   */
  constructor(store: string, others: readonly string[] = []) {
    this.stores = [store, ...others]
    this.#folder = path.join(store, 'drives')
  }

  /** All drives, by folder. */
  async list(): Promise<RegisteredDrive[]> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return []
      throw storageError(error, this.#folder)
    })
    const drives: RegisteredDrive[] = []
    for (const name of names) {
      if (!/^[0-9a-f]{64}\.json$/.test(name)) continue
      const drive = await this.get(b4a.from(name.slice(0, 64), 'hex'))
      if (drive !== null) drives.push(drive)
    }
    return drives.sort((a, b) => (a.folder < b.folder ? -1 : 1))
  }

  /** The drive of a key, or null. @throws SynclineError FEED_DAMAGED, STORAGE_FAILED. */
  async get(key: Uint8Array): Promise<RegisteredDrive | null> {
    const file = this.#file(key)
    const text = await readText(file)
    if (text === null) return null
    const drive = parse(key, text)
    if (drive === null) {
      throw new SynclineError('FEED_DAMAGED', `${file} is damaged`, { path: file })
    }
    return drive
  }

  /** The share or clone in a folder, or null. */
  async find(folder: string): Promise<RegisteredDrive | null> {
    return findIn(await this.list(), folder)
  }

  /** Keeps a drive, durably. */
  async put(drive: RegisteredDrive): Promise<void> {
    const { key, kind, folder, others = [], name, keyPair, encryptionKey } = drive
    const file = this.#file(key)
    const draft = `${file}.${process.pid}`
    const text = JSON.stringify({
      kind,
      folder: path.resolve(folder),
      ...(others.length === 0 ? {} : { others }),
      ...(name === undefined ? {} : { name }),
      publicKey: keyPair && b4a.toString(keyPair.publicKey, 'hex'),
      secretKey: keyPair && b4a.toString(keyPair.secretKey, 'hex'),
      encryptionKey: encryptionKey && b4a.toString(encryptionKey, 'hex')
    })
    try {
      await makeFolder(this.#folder, 0o700)
      const handle = await open(draft, 'w', 0o600)
      try {
        await handle.writeFile(`${text}\n`)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(draft, file)
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {})
      throw storageError(error, file)
    }
  }

  /** The drives that a user calls so: the mirror of that name, else all folders that are called so. */
  async named(name: string): Promise<RegisteredDrive[]> {
    const drives = await this.list()
    const mirrors = drives.filter((drive) => drive.name === name)
    if (mirrors.length > 0) return mirrors
    return drives.flatMap((drive) => {
      const folders = drive.kind === 'mirror' ? [] : foldersOf(drive)
      const folder = folders.find((one) => path.basename(one) === name)
      return folder === undefined ? [] : [{ ...drive, folder }]
    })
  }

  /** Where the state of a mirror is. */
  statePath(key: Uint8Array): string {
    return path.join(this.#folder, b4a.toString(key, 'hex'))
  }

  /** Forgets a drive, and its secret key. */
  async delete(key: Uint8Array): Promise<void> {
    await rm(this.#file(key), { force: true })
  }

  #file(key: Uint8Array): string {
    return path.join(this.#folder, `${b4a.toString(key, 'hex')}.json`)
  }
}

function parse(key: Uint8Array, text: string): RegisteredDrive | null {
  let value: Record<string, unknown>
  try {
    value = JSON.parse(text) as Record<string, unknown>
  } catch {
    return null
  }
  const { kind, folder, others, name, publicKey, secretKey, encryptionKey } = value ?? {}
  if (kind !== 'share' && kind !== 'clone' && kind !== 'mirror') return null
  if (typeof folder !== 'string') return null
  const signs = typeof publicKey === 'string' && typeof secretKey === 'string'
  return {
    key,
    kind,
    folder,
    ...(isTexts(others) ? { others } : {}),
    ...(typeof name === 'string' ? { name } : {}),
    keyPair: signs
      ? { publicKey: b4a.from(publicKey, 'hex'), secretKey: b4a.from(secretKey, 'hex') }
      : null,
    encryptionKey: typeof encryptionKey === 'string' ? b4a.from(encryptionKey, 'hex') : null
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

/**
 * What a drive was encrypted with it stays encrypted with.
 *
 * @param given - what the user gave; undefined leaves it as it is.
 * @throws SynclineError REFUSED.
 */
export function checkSecret(
  { encryptionKey }: RegisteredDrive,
  given: Uint8Array | undefined
): void {
  if (given === undefined) return
  if (encryptionKey !== null && b4a.equals(encryptionKey, given)) return
  const how = encryptionKey === null ? 'is not encrypted' : 'is encrypted with another key'
  throw new SynclineError('REFUSED', `the drive ${how}: what it holds cannot be encrypted anew`)
}
