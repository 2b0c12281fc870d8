/**
 * Imports that are killed before each change of the file system, one life for each.
 *
 * @module
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Assertions } from 'brittle'
import { memory, Synchronizer, type DriveSession } from '../../lib/index.ts'
import { Registry } from '../../lib/drive/registry.ts'
import { mirrorFolder, openMirror } from '../../lib/drive/mirror.ts'
import { Child } from '../fault/child.ts'
import { cloneFrom, type Node, openNode, openShare, treeOf, UPDATE_MS, until } from './folders.ts'
import { plantFirst, plantSecond } from './small-tree.ts'

/** Which steps are tried: the first, and each so many after it. */
export interface Steps {
  readonly first: number
  readonly every: number
}

/** What a whole run found. */
export interface Lives {
  /** Lives that were killed. */
  killed: number
  /** Lives of which a peer had got all that they told before they ended; of clones those with
   * files in place, of mirrors those that were registered. */
  seen: number
}

/** Milliseconds that a peer waits at most for what a process that is to be killed has told to be there. */
const CATCH_UP_MS = 300
/** Lives at a time. */
const ABREAST = 2

/** Runs lives until one is not killed. */
export async function eachStep(
  { first, every }: Steps,
  live: (step: number) => Promise<boolean>
): Promise<void> {
  let next = first
  let isOver = false
  const worker = async (): Promise<void> => {
    while (!isOver) {
      const step = next
      next += every
      if (await live(step)) isOver = true
    }
  }
  await Promise.all(Array.from({ length: ABREAST }, worker))
}

/** Starts `child-step` so that it is killed at a step. */
export function startLife(t: Assertions, step: number, args: readonly string[]): Child {
  return Child.start(t, '../drive/child-step', args, { env: { KILL_STEP: String(step) } })
}

/**
 * Kills imports of a folder, of a new one or of changes; after each, a fresh import has to take in all of it, under the
 * same key, and go on with the history that a peer saw.
 */
export async function killImports(t: Assertions, steps: Steps, isNew: boolean): Promise<Lives> {
  const lives: Lives = { killed: 0, seen: 0 }
  await eachStep(steps, async (step) => {
    const [root, store] = [fs.realpathSync(await t.tmp()), await t.tmp()]
    plantFirst(root)
    let key: string | null = null
    if (!isNew) {
      const node = await openNode(t, store)
      const share = await openShare(t, node, root)
      await share.import()
      key = Buffer.from(share.key).toString('hex')
      await share.close()
      await node.sync.close()
      plantSecond(root)
    }
    const follower = new Follower(t)
    const child = startLife(t, step, ['share', store, root])
    const [said, told = '', port = ''] = (await child.said('').catch(() => '')).split(' ')
    if (said === 'open') {
      if (key !== null && told !== key) t.fail(`step ${step}: the key is another`)
      key = told
      await follower.follow(told, Number(port))
      child.tell('go')
      await child.said('held').then(
        () => follower.catchUp(child, headOf(child)),
        () => {}
      )
    }
    const isOver = await wasSpared(t, step, child)
    if (!isOver) lives.killed++
    if (headOf(child) > 0 && follower.length >= headOf(child)) lives.seen++
    await followUp(t, { root, store, key, step, head: headOf(child) }, follower)
    return isOver
  })
  return lives
}

/** Ends a life. True if it came to its end by itself: what is held may be something that it does not wait for. */
export async function wasSpared(t: Assertions, step: number, child: Child): Promise<boolean> {
  await child.kill()
  const { exitCode, signalCode } = child.process
  const said = child.lines.join(', ')
  if (exitCode === null && signalCode === 'SIGKILL') return false
  if (exitCode === 0 && said.includes('steps')) return !child.lines.includes('held')
  t.fail(`step ${step}: a process ended with ${exitCode ?? signalCode}, after ${said}`)
  return true
}

/** Kills copies of a folder into a new mirror; after each, the same is done again under the same name. */
export async function killMirrors(t: Assertions, steps: Steps): Promise<Lives> {
  const lives: Lives = { killed: 0, seen: 0 }
  await eachStep(steps, async (step) => {
    const [root, store] = [fs.realpathSync(await t.tmp()), await t.tmp()]
    plantFirst(root)
    const child = startLife(t, step, ['mirror', store, root])
    await child.said('held').catch(() => {})
    const isOver = await wasSpared(t, step, child)
    if (!isOver) lives.killed++
    const node = await openNode(t, store)
    const known = await node.registry.named('kept')
    if (known.length > 0) lives.seen++
    const mirror = await openMirror(node.sync, node.registry, known[0] ?? 'kept', root)
    await mirrorFolder(mirror)
    await compare(t, `step ${step}`, node, mirror.key, root)
    const drives = await node.registry.list()
    if (drives.length !== 1) t.fail(`step ${step}: ${drives.length} mirrors of one name`)
    await mirror.close()
    await node.sync.close()
    empty(root)
    empty(store)
    return isOver
  })
  return lives
}

