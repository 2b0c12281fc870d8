/**
 * Names of feeds.
 *
 * The key pair of a named feed follows from the folder's primary key and the name, as in Corestore 6, so
 * it is found again without any list. Names of other feeds (of remotes, or with imported keys) stand in
 * the folder `names`, one file each, so that processes need not agree on anything to add one.
 *
 * @module
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { SynclineError } from '../../errors.ts'
import { hash, keyedHash } from '../../kernels/hash.ts'
import { storageError, systemCode } from './file-error.ts'
import { makeFolder } from './make-folder.ts'
import { createKeyPair } from '../signature.ts'
import type { KeyPair } from '../store.ts'

/** Names in UTF-8 are no longer than this, so that they fit file names and terminals. */
export const NAME_BYTES_MAX = 1024

const encoder = new TextEncoder()
const CORESTORE: Uint8Array = hash([hash(encoder.encode('corestore')), Uint8Array.of(0)])
/** Namespace of names that are in none. */
export const NO_NAMESPACE: Uint8Array = new Uint8Array(32)

/**
 * The key pair of a name: Ed25519 from the seed `keyedHash(primaryKey, CORESTORE || namespace || name)`.
 *
 * @see corestore 6.18.4 `index.js`
 */
export function keyPairOfName(
  primaryKey: Uint8Array,
  name: string,
  namespace: Uint8Array = NO_NAMESPACE
): KeyPair {
  const bytes = encoder.encode(name)
  const message = new Uint8Array(64 + bytes.byteLength)
  message.set(CORESTORE)
  message.set(namespace, 32)
  message.set(bytes, 64)
  return createKeyPair(keyedHash(primaryKey, message))
}

/** Throws BAD_ARGUMENT for what cannot be a name. */
export function checkName(name: string): void {
  const { byteLength } = encoder.encode(name)
  if (byteLength > 0 && byteLength <= NAME_BYTES_MAX) return
  const reason = `a name has 1 to ${NAME_BYTES_MAX} bytes, not ${byteLength}`
  throw new SynclineError('BAD_ARGUMENT', reason)
}

/** The folder `names`. */
export class NameFolder {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** The key that has a name, or null. */
  async get(name: string): Promise<Uint8Array | null> {
    return (await this.#read(this.#file(name)))?.key ?? null
  }

  /** @throws SynclineError FEED_EXISTS when the name is taken. */
  async put(name: string, key: Uint8Array): Promise<void> {
    const file = this.#file(name)
    const text = JSON.stringify({ name, key: Buffer.from(key).toString('hex') })
    try {
      await makeFolder(this.#folder, 0o700)
      await writeFile(file, `${text}\n`, { flag: 'wx', mode: 0o600, flush: true })
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw storageError(error, file)
      throw new SynclineError('FEED_EXISTS', `the name ${name} is taken`, { path: file })
    }
  }

  async delete(name: string): Promise<void> {
    await rm(this.#file(name), { force: true })
  }

  /** All names, by key in hexadecimal. */
  async all(): Promise<Map<string, string>> {
    const names = new Map<string, string>()
    for (const file of await readdir(this.#folder).catch(() => [])) {
      const entry = await this.#read(path.join(this.#folder, file))
      if (entry !== null) names.set(Buffer.from(entry.key).toString('hex'), entry.name)
    }
    return names
  }

  #file(name: string): string {
    // Any name makes a file name this way, on any system.
    const digest = Buffer.from(hash(encoder.encode(name))).toString('hex')
    return path.join(this.#folder, digest.slice(0, 32))
  }

  async #read(file: string): Promise<{ name: string; key: Uint8Array } | null> {
    try {
      const entry: unknown = JSON.parse(await readFile(file, 'utf8'))
      const { name, key } = entry as { name?: unknown; key?: unknown }
      if (typeof name !== 'string' || typeof key !== 'string') return null
      return /^[0-9a-f]{64}$/.test(key)
        ? { name, key: Uint8Array.from(Buffer.from(key, 'hex')) }
        : null
    } catch (error) {
      // A file that was torn while it was written names nothing.
      if (systemCode(error) === 'ENOENT' || error instanceof SyntaxError) return null
      throw storageError(error, file)
    }
  }
}
