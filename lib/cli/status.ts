import b4a from 'b4a'
import type { FolderConfig } from '../drive/folder/drive-folder.ts'
import type { Skipped } from '../drive/folder/scan.ts'
import { folderStatus, type FolderStatus, type LocalChange } from '../drive/status.ts'
import { formatKey } from '../synchronizer/key.ts'
import type { Command, Context } from './common/command.ts'
import { ENCRYPTION_KEY } from './common/drive-flags.ts'
import { EXIT_DONE } from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { folderAt, readingFolder, type NamedFolder } from './common/folders.ts'
import { tellNames } from './common/names.ts'
import { skippedText } from './common/skipped.ts'
import { contentsText, count, formatBytes, visible } from './common/text.ts'

const IGNORED = toggle('ignored', 'List each ignored name, with the rule that ignores it.')

const command: Command = {
  name: 'status',
  summary: 'Tell what a folder is, and what changed in it.',
  args: [{ name: 'DIR', optional: true }],
  flags: [IGNORED, ENCRYPTION_KEY],
  details:
    'Needs no network, and works while others share the folder or bring it up to date.\n' +
    'Before a name: + is added, ~ changed, t has another time or mode, - is gone.',
  async run(context) {
    const { args, get, out, log, signal } = context
    const named = await folderAt(args[0] ?? '.')
    const ignored: Skipped[] = []
    const status = await readingFolder(context, named, (folder) =>
      folderStatus(folder, {
        signal,
        ...(get(IGNORED) ? { onignored: (skipped: Skipped) => void ignored.push(skipped) } : {})
      })
    )
    await tell(context, named, status)
    for (const { name, folder, rule } of ignored) {
      const { file = '', line = 0, pattern = '' } = rule ?? {}
      await out.result(
        { event: 'ignored', name, folder, file, line, pattern },
        `${file}:${line}:${pattern}\t${visible(name)}`
      )
    }
    const lines = status.skipped.map(skippedText)
    tellNames(log, `${lines.length} that cannot be shared`, lines)
    return EXIT_DONE
  }
}

async function tell(
  { out }: Context,
  { root, config }: NamedFolder,
  status: FolderStatus
): Promise<void> {
  const { version, newest, files, links, emptyFolders, bytes, changes, conflicts } = status
  const { missing, trash, counts, skipped } = status
  const { kind, copy, gitignore, only, at, keep } = config
  const key = formatKey(b4a.from(config.key, 'hex'))
  const record = {
    event: 'status',
    folder: root,
    kind,
    key,
    version,
    newest,
    files,
    links,
    emptyFolders,
    bytes,
    copy,
    gitignore,
    only,
    at,
    keep,
    missing,
    trash,
    ignored: counts.ignored,
    skipped
  }
  await out.result(record, textOf(root, config, key, status))
  for (const { type, name, byteLength } of changes) {
    await out.result(
      { event: 'changed', type, name, byteLength },
      `${SIGNS[type]} ${visible(name)}`
    )
  }
  for (const name of conflicts) await out.result({ event: 'conflict', name }, `! ${visible(name)}`)
}

const SIGNS: Record<LocalChange['type'], string> = {
  add: '+',
  change: '~',
  touch: 't',
  remove: '-'
}

function textOf(root: string, config: FolderConfig, key: string, status: FolderStatus): string {
  const { version, newest, changes, conflicts, missing, trash, counts } = status
  const { kind, copy, only, at } = config
  const isShare = kind === 'share'
  const rows: [string, string][] = [
    ['key', key],
    ['version', newest > version ? `${version}, and ${newest} is known` : String(version)],
    ['holds', contentsText(status)]
  ]
  if (only.length > 0) rows.push(['only', only.join(' ')])
  if (at !== null) rows.push(['stays', `at version ${at}`])
  if (counts.ignored > 0) rows.push(['ignored', `${counts.ignored}; --ignored tells by what`])
  if (!isShare) {
    const rest =
      missing === null
        ? 'not known: the index is not all here'
        : `${count(missing.entries, 'name')}, ${formatBytes(missing.bytes)}`
    if (missing === null || missing.entries > 0) rows.push(['missing', rest])
    if (trash.entries > 0) {
      rows.push(['trash', `${count(trash.entries, 'file')}, ${formatBytes(trash.bytes)}`])
    }
    if (conflicts.length > 0) rows.push(['conflicts', String(conflicts.length)])
  }
  const what = isShare ? 'an import would take in' : 'you changed here'
  rows.push(['changes', changes.length === 0 ? 'none' : `${changes.length} that ${what}:`])
  const state = isShare ? `shared${copy ? ', with copies' : ', in place'}` : 'a clone'
  return [`${root} is ${state}`, ...rows.map(([name, text]) => `${name.padEnd(10)}${text}`)].join(
    '\n'
  )
}

export default command
