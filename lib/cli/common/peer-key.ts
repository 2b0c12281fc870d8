/**
 * Who a store is towards its peers.
 *
 * By default each process is somebody new, so that peers cannot tell what one user does at different times. Once a
 * public key was asked for, the pair is kept in `peer/key.json` with mode 0600, and processes of the store use it.
 *
 * @module
 */
import { link, open, rm } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { isSynclineError, SynclineError } from '../../errors.ts'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { makeFolder } from '../../feed/file/make-folder.ts'
import { readText } from '../../feed/file/text-file.ts'
import { lockByPid, type Release } from '../../feed/file/feed-lock.ts'
import { createKeyPair, isKeyPair } from '../../feed/signature.ts'
import type { NoiseKeyPair } from '../../transport/secret-stream.ts'

/** The key pair that a store keeps, or null. @throws SynclineError FEED_DAMAGED, STORAGE_FAILED. */
export async function readPeerKey(store: string): Promise<NoiseKeyPair | null> {
  const file = fileOf(store)
  const text = await readText(file)
  if (text === null) return null
  const keyPair = parse(text)
  if (keyPair !== null) return keyPair
  throw new SynclineError('FEED_DAMAGED', `${file} is damaged`, { path: file })
}

/** The key pair that a store keeps; the first call makes it, durably. @throws as {@link readPeerKey}. */
export async function keepPeerKey(store: string): Promise<NoiseKeyPair> {
  const known = await readPeerKey(store)
  if (known !== null) return known
  const file = fileOf(store)
  const draft = `${file}.${process.pid}`
  const made = createKeyPair()
  try {
    await makeFolder(path.dirname(file), 0o700)
    const handle = await open(draft, 'w', 0o600)
    try {
      await handle.writeFile(`${JSON.stringify(toHex(made))}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    // One that another process made meanwhile stays.
    await link(draft, file)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw storageError(error, file)
  } finally {
    await rm(draft, { force: true }).catch(() => {})
  }
  return (await readPeerKey(store)) ?? made
}

/**
 * Takes the key pair of a store for this process: two that are one peer would be taken for a connection too many, and
 * be found in each other's place.
 *
 * @returns null if none is kept, `'in use'` if another process has it.
 */
export async function takePeerKey(
  store: string
): Promise<{ readonly keyPair: NoiseKeyPair; readonly release: Release } | 'in use' | null> {
  const keyPair = await readPeerKey(store)
  if (keyPair === null) return null
  try {
    return { keyPair, release: await lockByPid(path.dirname(fileOf(store))) }
  } catch (error) {
    if (isSynclineError(error, 'FEED_LOCKED')) return 'in use'
    throw error
  }
}

function fileOf(store: string): string {
  return path.join(store, 'peer', 'key.json')
}

function toHex({ publicKey, secretKey }: NoiseKeyPair): Record<keyof NoiseKeyPair, string> {
  return { publicKey: b4a.toString(publicKey, 'hex'), secretKey: b4a.toString(secretKey, 'hex') }
}

function parse(text: string): NoiseKeyPair | null {
  try {
    const { publicKey, secretKey } = JSON.parse(text) as Record<string, unknown>
    const keyPair = {
      publicKey: b4a.from(String(publicKey), 'hex'),
      secretKey: b4a.from(String(secretKey), 'hex')
    }
    return isKeyPair(keyPair) ? keyPair : null
  } catch {
    return null
  }
}
