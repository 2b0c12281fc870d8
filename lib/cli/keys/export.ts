import { open } from 'node:fs/promises'
import { SynclineError } from '../../errors.ts'
import type { RegisteredDrive } from '../../drive/registry.ts'
import type { FeedKeys } from '../../feed/file/feed-folder.ts'
import type { KeyPair } from '../../feed/store.ts'
import { formatKey } from '../../synchronizer/key.ts'
import { encodeManifest } from '../../wire/manifest-codec.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { option, type Flag } from '../common/flag.ts'
import { DRY_RUN } from '../common/flags.ts'
import { findDrive } from '../common/drive-argument.ts'
import { openRegistry } from '../common/folders.ts'
import { openFolder } from '../common/storage.ts'
import { count } from '../common/text.ts'

const OUTPUT: Flag<string> = option(
  'output',
  'FILE',
  'Write to this new file, readable by you only, instead of stdout.',
  '',
  String
)

const command: Command = {
  name: 'keys export',
  summary: 'Print the secret keys of one feed or drive, or of all, as lines of JSON.',
  args: [{ name: 'FEED', optional: true }],
  flags: [OUTPUT, DRY_RUN],
  details:
    'Whoever has these lines can write the feeds. Two writers of one feed break it for ever:\n' +
    'move keys, do not share them.\n' +
    'Example:\n  syncline keys export --output keys.ndjson',
  async run(context) {
    const { args, out, log } = context
    const [wanted] = args
    const folder = await openFolder(context)
    const key = wanted === undefined ? null : (await findDrive(context, wanted)).key
    const records: string[] = []
    for (const drive of await openRegistry(context).list()) {
      const isWanted = key === null || Buffer.compare(drive.key, key) === 0
      if (isWanted && drive.keyPair !== null) records.push(driveRecordOf(drive, drive.keyPair))
    }
    for await (const keys of folder.exportKeys()) {
      if (key === null || Buffer.compare(keys.key, key) === 0) records.push(recordOf(keys))
    }
    if (key !== null && records.length === 0) {
      throw new SynclineError('FEED_NOT_FOUND', `the secret key of ${wanted ?? ''} is not here`)
    }
    const file = context.get(OUTPUT)
    if (context.get(DRY_RUN)) {
      log.info(`would export ${count(records.length, 'key')}`)
      return EXIT_DONE
    }
    const text = records.map((record) => `${record}\n`).join('')
    if (file === '') await out.write(text)
    else {
      await writeSecret(file, text)
      log.info(`${count(records.length, 'key')} written to ${file}`)
    }
    return EXIT_DONE
  }
}

function driveRecordOf(drive: RegisteredDrive, keyPair: KeyPair): string {
  const { key, kind, folder, name, encryptionKey } = drive
  return JSON.stringify({
    key: formatKey(key),
    drive: kind,
    folder,
    ...(name === undefined ? {} : { name }),
    publicKey: hex(keyPair.publicKey),
    secretKey: hex(keyPair.secretKey),
    encryptionKey: encryptionKey && hex(encryptionKey)
  })
}

function recordOf(keys: FeedKeys): string {
  return JSON.stringify({
    key: formatKey(keys.key),
    name: keys.name,
    manifest: keys.manifest === null ? null : hex(encodeManifest(keys.manifest)),
    publicKey: hex(keys.publicKey),
    secretKey: hex(keys.secretKey)
  })
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

async function writeSecret(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600).catch((error: Error & { code?: string }) => {
    if (error.code !== 'EEXIST') throw error
    throw new SynclineError('REFUSED', `${file} exists and is not overwritten`, { path: file })
  })
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export default command
