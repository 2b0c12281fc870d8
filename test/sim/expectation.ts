/**
 * What must arrive where, once faults are off: worked out from who is connected, who gives and who takes.
 *
 * @module
 */
import type { NodeFeed, SimNode } from './node.ts'
import type { WorldOptions } from './options.ts'
import type { Reference } from './reference.ts'

/** What one node must come to have of one feed. */
export interface Expectation {
  readonly node: SimNode
  readonly entry: NodeFeed
  /** Null if it may stay where it is. */
  readonly head: { readonly fork: number; readonly length: number } | null
  readonly blocks: readonly number[]
  /** True if `synced` must have been told. */
  readonly synced: boolean
  /** True if nothing that is wanted stays missing. */
  readonly whole: boolean
}

/** State of one node while the possible is being worked out. */
interface Possible {
  readonly node: SimNode
  readonly entry: NodeFeed
  /** True if somebody speaks to it of this feed. */
  connected: boolean
  /** True once it is sure to reach the writer's head. */
  head: boolean
  /** Blocks that it holds or is sure to get. */
  readonly blocks: Uint8Array
  /** True if it is sure to hold everything, or is the writer: then it can prove everything. */
  full: boolean
}

/** See the module comment. */
export function expectations(
  nodes: readonly SimNode[],
  references: readonly Reference[],
  options: WorldOptions
): Expectation[] {
  return references.flatMap((reference, at) => ofFeed(nodes, reference, at, options))
}

function ofFeed(
  nodes: readonly SimNode[],
  reference: Reference,
  at: number,
  options: WorldOptions
): Expectation[] {
  const { length, fork } = reference
  // What has no block has no signature: a rewrite that left nothing cannot be followed.
  if (length === 0) return []
  const possible = nodes.map((node): Possible | null => {
    const entry = node.feeds[at] ?? null
    if (entry === null || !node.honest) return null
    const { feed } = entry
    const blocks = new Uint8Array(length)
    const head = feed.length === length && feed.fork === fork
    for (let i = 0; i < length; i++) if (head && feed.have.get(i)) blocks[i] = 1
    return { node, entry, connected: false, head, blocks, full: entry.writes }
  })
  for (let changed = true; changed;) {
    changed = false
    for (const [one, other] of options.edges) {
      const a = possible[one] ?? null
      const b = possible[other] ?? null
      if (a === null || b === null) continue
      if (a.entry.mode === 'serve' && b.entry.mode === 'serve') continue
      a.connected = b.connected = true
      if (flow(a, b)) changed = true
      if (flow(b, a)) changed = true
    }
  }
  return possible.flatMap((one) =>
    one === null || one.entry.writes ? [] : [expectation(one, reference)]
  )
}

/** Lets pass what `from` gives and `to` takes; tells whether that was anything. */
function flow(from: Possible, to: Possible): boolean {
  if (!gives(from.entry) || !takes(to.entry) || !from.head) return false
  let changed = false
  if (!to.head && from.full) changed = to.head = true
  if (!to.head) return changed
  for (let i = 0; i < to.blocks.length; i++) {
    if (to.blocks[i] === 1 || from.blocks[i] === 0 || !wants(to.entry, i)) continue
    to.blocks[i] = 1
    changed = true
  }
  if (!to.full && to.blocks.every((bit) => bit === 1)) changed = to.full = true
  return changed
}

function gives({ mode, direction }: NodeFeed): boolean {
  return (mode === 'both' || mode === 'serve') && direction !== 'download' && direction !== 'none'
}

function takes({ mode, direction, gets }: NodeFeed): boolean {
  if (direction === 'upload' || direction === 'none') return false
  return mode !== 'serve' || gets.size > 0
}

function wants({ wants, gets, mode }: NodeFeed, index: number): boolean {
  return (mode !== 'serve' && wants.has(index)) || gets.has(index)
}

function expectation(
  { node, entry, connected, head, blocks }: Possible,
  { length, fork }: Reference
): Expectation {
  const open: number[] = []
  let whole = head && connected
  for (let i = 0; i < length; i++) {
    if (!wants(entry, i)) continue
    if (blocks[i] === 1) open.push(i)
    else whole = false
  }
  // Who pulls stops at the first moment at which everything is there; what came after is not for it.
  const pulls = entry.mode === 'pull'
  const done = pulls && entry.synced > 0
  const waits = [...entry.gets].filter((index) => index < length && blocks[index] === 1)
  return {
    node,
    entry,
    head: head && !pulls && entry.mode !== 'serve' && takes(entry) ? { fork, length } : null,
    blocks: done ? [] : pulls ? (whole ? [] : []) : open.length > 0 && takes(entry) ? open : waits,
    synced: pulls && whole && length > 0 && takes(entry),
    whole: whole && takes(entry)
  }
}
