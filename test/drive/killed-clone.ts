/**
 * Clones that are killed before each change of the file system, one life for each.
 *
 * @module
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Assertions } from 'brittle'
import { Registry } from '../../lib/drive/registry.ts'
import { join, openClone, openNode, openShare, treeOf, UPDATE_MS, type Node } from './folders.ts'
import { eachStep, empty, startLife, type Lives, type Steps, wasSpared } from './killed-import.ts'
import { plantFirst, plantSecond } from './small-tree.ts'

/** A drive of two versions, both served, and what its folder held in each. */
interface Source {
  readonly node: Node
  readonly key: Uint8Array
  readonly versions: readonly [first: number, second: number]
  readonly trees: readonly [Record<string, string>, Record<string, string>]
}

async function openSource(t: Assertions): Promise<Source> {
  const root = fs.realpathSync(await t.tmp())
  const node = await openNode(t)
  const share = await openShare(t, node, root, { copy: true })
  plantFirst(root)
  await share.import()
  const [first, firstTree] = [share.folder.index.version, treeOf(root)]
  plantSecond(root)
  await share.import()
  const versions = [first, share.folder.index.version] as const
  return { node, key: share.key, versions, trees: [firstTree, treeOf(root)] }
}

/**
 * Kills clones into a folder, a new one or one of an earlier version. After each, what stands under any name is whole and
 * of one version; the next update makes all equal, and leaves nothing behind.
 */
export async function killClones(t: Assertions, steps: Steps, isNew: boolean): Promise<Lives> {
  const { node: source, key, versions, trees } = await openSource(t)
  const [, expected] = trees
  const lives: Lives = { killed: 0, seen: 0 }
  await eachStep(steps, async (step) => {
    const at = `step ${step}`
    const [store, tmp] = [await t.tmp(), fs.realpathSync(await t.tmp())]
    const dir = path.join(tmp, 'clone')
    if (!isNew) await update(t, { store, source, key, dir, at: versions[0] })
    const child = startLife(t, step, [
      ...['clone', store, dir, Buffer.from(key).toString('hex'), String(source.port)]
    ])
    await child.said('held').catch(() => {})
    const isOver = await wasSpared(t, step, child)
    if (!isOver) lives.killed++
    const found = fs.existsSync(dir) ? treeOf(dir) : {}
    for (const [name, text] of Object.entries(found)) {
      const isWhole = trees.some((tree) => tree[name] === text)
      if (!isWhole && text !== 'empty') t.fail(`${at}: ${name} is ${text}`)
    }
    if (!isNew) {
      // What the drive did not touch is never taken away, not for a moment.
      const [before] = trees
      for (const [name, text] of Object.entries(before)) {
        if (expected[name] === text && found[name] !== text) t.fail(`${at}: ${name} is missing`)
      }
    }
    if (Object.keys(found).length > 1) lives.seen++
    await update(t, { store, source, key, dir, at: null })
    const now = treeOf(dir)
    for (const name of new Set([...Object.keys(expected), ...Object.keys(now)])) {
      if (expected[name] !== now[name]) t.fail(`${at}: ${name} came as ${now[name]}`)
    }
    const left = fs.readdirSync(`${dir}/.syncline/incoming`)
    if (left.length > 0) t.fail(`${at}: ${left.join(', ')} stayed in incoming`)
    const drives = await new Registry(store).list()
    if (drives.length !== 1) t.fail(`${at}: ${drives.length} drives are registered for one folder`)
    empty(tmp)
    empty(store)
    return isOver
  })
  return lives
}

/** Brings a clone to a version, in a life that is not killed; nothing of it is taken for an edit of its user. */
async function update(
  t: Assertions,
  {
    store,
    source,
    key,
    dir,
    at
  }: {
    readonly store: string
    readonly source: Node
    readonly key: Uint8Array
    readonly dir: string
    readonly at: number | null
  }
): Promise<void> {
  const node = await openNode(t, store)
  const clone = await openClone(t, node, key, dir, { at })
  await join(node, source)
  const { skipped, conflicts, heldBack } = await clone.update({
    signal: AbortSignal.timeout(UPDATE_MS)
  })
  const wrong = [...skipped, ...conflicts, ...heldBack]
  if (wrong.length > 0) t.fail(`an update ended with ${JSON.stringify(wrong)}`)
  const blobs = await clone.folder.blobs()
  const { bad } = await blobs.feed.audit()
  if (bad.length > 0) t.fail(`blocks ${bad.join(', ')} of a clone are bad`)
  await clone.close()
  await node.sync.close()
}
