import { formatKey } from '../../synchronizer/key.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { DRY_RUN } from '../common/flags.ts'
import { checkNewName, openFolder } from '../common/storage.ts'
import { SynclineError } from '../../errors.ts'

const command: Command = {
  name: 'feed create',
  summary: 'Make a feed that you can append to, and print its key.',
  args: [{ name: 'NAME' }],
  flags: [DRY_RUN],
  details: 'Example:\n  syncline feed create logs',
  async run(context) {
    const name = context.args[0] ?? ''
    checkNewName(name)
    const dryRun = context.get(DRY_RUN)
    const folder = await openFolder(context, !dryRun)
    if (dryRun) {
      for await (const entry of folder.list()) {
        if (entry.name === name) throw new SynclineError('FEED_EXISTS', `the name ${name} is taken`)
      }
      await context.out.result({ dryRun: true, name }, `would create ${name}`)
      return EXIT_DONE
    }
    const feed = await folder.createFeed(name, { compat: false })
    await feed.close()
    const key = formatKey(feed.key)
    await context.out.result({ name, key, hex: Buffer.from(feed.key).toString('hex') }, key)
    return EXIT_DONE
  }
}

export default command
