import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { newDriveIdentities } from '../../drive/blobs-key.ts'
import { foldersOf, withClone, type RegisteredDrive, type Registry } from '../../drive/registry.ts'
import { SynclineError } from '../../errors.ts'
import type { FeedKeys } from '../../feed/file/feed-folder.ts'
import { isKeyPair } from '../../feed/signature.ts'
import { formatKey, parseKey } from '../../synchronizer/key.ts'
import { decodeManifest } from '../../wire/manifest-codec.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { DRY_RUN } from '../common/flags.ts'
import { openRegistry } from '../common/folders.ts'
import { openFolder } from '../common/storage.ts'

const command: Command = {
  name: 'keys import',
  summary: 'Read secret keys that `keys export` printed, from a file or stdin.',
  args: [{ name: 'FILE|-', optional: true }],
  flags: [DRY_RUN],
  details:
    'The feeds become writable here, and so do the drives of folders that are moved here.\n' +
    'Before you append, fetch what was written elsewhere:\n' +
    '  syncline sync KEY --mode pull',
  async run(context) {
    const [file = '-'] = context.args
    const input = file === '-' ? context.stdin : createReadStream(file)
    const all: (FeedKeys | RegisteredDrive)[] = []
    let number = 0
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      number++
      if (line.trim() !== '') all.push(readRecord(line, number))
    }
    const dryRun = context.get(DRY_RUN)
    const folder = await openFolder(context, !dryRun)
    for (const keys of all) {
      if (!dryRun && 'kind' in keys) await putDrive(openRegistry(context), keys)
      else if (!dryRun && 'manifest' in keys) await folder.importKeys(keys)
      const key = formatKey(keys.key)
      const record = { key, name: keys.name ?? null, ...(dryRun ? { dryRun } : {}) }
      await context.out.result(record, dryRun ? `would import ${key}` : key)
    }
    return EXIT_DONE
  }
}

/** What is known of a drive here stays. */
async function putDrive(registry: Registry, drive: RegisteredDrive): Promise<void> {
  const known = await registry.get(drive.key)
  if (known !== null && known.keyPair !== null) return
  const clones = known === null ? [] : foldersOf(known)
  await registry.put(clones.reduce((all, clone) => withClone(all, clone), drive))
}

function readRecord(line: string, number: number): FeedKeys | RegisteredDrive {
  try {
    const record = JSON.parse(line) as Record<string, unknown>
    const { key, name, manifest, publicKey, secretKey } = record
    const keyBytes = parseKey(String(key))
    if (keyBytes === null) throw new Error('no key')
    if (record['drive'] !== undefined) return readDrive(keyBytes, record)
    return {
      key: keyBytes,
      name: typeof name === 'string' ? name : null,
      manifest: typeof manifest === 'string' ? decodeManifest(bytesOf(manifest)) : null,
      publicKey: bytesOf(publicKey, 32),
      secretKey: bytesOf(secretKey, 64)
    }
  } catch (error) {
    const message = `line ${number} holds no exported key`
    throw new SynclineError('BAD_KEY', message, {}, error)
  }
}

function readDrive(key: Uint8Array, record: Record<string, unknown>): RegisteredDrive {
  const { drive: kind, folder, name, publicKey, secretKey, encryptionKey } = record
  if ((kind !== 'share' && kind !== 'mirror') || typeof folder !== 'string') {
    throw new Error('it is neither of a share nor of a mirror')
  }
  const keyPair = { publicKey: bytesOf(publicKey, 32), secretKey: bytesOf(secretKey, 64) }
  const isIts = Buffer.compare(newDriveIdentities(keyPair).index.key, key) === 0
  if (!isKeyPair(keyPair) || !isIts) throw new Error('the key pair is not one of this drive')
  return {
    key,
    kind,
    folder,
    ...(typeof name === 'string' ? { name } : {}),
    keyPair,
    encryptionKey: typeof encryptionKey === 'string' ? bytesOf(encryptionKey, 32) : null
  }
}

function bytesOf(hex: unknown, byteLength?: number): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(String(hex), 'hex'))
  if (byteLength !== undefined && bytes.byteLength !== byteLength) {
    throw new Error(`${byteLength} bytes in hexadecimal are missing`)
  }
  return bytes
}

export default command
