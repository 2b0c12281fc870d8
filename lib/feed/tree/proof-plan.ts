/**
 * Which nodes a proof consists of: geometry only, the same for whoever builds and whoever checks.
 *
 * Source: hypercore 11 `lib/merkle-tree.js`, whose order of nodes this is.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { endBlock, firstBlock, nodeAt, parent, sibling } from '../../primitives/flat-tree.ts'
import type { UpgradeRequest } from '../../wire/message.ts'

/**
 * Roots of the largest subtrees that cover blocks `[start, end)`, left to right. From 0 these are the
 * full roots; from any other length they are what makes a tree of `start` blocks one of `end` blocks.
 *
 * @param blocksMax - the largest subtree, a power of two; default: no bound
 */
export function spanRoots(start: number, end: number, blocksMax: number = Infinity): number[] {
  const roots: number[] = []
  for (let block = start; block < end;) {
    let height = 0
    let size = 1
    while (size < blocksMax && block % (2 * size) === 0 && block + 2 * size <= end) {
      size *= 2
      height++
    }
    roots.push(nodeAt(height, block / size))
    block += size
  }
  return roots
}

/** True if node `inner` is `outer` or lies below it. */
export function isBelow(outer: number, inner: number): boolean {
  return firstBlock(outer) <= firstBlock(inner) && endBlock(inner) <= endBlock(outer)
}

/**
 * The node `count` parents above `index`.
 *
 * @throws SynclineError INVALID_OPERATION when it would reach beyond `length` blocks
 */
export function climb(index: number, count: number, length: number): number {
  let at = index
  for (let i = 0; i < count; i++) {
    at = parent(at)
    if (endBlock(at) > length) {
      throw new SynclineError('INVALID_OPERATION', `${count} parents of node ${index} do not exist`)
    }
  }
  return at
}

/** Flat indexes of the nodes of each part of a proof; null for a part that is not there. */
export interface ProofPlan {
  node: number[] | null
  seek: number[] | null
  upgrade: number[] | null
  additional: number[] | null
}

/** What is known before a proof is planned; see {@link planProof}. */
export interface PlanRequest {
  /** Length of the feed. */
  readonly length: number
  /** Flat index of the block or hash part, and whether it is a hash part, which brings its own node. */
  readonly target: { readonly index: number; readonly own: boolean } | null
  /** The ancestor up to which the target climbs when it lies outside the upgrade. */
  readonly root: number | null
  /** Where the seek part leads, or null without one. */
  readonly seek: number | null
  readonly upgrade: UpgradeRequest | null
}

/** Lists the nodes of a proof. */
export function planProof({ length, target, root, seek, upgrade }: PlanRequest): ProofPlan {
  const plan: ProofPlan = { node: null, seek: null, upgrade: null, additional: null }
  if (target !== null && root !== null) planPath(plan, target, seek, root)
  if (upgrade === null) return plan
  const end = upgrade.start + upgrade.length
  const inner = root === null ? (target?.index ?? seek) : null
  plan.upgrade = []
  for (const index of spanRoots(upgrade.start, end)) {
    // A part inside the new area brings the nodes from which this one is folded.
    if (inner !== null && isBelow(index, inner)) {
      if (target !== null) planPath(plan, target, null, index)
      else plan.seek = pathNodes(inner, index)
    } else {
      plan.upgrade.push(index)
    }
  }
  plan.additional = spanRoots(end, length)
  return plan
}

/** The path from the target up to `root`, where the sibling above a seek is folded from the seek part. */
function planPath(
  plan: ProofPlan,
  target: { readonly index: number; readonly own: boolean },
  seek: number | null,
  root: number
): void {
  plan.node = target.own ? [target.index] : []
  for (let index = target.index; index !== root; index = parent(index)) {
    const next = sibling(index)
    if (seek !== null && seek !== next && isBelow(next, seek)) plan.seek = pathNodes(seek, next)
    else plan.node.push(next)
  }
}

/** A node and the siblings on its way up to `root`. */
function pathNodes(from: number, root: number): number[] {
  const nodes = [from]
  for (let index = from; index !== root; index = parent(index)) nodes.push(sibling(index))
  return nodes
}
