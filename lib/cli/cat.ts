import type { ListedEntry } from '../drive/listing.ts'
import { resolveLink } from '../drive/drive-name.ts'
import { LINKS_FOLLOWED_MAX } from '../limits.ts'
import { SynclineError } from '../errors.ts'
import type { Command } from './common/command.ts'
import {
  DRIVE_FLAGS,
  DRIVE_HELP,
  fileNotFound,
  openDrive,
  readPath,
  type OpenDrive
} from './common/drive-argument.ts'
import { EXIT_DONE, UsageError } from './common/exit.ts'
import { option, wholeNumber, type Flag } from './common/flag.ts'

const START: Flag<number> = option('start', 'N', 'First byte. Default 0.', 0, wholeNumber('start'))
const END: Flag<number> = option(
  'end',
  'N',
  'Byte after the last. Default: the length of the file.',
  Infinity,
  wholeNumber('end')
)

const command: Command = {
  name: 'cat',
  summary: 'Print a file of a drive, or a range of its bytes.',
  args: [{ name: 'DRIVE' }, { name: 'PATH' }],
  flags: [START, END, ...DRIVE_FLAGS],
  details:
    `${DRIVE_HELP}\n` +
    'Links are followed within the drive. A version that is kept no more ends with 3.\n' +
    'Example:\n  syncline cat photos notes.txt --at 17 --start 100 --end 200',
  async run(context) {
    const { args, get, out } = context
    const [text = '', path = ''] = args
    const name = readPath(path)
    const [start, end] = [get(START), get(END)]
    if (end < start) throw new UsageError('--end lies before --start')
    const drive = await openDrive(context, text)
    try {
      const file = await follow(drive, name)
      if (start === end) return EXIT_DONE
      for await (const piece of drive.read(context, file, start, end)) await out.write(piece)
    } finally {
      await drive.close()
    }
    return EXIT_DONE
  }
}

/** The file that a name leads to. */
async function follow(drive: OpenDrive, name: string): Promise<ListedEntry> {
  let at = name
  for (let links = 0; links < LINKS_FOLLOWED_MAX; links++) {
    const item = await drive.entry(at)
    if (item?.kind === 'file') return item
    if (item === null || item.kind === 'folder') throw await noFile(drive, at)
    at = resolveLink(at, item.entry.linkname ?? '')
  }
  throw new SynclineError('INVALID_OPERATION', `the links from ${name} lead in a circle`)
}

async function noFile(drive: OpenDrive, name: string): Promise<Error> {
  for await (const _ of drive.list(name)) {
    return new UsageError(`${name} is a folder`, 'restore takes folders')
  }
  return fileNotFound(drive, name)
}

export default command
