/**
 * Finds which blocks of a feed a local file holds already, by comparing subtree roots.
 *
 * Hashes of leaves and parents say nothing of positions, so equal roots are equal bytes wherever they lie. Peers are
 * asked for the nodes over the range, from the top down, and only below those that differ.
 *
 * @module
 */
import { equalBytes } from '../feed/bytes.ts'
import type { StoredFeed } from '../feed/stored-feed.ts'
import { foldLeaves } from '../feed/leaf-fold.ts'
import { spanRoots } from '../feed/tree/proof-plan.ts'
import { FOLD_BLOCKS_MAX, NODE_BYTES } from '../kernels/fold.ts'
import { COMPARED_NODE_MS, COMPARED_NODES } from '../limits.ts'
import { depth, endBlock, firstBlock, fullRoots } from '../primitives/flat-tree.ts'
import { type BlockRange, joinRanges } from '../primitives/ranges.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import type { TreeNode } from '../wire/message.ts'

/** Blocks that are here, and what proves it. */
export interface Matches {
  /** Ascending, apart from each other. */
  readonly runs: readonly BlockRange[]
  /** Nodes that were learnt on the way; not believed, only compared. */
  readonly path: readonly TreeNode[]
}

/**
 * Compares the leaves of a local file with blocks from `start` on.
 *
 * @param leaves - 40 bytes for each block of the file; those beyond `end` do not count.
 * @throws SynclineError as {@link FeedSession.node}; the signal's reason.
 */
export async function findMatches(
  session: FeedSession,
  start: number,
  end: number,
  leaves: Uint8Array,
  signal?: AbortSignal
): Promise<Matches> {
  const last = Math.min(end, start + leaves.byteLength / NODE_BYTES)
  const local = new LocalTree(start, leaves.subarray(0, NODE_BYTES * (last - start)))
  const options = { timeoutMs: COMPARED_NODE_MS, ...(signal === undefined ? {} : { signal }) }
  const path: TreeNode[] = []
  const runs: [number, number][] = []
  let level: TreeNode[] = await Promise.all(
    fullRoots(session.length)
      .filter((index) => firstBlock(index) < last && endBlock(index) > start)
      .map((index) => session.node(index, options))
  )
  while (level.length > 0) {
    const open: number[] = []
    let compared = 0
    let different = 0
    for (const node of level) {
      if (firstBlock(node.index) >= last || endBlock(node.index) <= start) continue
      const hash = local.hashOf(node.index)
      if (hash !== null) compared++
      if (hash !== null && equalBytes(hash, node.hash)) {
        runs.push([firstBlock(node.index), endBlock(node.index)])
        continue
      }
      if (hash !== null) different++
      if (depth(node.index) > 0) open.push(node.index)
    }
    // Where nearly all is different the bytes themselves are cheaper than to go on asking.
    if (compared >= COMPARED_NODES && different > (3 / 4) * compared) break
    const pairs = await Promise.all(open.map((index) => session.children(index, options)))
    level = pairs.flat()
    path.push(...level)
  }
  return { runs: joinRanges(runs), path }
}

/**
 * Takes blocks as held whose bytes lie where the store finds them.
 *
 * @param leaves - of the blocks from `start` on.
 * @returns how many blocks were taken.
 */
export async function adoptMatches(
  feed: StoredFeed,
  start: number,
  leaves: Uint8Array,
  { runs, path }: Matches
): Promise<number> {
  let adopted = 0
  for (const [from, to] of runs) {
    // One subtree after the other: what lies beside each is among the nodes that were learnt.
    for (const index of spanRoots(from, to, FOLD_BLOCKS_MAX)) {
      const first = firstBlock(index)
      const end = endBlock(index)
      const own = leaves.subarray(NODE_BYTES * (first - start), NODE_BYTES * (end - start))
      if ((await feed.adopt({ start: first, leaves: own, path })) === 'adopted') {
        adopted += end - first
      }
    }
  }
  return adopted
}

/** The tree over the blocks of a file, as it would stand in the feed. */
class LocalTree {
  readonly #start: number
  readonly #end: number
  /** Nodes of each subtree, by its first block. */
  readonly #spans: { readonly first: number; readonly end: number; readonly nodes: Uint8Array }[]

  constructor(start: number, leaves: Uint8Array) {
    this.#start = start
    this.#end = start + leaves.byteLength / NODE_BYTES
    this.#spans = spanRoots(start, this.#end, FOLD_BLOCKS_MAX).map((index) => {
      const first = firstBlock(index)
      const end = endBlock(index)
      const own = leaves.subarray(NODE_BYTES * (first - start), NODE_BYTES * (end - start))
      return { first, end, nodes: foldLeaves(own) }
    })
  }

  /** Null if the node covers more than the file, or more than one fold. */
  hashOf(index: number): Uint8Array | null {
    const first = firstBlock(index)
    const end = endBlock(index)
    if (first < this.#start || end > this.#end) return null
    const span = this.#spans.find((item) => item.first <= first && end <= item.end)
    if (span === undefined) return null
    const at = NODE_BYTES * (index - 2 * span.first)
    return span.nodes.subarray(at + 8, at + NODE_BYTES)
  }
}
