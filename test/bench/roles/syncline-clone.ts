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
  /** Clones once into another folder and store, so that the code of both sides is compiled. */
  async warm({ folder, port, key }: { folder: string; port: number; key: string }) {
    await open({ folder })
    await connect({ port })
    await fetch({ key })
    await close()
  },

  open,
  connect,
  fetch,

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

async function open({ folder }: { folder: string }): Promise<void> {
  const store = path.join(folder, 'store')
  target = path.join(folder, 'tree')
  sync = new Synchronizer({ storage: store })
  registry = new Registry(store)
  await sync.ready()
}

async function connect({ port }: { port: number }): Promise<void> {
  await sync?.connect('127.0.0.1', port)
}

/** From a key over an open connection to all files in their places. */
async function fetch({ key }: { key: string }): Promise<{ ms: number }> {
  const into = sync
  if (into === null || registry === null) throw new Error('open comes first')
  const began = performance.now()
  clone = await ClonedFolder.open(into, registry, parseKey(key), target)
  const { skipped, conflicts } = await clone.update()
  const ms = performance.now() - began
  if (skipped.length + conflicts.length > 0) throw new Error('not all files were put in place')
  return { ms }
}

async function close(): Promise<void> {
  await clone?.close()
  await sync?.close()
}
