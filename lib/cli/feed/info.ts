import { formatKey } from '../../synchronizer/key.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { openFolder, openStored } from '../common/storage.ts'

const command: Command = {
  name: 'feed info',
  summary: 'Show what is stored of a feed.',
  args: [{ name: 'FEED' }],
  flags: [],
  details: '`have` is the number of blocks that are stored here.',
  async run(context) {
    const folder = await openFolder(context)
    const feed = await openStored(folder, context.args[0] ?? '')
    const info = {
      key: formatKey(feed.key),
      hex: Buffer.from(feed.key).toString('hex'),
      discoveryKey: Buffer.from(feed.discoveryKey).toString('hex'),
      length: feed.length,
      byteLength: feed.byteLength,
      fork: feed.fork,
      contiguousLength: feed.contiguousLength,
      have: feed.have.count(0, feed.length),
      writable: feed.writable,
      frozen: feed.frozen
    }
    await feed.close()
    const text = Object.entries(info)
      .map(([name, value]) => `${`${name}:`.padEnd(18)}${String(value)}`)
      .join('\n')
    await context.out.result(info, text)
    return EXIT_DONE
  }
}

export default command
