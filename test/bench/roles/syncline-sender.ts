/** Writes feeds with syncline and serves them. */
import { Synchronizer } from '../../../lib/index.ts'
import type { FeedGroup, WrittenGroup } from '../feed-group.ts'
import { batchBlocks, blocksOf, each } from './block.ts'
import { serveSteps } from './steps.ts'

let sync: Synchronizer | null = null
let uploads = 0

await serveSteps({
  async prepare({ folder, groups }: { folder: string; groups: FeedGroup[] }) {
    const sync = new Synchronizer({ storage: folder })
    const written: WrittenGroup[] = []
    for (const group of groups) {
      const keys: string[] = []
      await each(group.feeds, async (feed) => {
        const session = await sync.create(`${group.seed}-${feed}`)
        keys[feed] = Buffer.from(session.key).toString('hex')
        const step = batchBlocks(group)
        for (let start = 0; start < group.blocks; start += step) {
          const end = Math.min(group.blocks, start + step)
          await session.append(blocksOf(group, feed, start, end), { durability: 'os' })
        }
        await session.close()
      })
      written.push({ ...group, keys })
    }
    await sync.close()
    return written
  },

  async serve(job: { folder: string; keys: string[]; ports: number; count: boolean }) {
    sync = new Synchronizer({ storage: job.folder, connections: Math.max(64, job.ports) })
    for (const key of job.keys) {
      const session = await sync.open(key)
      if (job.count) session.on('upload', () => uploads++)
    }
    const ports: number[] = []
    for (let i = 0; i < job.ports; i++) {
      const addresses = await sync.listen(0, '127.0.0.1')
      for (const address of addresses) {
        const port = Number(address.split(':')[1])
        if (!ports.includes(port)) ports.push(port)
      }
    }
    return ports
  },

  /** Blocks that were given away since the last look. */
  uploads() {
    const count = uploads
    uploads = 0
    return count
  },

  async close() {
    await sync?.close()
  }
})
