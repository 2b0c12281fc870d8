/** Fetches feeds with syncline and checks what is on disk then. */
import { Synchronizer } from '../../../lib/index.ts'
import type { WrittenGroup } from '../feed-group.ts'
import { checkBlock, each } from './block.ts'
import { serveSteps } from './steps.ts'

let folder = ''
let sync: Synchronizer | null = null

await serveSteps({
  async open(job: { folder: string; connections: number }) {
    folder = job.folder
    sync = new Synchronizer({ storage: folder, connections: Math.max(64, job.connections) })
    await sync.ready()
  },

  async connect({ ports }: { ports: number[] }) {
    for (const port of ports) await sync?.connect('127.0.0.1', port)
  },

  /** From feeds of which only the keys are known to all their blocks stored, over open connections. */
  async fetch({ group }: { group: WrittenGroup }) {
    const from = opened()
    const began = performance.now()
    await Promise.all(
      group.keys.map(async (key) => {
        const session = from.add(key, { mode: 'pull' })
        await session.synced()
        if (session.contiguousLength !== group.blocks) throw new Error(`${key} is not all here`)
      })
    )
    return { ms: performance.now() - began }
  },

  /** From an open stream to the first block. */
  async first({ key, port }: { key: string; port: number }) {
    const from = opened()
    if (from.peers.length > 0) throw new Error('there is a connection already')
    const session = from.add(key, { ranges: [] })
    await session.ready()
    const block = session.get(0)
    let began = NaN
    from.once('peer-connect', () => (began = performance.now()))
    await from.connect('127.0.0.1', port)
    await block
    const ms = performance.now() - began
    await from.close()
    sync = new Synchronizer({ storage: folder })
    return { ms }
  },

  /** Closes everything, opens it again and compares every block with what was written. */
  async check({ groups, blocks }: { groups: WrittenGroup[]; blocks: number }) {
    await sync?.close()
    sync = new Synchronizer({ storage: folder })
    const stored = sync
    for (const group of groups) {
      const count = Math.min(blocks, group.blocks)
      await each(group.feeds, async (feed) => {
        const session = await stored.open(group.keys[feed] ?? '', { mode: 'serve' })
        let index = 0
        for await (const block of session.read({ end: count, wait: false })) {
          checkBlock(group, feed, index++, block as Uint8Array)
        }
        if (index !== count) throw new Error(`feed ${feed} has ${index} of ${count} blocks`)
        await session.close()
      })
    }
  },

  async close() {
    await sync?.close()
  }
})

function opened(): Synchronizer {
  if (sync === null) throw new Error('open comes first')
  return sync
}
