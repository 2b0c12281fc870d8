/** Opens a long feed with holes with syncline and lists them. */
import { Synchronizer } from '../../../lib/index.ts'
import type { FeedGroup } from '../feed-group.ts'
import { blocksOf } from './block.ts'
import { checkHoles, holesOf } from './hole.ts'
import { serveSteps } from './steps.ts'

const BATCH = 10_000

await serveSteps({
  async prepare({ folder, group }: { folder: string; group: FeedGroup }) {
    const sync = new Synchronizer({ storage: folder })
    const session = await sync.create('long')
    for (let start = 0; start < group.blocks; start += BATCH) {
      const blocks = blocksOf(group, 0, start, Math.min(group.blocks, start + BATCH))
      await session.append(blocks, { durability: 'os' })
    }
    for (const [start, end] of holesOf(group.blocks)) await session.clear(start, end)
    await sync.close()
    return Buffer.from(session.key).toString('hex')
  },

  async list({ folder, key, group }: { folder: string; key: string; group: FeedGroup }) {
    const began = performance.now()
    const sync = new Synchronizer({ storage: folder })
    const session = await sync.open(key)
    const missing = await session.missing()
    const ms = performance.now() - began
    checkHoles(group.blocks, missing)
    await sync.close()
    return { ms }
  },

  close() {}
})
