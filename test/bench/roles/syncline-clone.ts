/** Clones a shared folder with syncline. */
import path from 'node:path'
import { ClonedFolder } from '../../../lib/drive/cloned-folder.ts'
import { Registry } from '../../../lib/drive/registry.ts'
import { parseKey, Synchronizer } from '../../../lib/index.ts'
import { serveSteps } from './steps.ts'
import { digestOfTree } from './tree.ts'

let target = ''
let sync: Synchronizer | null = null
let registry: Registry | null = null
let clone: ClonedFolder | null = null

await serveSteps({
  async open({ folder }: { folder: string }) {
    const store = path.join(folder, 'store')
    target = path.join(folder, 'tree')
    sync = new Synchronizer({ storage: store })
    registry = new Registry(store)
    await sync.ready()
  },

  async connect({ port }: { port: number }) {
    await sync?.connect('127.0.0.1', port)
  },

  /** From a key over an open connection to all files in their places. */
  async fetch({ key }: { key: string }) {
    const into = sync
    if (into === null || registry === null) throw new Error('open comes first')
    const began = performance.now()
    clone = await ClonedFolder.open(into, registry, parseKey(key), target)
    const { skipped, conflicts } = await clone.update()
    const ms = performance.now() - began
    if (skipped.length + conflicts.length > 0) throw new Error('not all files were put in place')
    return { ms }
  },

  /** Brings the clone to a version that was made after it. */
  async update({ version }: { version: number }) {
    const from = clone
    if (from === null) throw new Error('fetch comes first')
    const began = performance.now()
    const { index } = from
    if (index.length < version) {
      await new Promise<void>((resolve) => {
        index.on('append', () => {
          if (index.length >= version) resolve()
        })
      })
    }
    await from.update()
    return { ms: performance.now() - began }
  },

  /** Digest of what is in the folder once all is closed. */
  async check() {
    await close()
    return digestOfTree(target)
  },

  close
})

async function close(): Promise<void> {
  await clone?.close()
  await sync?.close()
}
