import { SynclineError } from '../../errors.ts'
import { formatKey } from '../../synchronizer/key.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { toggle } from '../common/flag.ts'
import { DRY_RUN } from '../common/flags.ts'
import { notFound, openFolder, readReference } from '../common/storage.ts'

const FORCE = toggle('force', 'Delete a writable feed too, with its secret key.', { short: 'f' })

const command: Command = {
  name: 'feed rm',
  summary: 'Delete a stored feed.',
  args: [{ name: 'FEED' }],
  flags: [FORCE, DRY_RUN],
  details: 'A writable feed is refused without --force: its secret key may be nowhere else.',
  async run(context) {
    const text = context.args[0] ?? ''
    const dryRun = context.get(DRY_RUN)
    const folder = await openFolder(context, !dryRun)
    const reference = readReference(text)
    for await (const { key, name, writable } of folder.list()) {
      const found =
        'key' in reference ? Buffer.compare(key, reference.key) === 0 : name === reference.name
      if (!found) continue
      if (writable && !context.get(FORCE)) {
        throw new SynclineError(
          'REFUSED',
          `${text} is writable, and its secret key may be nowhere else: --force deletes it`
        )
      }
      if (!dryRun) await folder.remove(key)
      const id = formatKey(key)
      const record = { key: id, name, removed: !dryRun, ...(dryRun ? { dryRun } : {}) }
      await context.out.result(record, `${dryRun ? 'would remove' : 'removed'} ${id}`)
      return EXIT_DONE
    }
    throw notFound(text)
  }
}

export default command
