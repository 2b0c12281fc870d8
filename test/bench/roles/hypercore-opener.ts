/** Opens a long feed with holes with hypercore 11 and lists them. */
import type { FeedGroup } from '../feed-group.ts'
import { blocksOf } from './block.ts'
import { closeCore, createCore, openCore, openStorage } from './core.ts'
import { checkHoles, holesOf } from './hole.ts'
import { serveSteps } from './steps.ts'

const BATCH = 10_000

await serveSteps({
  async prepare({ folder, group }: { folder: string; group: FeedGroup }) {
    const storage = await openStorage(folder)
    const core = await createCore(storage)
    for (let start = 0; start < group.blocks; start += BATCH) {
      await core.append(blocksOf(group, 0, start, Math.min(group.blocks, start + BATCH)))
    }
    for (const [start, end] of holesOf(group.blocks)) await core.clear(start, end)
    await closeCore(core)
    await storage.close()
    return Buffer.from(core.key).toString('hex')
  },

  async list({ folder, key, group }: { folder: string; key: string; group: FeedGroup }) {
    const began = performance.now()
    const storage = await openStorage(folder)
    const core = await openCore(storage, key)
    const { length } = core
    // Its bitfield is not public, and the quickest way there is: `has` would ask for every range.
    const { bitfield } = core.core
    const missing: [number, number][] = []
    for (let start = bitfield.firstUnset(0); start !== -1 && start < length;) {
      const set = bitfield.firstSet(start)
      const end = set === -1 ? length : set
      missing.push([start, end])
      start = bitfield.firstUnset(end)
    }
    const ms = performance.now() - began
    checkHoles(group.blocks, missing)
    await closeCore(core)
    await storage.close()
    return { ms }
  },

  close() {}
})
