import { readdir } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { ClonedFolder } from '../drive/cloned-folder.ts'
import { readConfig } from '../drive/folder/drive-folder.ts'
import { checkOutside } from '../drive/folder/stores.ts'
import { formatKey } from '../synchronizer/key.ts'
import {
  applyOptions,
  choicesOf,
  CLONE_FLAGS,
  tellRenamed,
  updateLive,
  updateOnce
} from './common/clone-run.ts'
import { openRegistry } from './common/folders.ts'
import type { Command, Context } from './common/command.ts'
import { isLive, LIVE, ONCE } from './common/drive-flags.ts'
import { EXIT_DONE, UsageError } from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { DRY_RUN, NETWORK, SWARM } from './common/flags.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { announced, tellCloneCommand } from './common/other-side.ts'
import { readReference } from './common/storage.ts'

const FORCE = toggle('force', 'Clone onto a folder that is not empty; files that match are kept.')

const command: Command = {
  name: 'clone',
  summary: 'Make a folder a copy of a drive, and keep it one.',
  args: [{ name: 'KEY' }, { name: 'DIR' }],
  flags: [ONCE, LIVE, FORCE, ...CLONE_FLAGS, DRY_RUN, ...NETWORK],
  details:
    'Ends when all is here, or with 4 if nobody had it in time; the same command goes on where it ended.\n' +
    'With --live it follows the drive and seeds it until Ctrl-C. What you changed in the folder is never\n' +
    'overwritten: it gets a name of its own, beside.\n' +
    'Examples:\n' +
    '  syncline clone KEY photos\n' +
    "  syncline clone KEY photos --only '/2026/' --only '*.jpg' --live",
  async run(context) {
    const { args, get } = context
    const [text = '', dir = ''] = args
    const reference = readReference(text)
    if (!('key' in reference)) {
      throw new UsageError(`${text} is no key`, 'syncline share prints the key of what it shares')
    }
    const { key } = reference
    const live = isLive(context, false)
    const choices = { ...choicesOf(context), force: get(FORCE) }
    checkNetwork(context)
    if (get(DRY_RUN)) return dryRun(context, key, dir)
    const sync = await openSynchronizer(context)
    try {
      const registry = openRegistry(context)
      const options = applyOptions(context)
      const cloned = await ClonedFolder.open(sync, registry, key, dir, choices, options)
      try {
        tellRenamed(context, cloned)
        const addresses = await goOnline(context, sync)
        if (!live) return await updateOnce(context, sync, cloned, () => cloned.update())
        if (get(SWARM)) await announced(context, sync)
        await tellCloneCommand(context, [cloned.folder], addresses)
        return await updateLive(context, sync, cloned)
      } finally {
        await cloned.close()
      }
    } finally {
      await sync.close()
    }
  }
}

async function dryRun(context: Context, key: Uint8Array, dir: string): Promise<number> {
  const root = path.resolve(dir)
  checkOutside(root, openRegistry(context).stores)
  const config = await readConfig(root)
  const names = await readdir(root).catch(() => [])
  if (config !== null && (config.kind === 'share' || config.key !== b4a.toString(key, 'hex'))) {
    throw new SynclineError('REFUSED', `${root} is shared, or a clone of another drive`)
  }
  if (config === null && names.length > 0 && !context.get(FORCE)) {
    throw new SynclineError('REFUSED', `${root} is not empty: --force clones onto it`)
  }
  const id = formatKey(key)
  const what = config === null ? `clone ${id} to ${root}` : `bring ${root} up to date`
  await context.out.result({ dryRun: true, key: id, folder: root }, `would ${what}`)
  return EXIT_DONE
}

export default command
