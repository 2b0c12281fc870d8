import { partOfKey, type Part } from '../drive/drive-name.ts'
import type { IndexEntry } from '../drive/index/drive-index.ts'
import { readListed, type ListedEntry } from '../drive/listing.ts'
import type { Command } from './common/command.ts'
import { AT, BadEntries, DRIVE_FLAGS, DRIVE_HELP, openDrive } from './common/drive-argument.ts'
import { EXIT_DONE, EXIT_FAILED, UsageError } from './common/exit.ts'
import { wholeNumber } from './common/flag.ts'
import { formatBytes, visible } from './common/text.ts'

const SIGNS = { add: '+', remove: '-', change: '~' } as const

const command: Command = {
  name: 'diff',
  summary: 'List what differs between two versions of a drive: + added, - removed, ~ changed.',
  args: [{ name: 'DRIVE' }, { name: 'V1' }, { name: 'V2' }],
  flags: DRIVE_FLAGS.filter((flag) => flag !== AT),
  details: `${DRIVE_HELP}\nExample:\n  syncline diff photos 17 23`,
  async run(context) {
    const { args, out, signal } = context
    const [text = '', first = '', second = ''] = args
    const [from, to] = [readVersion(first), readVersion(second)]
    const drive = await openDrive(context, text)
    const bad = new BadEntries()
    try {
      for (const version of [from, to]) await drive.checkVersion(version)
      for await (const { left, right } of drive.index.diff(from, to)) {
        signal.throwIfAborted()
        const old = listed(left, bad)
        const now = listed(right, bad)
        const item = now ?? old
        if (item === null) continue
        const type = old === null ? 'add' : now === null ? 'remove' : 'change'
        const size = item.entry.blob?.byteLength ?? null
        const name = visible(item.kind === 'folder' ? `${item.name}/` : item.name)
        await out.result(
          { type, name: item.name, kind: item.kind, size },
          `${SIGNS[type]} ${(size === null ? '' : formatBytes(size)).padStart(8)}  ${name}`
        )
      }
    } finally {
      await drive.close()
    }
    bad.tell(context)
    return bad.count === 0 ? EXIT_DONE : EXIT_FAILED
  }
}

function readVersion(text: string): number {
  try {
    return wholeNumber('at', 1)(text)
  } catch {
    throw new UsageError(`a version is a whole number from 1 on, not "${text}"`)
  }
}

/** The entry of a side; null if there is none, or none that can be read. */
function listed(item: IndexEntry | null, bad: BadEntries): ListedEntry | null {
  const part: Part | null = item && partOfKey(item.key)
  if (item === null || part === null) return null
  const entry = readListed(item, part)
  if (!('reason' in entry)) return entry
  bad.note(entry)
  return null
}

export default command
