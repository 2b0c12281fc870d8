/** Shares a folder in place with syncline. */
import { renameSync } from 'node:fs'
import path from 'node:path'
import { Drive } from '../../../lib/drive/drive.ts'
import { Registry } from '../../../lib/drive/registry.ts'
import { SharedFolder } from '../../../lib/drive/shared-folder.ts'
import { formatKey, Synchronizer } from '../../../lib/index.ts'
import type { MadeTree, TreeShape } from '../tree.ts'
import { serveSteps } from './steps.ts'
import { changeTree, digestOfBytes, digestOfContents, digestOfTree, makeTree } from './tree.ts'

let sync: Synchronizer | null = null
let registry: Registry | null = null
let share: SharedFolder | null = null

await serveSteps({
  /** A tree in `folder/tree` that is shared; the secret key is in `folder/store`. */
  async prepare({ folder, shape }: { folder: string; shape: TreeShape }): Promise<MadeTree> {
    const tree = path.join(folder, 'tree')
    await makeTree(tree, shape)
    await openStore(path.join(folder, 'store'))
    const { share } = await importTree(tree)
    const key = formatKey(share.key)
    await close()
    return { digest: digestOfTree(tree), key }
  },

  open: ({ store }: { store: string }) => openStore(store),

  /** Imports `tree`, anew or again. `ms` begins when the folder is open, `openMs` is what that took. */
  async import({ tree }: { tree: string }) {
    const { openMs, ms, changes } = await importTree(tree)
    return { openMs, ms, changes }
  },

  /** Tells what an import of `tree` would do: how many changes. */
  async plan({ tree }: { tree: string }) {
    share = await SharedFolder.open(opened(sync), opened(registry), tree)
    return (await share.import({ dryRun: true })).changes
  },

  /** Digest of all that the drive has, read as whoever receives it reads it. */
  async contents() {
    const { folder } = opened(share)
    const { session } = await folder.blobs()
    const drive = new Drive(folder.indexSession, session)
    const contents: (readonly [string, string])[] = []
    for await (const entry of drive.list('/')) {
      contents.push([entry.key, await digestOfBytes(drive.createReadStream(entry))])
    }
    await drive.close()
    return digestOfContents(contents)
  },

  /** Ends the share of a tree: its state goes to `to`. */
  async forget({ tree, to }: { tree: string; to: string }) {
    await close()
    renameSync(path.join(tree, '.syncline'), to)
  },

  /** Serves what `prepare` made in `folder`, or a folder that is shared already. */
  async serve({ folder }: { folder: string }) {
    await openStore(path.join(folder, 'store'))
    const { share } = await importTree(path.join(folder, 'tree'))
    await share.folder.blobs()
    const [address = ''] = await opened(sync).listen(0, '127.0.0.1')
    return Number(address.split(':')[1])
  },

  /** Changes one block of the tree, and shares that. Returns the version to wait for and the digest of the tree. */
  async change({ folder, shape }: { folder: string; shape: TreeShape }) {
    const tree = path.join(folder, 'tree')
    changeTree(tree, shape)
    const { changes } = await opened(share).import()
    if (changes !== 1) throw new Error(`${changes} changes were found instead of 1`)
    return { version: opened(share).folder.index.version, digest: digestOfTree(tree) }
  },

  close
})

async function openStore(folder: string): Promise<void> {
  sync = new Synchronizer({ storage: folder })
  registry = new Registry(folder)
  await sync.ready()
}

async function importTree(
  tree: string
): Promise<{ share: SharedFolder; openMs: number; ms: number; changes: number }> {
  const began = performance.now()
  share = await SharedFolder.open(opened(sync), opened(registry), tree)
  const open = performance.now()
  const { changes, skipped, unsettled } = await share.import()
  const ms = performance.now() - open
  if (skipped.length + unsettled.length > 0) throw new Error('not all files were taken in')
  return { share, openMs: open - began, ms, changes }
}

async function close(): Promise<void> {
  await share?.close()
  await sync?.close()
  share = null
}

function opened<T>(value: T | null): T {
  if (value === null) throw new Error('open comes first')
  return value
}
