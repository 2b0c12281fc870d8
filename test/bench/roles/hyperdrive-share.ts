/** Imports a folder into a hyperdrive with mirror-drive, and serves that. */
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import type { MadeTree, TreeShape } from '../tree.ts'
import { secure } from './core.ts'
import {
  localDrive,
  openCoreStore,
  openDrive,
  type CoreStore,
  type RemoteDrive
} from './hyperdrive.ts'
import { serveSteps } from './steps.ts'
import { changeTree, digestOfBytes, digestOfContents, digestOfTree, makeTree } from './tree.ts'

let store: CoreStore | null = null
let drive: RemoteDrive | null = null

await serveSteps({
  /** A tree in `folder/tree`, and the drive of it in `folder/store`. */
  async prepare({ folder, shape }: { folder: string; shape: TreeShape }): Promise<MadeTree> {
    const tree = path.join(folder, 'tree')
    await makeTree(tree, shape)
    store = await openCoreStore(path.join(folder, 'store'))
    await importTree(tree)
    const key = Buffer.from(opened(drive).key).toString('hex')
    await close()
    return { digest: digestOfTree(tree), key }
  },

  async open(job: { store: string }) {
    store = await openCoreStore(job.store)
  },

  /** Imports `tree`, anew or again. `ms` begins when the drive is open, `openMs` is what that took. */
  import: ({ tree }: { tree: string }) => importTree(tree),

  /** Tells what an import of `tree` would do: how many changes. */
  async plan({ tree }: { tree: string }) {
    drive = await openDrive(opened(store))
    const mirror = localDrive(tree).mirror(drive, { dryRun: true })
    await mirror.done()
    return mirror.count.add + mirror.count.change
  },

  /** Digest of all that the drive has. */
  async contents() {
    const from = opened(drive)
    const contents: (readonly [string, string])[] = []
    for await (const entry of from.list('/')) {
      contents.push([entry.key, await digestOfBytes(from.createReadStream(entry))])
    }
    return digestOfContents(contents)
  },

  async serve({ folder }: { folder: string }) {
    const from = await openCoreStore(path.join(folder, 'store'))
    store = from
    drive = await openDrive(from)
    await drive.getBlobs()
    const server = createServer((socket) => from.replicate(secure(false, socket)))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  },

  /** Changes one block of the tree, and imports that. Returns the version to wait for and the digest of the tree. */
  async change({ folder, shape }: { folder: string; shape: TreeShape }) {
    const tree = path.join(folder, 'tree')
    changeTree(tree, shape)
    const mirror = localDrive(tree).mirror(opened(drive))
    await mirror.done()
    return { version: opened(drive).version, digest: digestOfTree(tree) }
  },

  close
})

async function importTree(tree: string): Promise<{ openMs: number; ms: number; changes: number }> {
  const began = performance.now()
  drive = await openDrive(opened(store))
  const open = performance.now()
  const mirror = localDrive(tree).mirror(drive)
  await mirror.done()
  const ms = performance.now() - open
  return { openMs: open - began, ms, changes: mirror.count.add + mirror.count.change }
}

async function close(): Promise<void> {
  await drive?.close()
  await store?.close()
}

function opened<T>(value: T | null): T {
  if (value === null) throw new Error('open comes first')
  return value
}
