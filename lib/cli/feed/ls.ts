import type { FeedEntry, FeedFolder } from '../../feed/file/feed-folder.ts'
import { formatKey } from '../../synchronizer/key.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { toggle } from '../common/flag.ts'
import { openFolder } from '../common/storage.ts'
import { formatBytes } from '../common/text.ts'

const LONG = toggle('long', 'Open each feed and print its length and size too.', { short: 'l' })

const command: Command = {
  name: 'feed ls',
  summary: 'List the stored feeds: key, rw or r-, name.',
  args: [],
  flags: [LONG],
  async run(context) {
    const folder = await openFolder(context)
    for await (const entry of folder.list()) {
      context.signal.throwIfAborted()
      const { key, name, writable } = entry
      const id = formatKey(key)
      const size = context.get(LONG) ? await sizeOf(folder, entry) : null
      const columns = [
        id,
        writable ? 'rw' : 'r-',
        ...(size === null
          ? []
          : [String(size.length).padStart(9), formatBytes(size.byteLength).padStart(8)]),
        ...(name === null ? [] : [name])
      ]
      await context.out.result({ key: id, name, writable, ...size }, columns.join('  '))
    }
    return EXIT_DONE
  }
}

async function sizeOf(
  folder: FeedFolder,
  entry: FeedEntry
): Promise<{ length: number; byteLength: number }> {
  const feed = await folder.openFeed(entry.key)
  await feed.close()
  return { length: feed.length, byteLength: feed.byteLength }
}

export default command
