import { readMetadata } from '../drive/entry.ts'
import type { ListedEntry } from '../drive/listing.ts'
import type { Command } from './common/command.ts'
import {
  BadEntries,
  DRIVE_FLAGS,
  DRIVE_HELP,
  fileNotFound,
  openDrive,
  readPath
} from './common/drive-argument.ts'
import { EXIT_DONE, EXIT_FAILED } from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { formatBytes, visible } from './common/text.ts'

const RECURSIVE = toggle('recursive', 'Go down into folders.', { short: 'r' })

const command: Command = {
  name: 'ls',
  summary: 'List what a drive holds: mode, size, time, name.',
  args: [{ name: 'DRIVE' }, { name: 'PATH', optional: true }],
  flags: [RECURSIVE, ...DRIVE_FLAGS],
  details: `${DRIVE_HELP}\nExample:\n  syncline ls photos /2024 --at 17`,
  async run(context) {
    const { args, get, out, signal } = context
    const [text = '', path = '/'] = args
    const under = readPath(path)
    const drive = await openDrive(context, text)
    const bad = new BadEntries()
    try {
      const own = await drive.entry(under)
      let any = own !== null || under === '/'
      if (own !== null && own.kind !== 'folder') await tell(own)
      let last = ''
      for await (const item of drive.list(under, bad.note)) {
        signal.throwIfAborted()
        any = true
        const folder = get(RECURSIVE) ? null : folderBelow(under, item)
        if (folder === null) await tell(item)
        else if (folder !== last)
          await out.result({ name: folder, kind: 'folder' }, folderLine(folder))
        last = folder ?? last
      }
      if (!any) throw fileNotFound(drive, under)
    } finally {
      await drive.close()
    }
    bad.tell(context)
    return bad.count === 0 ? EXIT_DONE : EXIT_FAILED

    async function tell(item: ListedEntry): Promise<void> {
      await out.result(recordOf(item), lineOf(item))
    }
  }
}

/** The folder directly below one in which an entry lies; null if it lies in that one itself. */
function folderBelow(under: string, { name }: ListedEntry): string | null {
  const start = under === '/' ? 1 : under.length + 1
  const slash = name.indexOf('/', start)
  return slash === -1 ? null : name.slice(0, slash)
}

function recordOf({ name, kind, entry }: ListedEntry): object {
  const { executable, linkname, blob, metadata } = entry
  const { mtimeMs, mode } = readMetadata(metadata)
  return {
    name,
    kind,
    ...(kind === 'file' ? { size: blob?.byteLength ?? 0, executable } : {}),
    mtime: mtimeMs,
    mode,
    ...(kind === 'link' ? { link: linkname } : {})
  }
}

const WIDTHS = [10, 8, 16] as const

function lineOf({ name, kind, entry }: ListedEntry): string {
  const { executable, linkname, blob, metadata } = entry
  const { mtimeMs, mode } = readMetadata(metadata)
  const size = kind === 'file' ? formatBytes(blob?.byteLength ?? 0) : ''
  const time =
    mtimeMs === null ? '' : new Date(mtimeMs).toISOString().slice(0, 16).replace('T', ' ')
  const bits = mode ?? (kind === 'folder' ? 0o755 : executable ? 0o755 : 0o644)
  const type = { file: '-', link: 'l', folder: 'd' }[kind]
  const text = `${type}${kind === 'link' ? 'rwxrwxrwx' : formatMode(bits)}`
  const end = kind === 'link' ? ` -> ${linkname ?? ''}` : kind === 'folder' ? '/' : ''
  return columns(text, size, time, visible(`${name}${end}`))
}

function folderLine(name: string): string {
  return columns('d', '', '', visible(`${name}/`))
}

function columns(mode: string, size: string, time: string, name: string): string {
  const [first, second, third] = WIDTHS
  return `${mode.padEnd(first)}  ${size.padStart(second)}  ${time.padEnd(third)}  ${name}`
}

function formatMode(mode: number): string {
  return [6, 3, 0]
    .map((shift) => {
      const bits = mode >> shift
      return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}`
    })
    .join('')
}

export default command
