/**
 * One process shares a folder, another one fetches it to a folder.
 *
 * @module
 */
import { diskUse, sumOf, type DiskUse } from './disk-use.ts'
import type { Usage } from './feed-group.ts'
import type { RoleProcess } from './role-process.ts'
import type { Prepared, Stage } from './stage.ts'
import type { Sample } from './statistics.ts'
import { usageOf } from './transfer.ts'
import type { MadeTree, TreeShape } from './tree.ts'

/** Who shares and fetches. */
export type DriveKind = 'syncline' | 'hyperdrive' | 'rsync' | 'syncthing'

/** Milliseconds between two looks at the receiver's disk. */
const LOOK_MS = 50

interface Sides {
  readonly source: RoleProcess
  readonly target: RoleProcess
  /** Folder of the source; its files are in `tree` below it. */
  readonly folder: string
  /** Folder of the receiver: its files are in `tree`, all else that it keeps beside. */
  readonly targetFolder: string
  readonly tree: MadeTree
}

/**
 * Fetches a tree and compares it with the source.
 *
 * Nobody is warm by default: each process does this once in its life, as a command would. The source is open, with all it has
 * found out about its files before; the time begins with the open, encrypted connection, and ends when the receiver
 * says that all files are in their places.
 *
 * @param warm - true lets both sides do it once before.
 */
export async function fetchTree(
  stage: Stage,
  kind: DriveKind,
  shape: TreeShape,
  warm = false
): Promise<Sample> {
  const made = await stage.prepare(`roles/${kind}-share`, { shape })
  const sides = await connect(stage, kind, made, shape, { warm })
  const { source, target, tree } = sides
  const before = [await source.call<Usage>('usage'), await target.call<Usage>('usage')] as const
  const { ms } = await target.call<{ ms: number }>('fetch', { key: tree.key, shape })
  const after = [await source.call<Usage>('usage'), await target.call<Usage>('usage')] as const
  await check(stage, sides, 'tree', tree.digest)
  // What others' programs use is not in the figures of the role that starts them.
  const usage = kind === 'syncline' || kind === 'hyperdrive' ? usageOf(before, after) : {}
  const bytes = shape.files * shape.bytes
  return { ms, rate: (shape.files * 1000) / ms, megabytes: bytes / 1000 / ms, ...usage }
}

/** What the receiver's disk holds after a first fetch and at most while it runs, as shares of what the files take. */
export async function fetchedDisk(
  stage: Stage,
  kind: DriveKind,
  shape: TreeShape,
  name: string
): Promise<Sample> {
  const made = await stage.prepare(`roles/${kind}-share`, { shape })
  const sides = await connect(stage, kind, made, shape, { name })
  const { target, tree, folder, targetFolder } = sides
  const payload = diskUse(`${folder}/tree`, partOf)
  const plain = sumOf(payload.allocated, ['content'])
  let contentPeak = 0
  let allPeak = 0
  const look = (): DiskUse => {
    const use = diskUse(targetFolder, (file) => partOf(file.replace(/^tree\//, '')))
    contentPeak = Math.max(contentPeak, sumOf(use.allocated, ['content', 'store']))
    allPeak = Math.max(allPeak, sumOf(use.allocated))
    return use
  }
  const timer = setInterval(look, LOOK_MS)
  try {
    await target.call('fetch', { key: tree.key, shape })
  } finally {
    clearInterval(timer)
  }
  look()
  await check(stage, sides, `tree of ${shape.files}`, tree.digest)
  const { allocated, apparent } = look()
  const plainApparent = sumOf(payload.apparent, ['content'])
  return {
    content: sumOf(allocated, ['content', 'store']) / plain,
    contentPeak: contentPeak / plain,
    all: sumOf(allocated) / plain,
    allPeak: allPeak / plain,
    allApparent: sumOf(apparent) / plainApparent,
    indexBytes: allocated['index'] ?? 0,
    treeBytes: allocated['tree'] ?? 0,
    catalogBytes: allocated['catalog'] ?? 0,
    otherBytes: allocated['other'] ?? 0
  }
}

/** Fetches a tree, and again after one block of one file changed: bytes of the second time, both ways, as on the wire. */
export async function fetchChange(
  stage: Stage,
  kind: DriveKind,
  shape: TreeShape
): Promise<Sample> {
  const made = await stage.prepareOnce(`roles/${kind}-share`, { shape })
  const proxy = stage.role('delay-proxy')
  const sides = await connect(stage, kind, made, shape, { proxy })
  const { source, target, tree, folder } = sides
  await target.call('fetch', { key: tree.key, shape })
  const firstBytes = await proxy.call<number>('carried')
  const { version, digest } = await source.call<{ version: number; digest: string }>('change', {
    folder,
    shape
  })
  if (digest === tree.digest) throw new Error('nothing was changed')
  const { ms } = await target.call<{ ms: number }>('update', { version })
  const bytes = await proxy.call<number>('carried')
  await check(stage, sides, `changed tree of ${kind}`, digest)
  return { ms, bytes, firstBytes }
}

/** @param name - sets the folders apart from those of other fetches of the run. */
async function connect(
  stage: Stage,
  kind: DriveKind,
  { folder, result }: Prepared,
  shape: TreeShape,
  options: {
    readonly name?: string
    readonly proxy?: RoleProcess | null
    readonly warm?: boolean
  } = {}
): Promise<Sides> {
  const { name = '', proxy = null, warm = false } = options
  const tree = result as MadeTree
  const { key } = tree
  const source = stage.role(`roles/${kind}-share`)
  const state = stage.folder(`${name}source`)
  let port = await source.call<number>('serve', { folder, state, key, shape })
  if (proxy !== null) port = await proxy.call<number>('listen', { port, delayMs: 0 })
  const target = stage.role(`roles/${kind}-clone`)
  const targetFolder = stage.folder(`${name}target`)
  if (warm) await target.call('warm', { folder: stage.folder(`${name}warm`), port, key })
  await target.call('open', { folder: targetFolder, source: folder })
  await target.call('connect', { port, key })
  return { source, target, folder, targetFolder, tree }
}

/** Compares what is in the receiver's folder with the source, and with what the other contestants came to. */
async function check(stage: Stage, sides: Sides, what: string, digest: string): Promise<void> {
  const { source, target } = sides
  const found = await target.call<string>('check')
  if (found !== digest) throw new Error(`${what}: what came is not what was sent`)
  stage.agree(what, digest)
  await target.close()
  await source.close()
}

/** What a file is for: of a folder with syncline's state, or a store of another program. */
function partOf(file: string): string {
  if (file.startsWith('store/')) return file.startsWith('store/drives/') ? 'other' : 'store'
  if (!file.startsWith('.syncline/')) return 'content'
  const [, part = '', name = ''] = file.split('/')
  if (part === 'index') return 'index'
  if (part === 'blobs') return name === 'data' ? 'content' : 'tree'
  if (part === 'incoming' || part === 'trash') return 'content'
  return part.startsWith('catalog') ? 'catalog' : 'other'
}
