import { readName, rangeOfFolder, keyOfName, partOfKey } from '../drive/drive-name.ts'
import { readListed } from '../drive/listing.ts'
import { SynclineError } from '../errors.ts'
import type { HistoryEntry } from '../drive/index/drive-index.ts'
import type { Command } from './common/command.ts'
import { DRIVE_FLAGS, DRIVE_HELP, openDrive, readPath } from './common/drive-argument.ts'
import { EXIT_DONE } from './common/exit.ts'
import { formatBytes, visible } from './common/text.ts'

const command: Command = {
  name: 'log',
  summary: 'List the changes of a drive, the newest last: version, put or del, size, name.',
  args: [{ name: 'DRIVE' }, { name: 'PATH', optional: true }],
  flags: DRIVE_FLAGS,
  details:
    `${DRIVE_HELP}\n` +
    'The version is the first one that has the change: --at takes it. Changes that were made\n' +
    'together have one version.\n' +
    'Example:\n  syncline log photos /2024',
  async run(context) {
    const { args, out, signal } = context
    const [text = '', path = '/'] = args
    const under = readPath(path)
    const drive = await openDrive(context, text)
    try {
      const { index, version } = drive
      const ends = await index.versionEnds(1, version)
      let any = under === '/'
      for await (const change of index.history(1, version)) {
        signal.throwIfAborted()
        const told = tellable(change, under)
        if (told === null) continue
        any = true
        const first = versionOf(ends, change.seq)
        const { type, name, kind, size } = told
        const bytes = size === null ? '' : formatBytes(size)
        const shown = visible(kind === 'folder' ? `${name}/` : name)
        await out.result(
          { version: first, type, name, kind, size },
          `${String(first).padStart(8)}  ${type}  ${bytes.padStart(8)}  ${shown}`
        )
      }
      if (!any) {
        const reason = `${drive.label} never had ${under} up to version ${version}`
        throw new SynclineError('FILE_NOT_FOUND', reason)
      }
    } finally {
      await drive.close()
    }
    return EXIT_DONE
  }
}

interface Told {
  readonly type: 'put' | 'del'
  readonly name: string
  readonly kind: 'file' | 'link' | 'folder'
  /** Bytes; null for what has none. */
  readonly size: number | null
}

/** What is told of a change; null for one elsewhere, or of no legal name. */
function tellable(change: HistoryEntry, under: string): Told | null {
  const { type, key } = change
  const part = partOfKey(key)
  if (part === null || !isUnder(key, part, under)) return null
  const { name, fault } = readName(key, part)
  if (fault !== null) return null
  const kind = part === 'dirs' ? 'folder' : 'file'
  if (type === 'del') return { type, name, kind, size: null }
  const listed = readListed(change, part)
  if ('reason' in listed) return null
  return { type, name, kind: listed.kind, size: listed.entry.blob?.byteLength ?? null }
}

function isUnder(key: Uint8Array, part: 'files' | 'dirs', under: string): boolean {
  if (under === '/') return true
  const { gt, lt } = rangeOfFolder(under, part)
  const isBelow = Buffer.compare(key, gt) > 0 && Buffer.compare(key, lt) < 0
  return isBelow || Buffer.compare(key, keyOfName(under, part)) === 0
}

/** The first version that has the change of a block. */
function versionOf(ends: Uint8Array, seq: number): number {
  const end = ends.indexOf(1, seq - 1)
  return end === -1 ? ends.length + 1 : end + 2
}

export default command
