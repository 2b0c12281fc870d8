import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { SynclineError } from '../../errors.ts'
import type { FeedKeys } from '../../feed/file/feed-folder.ts'
import { formatKey, parseKey } from '../../synchronizer/key.ts'
import { decodeManifest } from '../../wire/manifest-codec.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { DRY_RUN } from '../common/flags.ts'
import { openFolder } from '../common/storage.ts'

const command: Command = {
  name: 'keys import',
  summary: 'Read secret keys that `keys export` printed, from a file or stdin.',
  args: [{ name: 'FILE|-', optional: true }],
  flags: [DRY_RUN],
  details:
    'The feeds become writable here. Before you append, fetch what was written elsewhere:\n' +
    '  syncline sync --mode pull',
  async run(context) {
    const [file = '-'] = context.args
    const input = file === '-' ? context.stdin : createReadStream(file)
    const all: FeedKeys[] = []
    let number = 0
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      number++
      if (line.trim() !== '') all.push(readRecord(line, number))
    }
    const dryRun = context.get(DRY_RUN)
    const folder = await openFolder(context, !dryRun)
    for (const keys of all) {
      if (!dryRun) await folder.importKeys(keys)
      const key = formatKey(keys.key)
      const record = { key, name: keys.name, ...(dryRun ? { dryRun } : {}) }
      await context.out.result(record, dryRun ? `would import ${key}` : key)
    }
    return EXIT_DONE
  }
}

function readRecord(line: string, number: number): FeedKeys {
  try {
    const record = JSON.parse(line) as Record<string, unknown>
    const { key, name, manifest, publicKey, secretKey } = record
    const keyBytes = parseKey(String(key))
    if (keyBytes === null) throw new Error('no key')
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

function bytesOf(hex: unknown, byteLength?: number): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(String(hex), 'hex'))
  if (byteLength !== undefined && bytes.byteLength !== byteLength) {
    throw new Error(`${byteLength} bytes in hexadecimal are missing`)
  }
  return bytes
}

export default command
