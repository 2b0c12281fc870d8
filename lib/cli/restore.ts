import { stat } from 'node:fs/promises'
import path from 'node:path'
import { findFolder } from '../drive/folder/drive-folder.ts'
import type { Renamed } from '../drive/folder/file-names.ts'
import type { ListedEntry } from '../drive/listing.ts'
import { restore, type RestoreItem } from '../drive/restore.ts'
import { SynclineError } from '../errors.ts'
import type { Command, Context } from './common/command.ts'
import {
  BadEntries,
  DRIVE_FLAGS,
  DRIVE_HELP,
  fileNotFound,
  openDrive,
  readPath,
  type OpenDrive
} from './common/drive-argument.ts'
import { LINKS } from './common/drive-flags.ts'
import { EXIT_DONE, EXIT_FAILED, sentenceOf, UsageError } from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { DRY_RUN } from './common/flags.ts'
import { count, formatBytes, visible } from './common/text.ts'

const FORCE = toggle('force', 'Overwrite what is there.')

const command: Command = {
  name: 'restore',
  summary: 'Put a file or folder out of a version of a drive into a folder.',
  args: [{ name: 'DRIVE' }, { name: 'PATH' }, { name: 'TO', optional: true }],
  flags: [FORCE, LINKS, DRY_RUN, ...DRIVE_FLAGS],
  details:
    `${DRIVE_HELP}\n` +
    'Without TO it goes to its own place in the folder of the drive; into TO if that is a folder.\n' +
    'In a clone, what was replaced or removed comes from the trash if it is still there.\n' +
    'Nothing is overwritten without --force.\n' +
    'Example:\n  syncline restore photos /2024/a.jpg --at 17 a-before.jpg',
  async run(context) {
    const { args, get, log, out, signal } = context
    const [text = '', given = '', to] = args
    const name = readPath(given)
    const drive = await openDrive(context, text)
    const bad = new BadEntries()
    try {
      const entries = await entriesOf(drive, name, bad)
      const { root, prefix } = await place(drive, name, to, entries[0]?.name === name)
      const items = entries.map((source): RestoreItem => ({
        name: `${prefix}${source.name.slice(name === '/' ? 0 : name.length)}`,
        source
      }))
      if (get(DRY_RUN)) {
        for (const item of items) await tellPlanned(context, root, item)
        return EXIT_DONE
      }
      const { restored, bytes, skipped } = await restore(root, items, {
        read: (source) => drive.read(context, source),
        overwrite: get(FORCE),
        allLinks: get(LINKS) === 'all',
        renamed: root === drive.folder?.root ? renamedIn(drive) : [],
        signal
      })
      const [only] = skipped
      if (entries.length === 1 && only !== undefined) throw withWay(only.reason)
      for (const item of restored) await out.result(item, visible(item.path))
      for (const item of skipped) log.info(`${item.name} is left out: ${sentenceOf(item.reason)}`)
      log.info(`${count(restored.length, 'entry', 'entries')} restored, ${formatBytes(bytes)}`)
      bad.tell(context)
      return skipped.length + bad.count === 0 ? EXIT_DONE : EXIT_FAILED
    } finally {
      await drive.close()
    }
  }
}

/** A file or link, or all that is in a folder. */
async function entriesOf(
  drive: OpenDrive,
  name: string,
  bad: BadEntries
): Promise<readonly ListedEntry[]> {
  const own = await drive.entry(name)
  if (own !== null) return [own]
  const entries: ListedEntry[] = []
  for await (const item of drive.list(name, bad.note)) entries.push(item)
  if (entries.length === 0) throw fileNotFound(drive, name)
  return entries
}

/** The root of the folder that is written to, and what its names begin with. */
async function place(
  drive: OpenDrive,
  name: string,
  to: string | undefined,
  isSingle: boolean
): Promise<{ readonly root: string; readonly prefix: string }> {
  if (to === undefined) {
    const { folder } = drive
    if (folder !== null && folder.config.kind !== 'mirror') {
      return { root: folder.root, prefix: name === '/' ? '' : name }
    }
    throw new UsageError(`${drive.label} has no folder here`, 'say where to: restore DRIVE PATH TO')
  }
  const isFolder = await stat(to).then(
    (stats) => stats.isDirectory(),
    () => false
  )
  const full = path.resolve(isFolder ? path.join(to, path.posix.basename(name)) : to)
  const above = await findFolder(path.dirname(full))
  if (above !== null) {
    const local = path.relative(above, full).split(path.sep).join('/')
    return { root: above, prefix: local === '' ? '' : `/${local}` }
  }
  return isSingle
    ? { root: path.dirname(full), prefix: `/${path.basename(full)}` }
    : { root: full, prefix: '' }
}

/** Names that have another path in the folder of the drive. */
function* renamedIn({ folder }: OpenDrive): Generator<Renamed, void, void> {
  for (const [name, known] of folder?.catalog.rows() ?? []) {
    if (known.path !== undefined) yield { name, path: known.path }
  }
}

async function tellPlanned({ out }: Context, root: string, item: RestoreItem): Promise<void> {
  const { name, entry } = item.source
  const record = { dryRun: true, name, path: path.join(root, item.name) }
  const size = entry.blob?.byteLength ?? 0
  await out.result({ ...record, size }, `would restore ${record.path}`)
}

function withWay(error: SynclineError): SynclineError {
  if (error.code !== 'REFUSED') return error
  return new SynclineError('REFUSED', `${sentenceOf(error)}; --force overwrites files`)
}

export default command