/** Clones a drive, and compares what came with its folder. */
async function compare(
  t: Assertions,
  at: string,
  node: Node,
  key: Uint8Array,
  root: string
): Promise<void> {
  const { node: reader, dir, clone } = await cloneFrom(t, node, key)
  const [expected, found] = [treeOf(root), treeOf(dir)]
  for (const name of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    if (expected[name] !== found[name]) t.fail(`${at}: ${name} came as ${found[name]}`)
  }
  await clone.close()
  await reader.sync.close()
  empty(path.dirname(dir))
}

/** The length that the index had last in a life that made it longer, or 0. */
function headOf({ lines }: Child): number {
  return Number(lines.findLast((line) => line.startsWith('head'))?.split(' ')[1] ?? 0)
}

/** The import after a kill. */
async function followUp(
  t: Assertions,
  {
    root,
    store,
    key,
    step,
    head
  }: {
    readonly root: string
    readonly store: string
    readonly key: string | null
    readonly step: number
    readonly head: number
  },
  follower: Follower
): Promise<void> {
  const at = `step ${step}`
  const node = await openNode(t, store)
  const share = await openShare(t, node, root)
  const { indexSession } = share.folder
  const now = Buffer.from(share.key).toString('hex')
  if (key !== null && now !== key) t.fail(`${at}: the key is another`)
  const drives = await new Registry(store).list()
  if (drives.length !== 1) t.fail(`${at}: ${drives.length} drives are registered for one folder`)
  const told = Math.max(follower.length, head)
  if (indexSession.length < told) t.fail(`${at}: ${told} blocks became ${indexSession.length}`)
  const report = await share.import()
  if (report.skipped.length + report.unsettled.length > 0) t.fail(`${at}: something is left out`)
  if ((await share.import()).changes > 0) t.fail(`${at}: not all was taken in at once`)
  // Who saw what there was before goes on from there: another history would freeze it.
  await follower.follow(now, node.port)
  await share.synced({ peers: 1, timeoutMs: UPDATE_MS })
  if (follower.conflicts > 0) t.fail(`${at}: a peer saw two histories`)
  await follower.close()
  await compare(t, at, node, share.key, root)
  const { session, feed } = await share.folder.blobs()
  const audits = [await indexSession.audit(), await feed.audit()]
  if (audits.some(({ bad, head }) => bad.length > 0 || !head)) t.fail(`${at}: a feed is damaged`)
  if (session.length === 0) t.fail(`${at}: nothing was shared`)
  await share.close()
  await node.sync.close()
  empty(root)
  empty(store)
}

/** Makes room for the next lives; the folder itself goes with the test. */
export function empty(folder: string): void {
  for (const name of fs.readdirSync(folder)) {
    fs.rmSync(path.join(folder, name), { recursive: true, force: true })
  }
}

/** A peer that holds what it was given, whoever gave it. */
class Follower {
  readonly #sync = new Synchronizer({ storage: memory() })
  #session: DriveSession | null = null
  conflicts = 0

  constructor(t: Assertions) {
    this.#sync.on('conflict', () => this.conflicts++)
    t.teardown(() => this.#sync.close())
  }

  /** Blocks of the index that a signature was seen for. */
  get length(): number {
    return this.#session?.index.length ?? 0
  }

  async follow(key: string, port: number): Promise<void> {
    if (this.#session === null) {
      this.#session = this.#sync.add(key, { drive: true })
      this.#session.ready().catch(() => {})
    }
    await this.#sync.connect('127.0.0.1', port)
  }

  /** Gets what a process gives of so many blocks, unless it ends before; what it is held in may keep it from giving. */
  async catchUp(child: Child, length: number): Promise<void> {
    const isOver = (): boolean =>
      child.process.exitCode !== null || child.process.signalCode !== null
    const isHere = (): boolean => this.length >= length
    await until(() => isOver() || isHere(), `a peer has ${length}`, CATCH_UP_MS).catch(() => {})
  }

  close(): Promise<void> {
    return this.#sync.close()
  }
}
