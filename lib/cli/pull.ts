import { ClonedFolder } from '../drive/cloned-folder.ts'
import {
  applyOptions,
  choicesOf,
  CLONE_FLAGS,
  tellRenamed,
  updateOnce
} from './common/clone-run.ts'
import type { Command } from './common/command.ts'
import { EXIT_DONE, UsageError } from './common/exit.ts'
import { DRY_RUN, NETWORK } from './common/flags.ts'
import { openRegistry, folderAt } from './common/folders.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { quote } from './common/text.ts'

const command: Command = {
  name: 'pull',
  summary: 'Bring a clone to the newest version, once.',
  args: [{ name: 'DIR', optional: true }],
  flags: [...CLONE_FLAGS, DRY_RUN, ...NETWORK],
  details:
    'DIR is the clone, or a folder in it; without one it is the folder where you are.\n' +
    'Example:\n' +
    "  syncline pull --only '*.pdf'",
  async run(context) {
    const { args, get, out } = context
    const { root, config } = await folderAt(args[0] ?? '.')
    if (config.kind === 'share') {
      const hint = `syncline share ${quote(root)} --once takes in what changed there`
      throw new UsageError(`${root} is the source itself: there is nothing to pull`, hint)
    }
    const choices = choicesOf(context)
    checkNetwork(context)
    if (get(DRY_RUN)) {
      await out.result({ dryRun: true, folder: root }, `would bring ${root} up to date`)
      return EXIT_DONE
    }
    const sync = await openSynchronizer(context)
    try {
      const registry = openRegistry(context)
      const options = applyOptions(context)
      const cloned = await ClonedFolder.open(sync, registry, null, root, choices, options)
      try {
        tellRenamed(context, cloned)
        await goOnline(context, sync)
        return await updateOnce(context, sync, cloned, () => cloned.update())
      } finally {
        await cloned.close()
      }
    } finally {
      await sync.close()
    }
  }
}

export default command
