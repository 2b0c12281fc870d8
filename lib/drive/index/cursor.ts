/**
 * A place in the tree of one version that moves over its nodes in the order of the keys.
 *
 * What it stands on is a key, or a subtree that can be entered or passed over.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { INDEX_DEPTH_MAX, INDEX_READ_AHEAD_BLOCKS } from '../../limits.ts'
import type { Node } from './block.ts'
import type { BlockCache, CachedBlock } from './block-cache.ts'

/** Levels below an entered node that are asked for ahead, if any shall be. */
const AHEAD_LEVELS = 3

/** How a {@link TreeCursor} moves. */
export interface CursorOptions {
  /** From the last key to the first. Default: false. */
  readonly reverse?: boolean
  /** Fetches from peers what it will come to. Default: false. */
  readonly readAhead?: boolean
}

/** A key, and whether it belongs to what lies behind it. */
export interface Bound {
  readonly key: Uint8Array
  readonly included: boolean
}

/** A node and the place in it: child `i` is at position `2 i`, key `i` at `2 i + 1`. */
interface Frame {
  readonly node: Node
  position: number
}

/** See the module comment. */
export class TreeCursor {
  readonly #blocks: BlockCache
  readonly #version: number
  readonly #step: 1 | -1
  readonly #frames: Frame[] = []
  readonly #readsAhead: boolean
  #entered = 0
  /** Nodes that were looked at to read ahead. */
  #seen = 0
  #ahead = 0

  /** Stands nowhere until {@link open}. */
  constructor(blocks: BlockCache, version: number, options: CursorOptions = {}) {
    this.#blocks = blocks
    this.#version = version
    this.#step = options.reverse === true ? -1 : 1
    this.#readsAhead = options.readAhead === true
  }

  /** Goes to the first key, or to the first not before `from`. */
  async open(from: Bound | null = null): Promise<void> {
    let node = await rootOf(this.#blocks, this.#version)
    for (;;) {
      if (node === null) return
      const frame = this.#push(node)
      if (from === null) {
        if (this.#readsAhead) this.#readAhead(node, AHEAD_LEVELS)
        return
      }
      const { at, found } = await searchNode(this.#blocks, node, from.key)
      frame.position = 2 * at + (found ? 1 : 0)
      if (found) {
        if (!from.included) frame.position += this.#step
        return
      }
      if (node.children.length === 0) {
        // Between two keys: the next one in our direction.
        frame.position += this.#step
        return
      }
      node = await this.#child(frame)
      frame.position += this.#step
    }
  }

  /** True at the end. Must be asked before any of the following. */
  settle(): boolean {
    for (;;) {
      const frame = this.#frames.at(-1)
      if (frame === undefined) return true
      const { node, position } = frame
      if (position < 0 || position > 2 * node.keys.length) this.#frames.pop()
      else if (position % 2 === 0 && node.children.length === 0) frame.position += this.#step
      else return false
    }
  }

  get onKey(): boolean {
    return this.#top().position % 2 === 1
  }

  /** Block of the key. */
  get key(): number {
    const { node, position } = this.#top()
    return node.keys[(position - 1) / 2] as number
  }

  /** Block and level of the subtree. */
  get child(): readonly [block: number, level: number] {
    const { node, position } = this.#top()
    return [node.children[position] as number, node.children[position + 1] as number]
  }

  /** Block of the key that stands here or follows the subtree; null if none follows. */
  get bound(): number | null {
    for (let i = this.#frames.length - 1; i >= 0; i--) {
      const { node, position } = this.#frames[i] as Frame
      const at = Math.floor(position / 2)
      if (at < node.keys.length) return node.keys[at] as number
    }
    return null
  }

  /** Passes over the key or the whole subtree. */
  pass(): void {
    this.#top().position += this.#step
  }

  /** Goes into the subtree; it counts as passed over in the node above. */
  async enter(): Promise<void> {
    const frame = this.#top()
    const node = await this.#child(frame)
    frame.position += this.#step
    this.#push(node)
    if (this.#readsAhead) this.#readAhead(node, AHEAD_LEVELS)
  }

  #top(): Frame {
    return this.#frames[this.#frames.length - 1] as Frame
  }

  #push(node: Node): Frame {
    // A tree has fewer nodes than its feed has blocks: more is a circle, or one subtree in many places.
    if (this.#frames.length >= INDEX_DEPTH_MAX || ++this.#entered > this.#version) {
      throw new SynclineError('BAD_MESSAGE', 'the index is broken: its nodes are no tree')
    }
    const frame = { node, position: this.#step === 1 ? 0 : 2 * node.keys.length }
    this.#frames.push(frame)
    return frame
  }

  async #child({ node, position }: Frame): Promise<Node> {
    const index = node.children[position] as number
    const block = this.#blocks.peek(index) ?? (await this.#blocks.load(index))
    return nodeAt(block, node.children[position + 1] as number)
  }

  /** Asks the network for what lies below a node before it is reached. Errors show when it is. */
  #readAhead(node: Node, levels: number): void {
    // Each node is met once for itself and once for each level above it, unless it is in many places.
    if (++this.#seen > (AHEAD_LEVELS + 1) * this.#version) return
    for (const key of node.keys) this.#fetch(key, null)
    if (levels === 0) return
    for (let i = 0; i < node.children.length; i += 2) {
      const level = node.children[i + 1] as number
      this.#fetch(node.children[i] as number, (block) => {
        const child = block.all()[level]
        if (child !== undefined) this.#readAhead(child, levels - 1)
      })
    }
  }

  #fetch(index: number, then: ((block: CachedBlock) => void) | null): void {
    const blocks = this.#blocks
    try {
      const present = blocks.peek(index)
      if (present !== null) return then?.(present)
    } catch {
      return
    }
    if (this.#ahead >= INDEX_READ_AHEAD_BLOCKS || !blocks.isFar(index)) return
    this.#ahead++
    blocks
      .load(index)
      .then((block) => then?.(block))
      .catch(() => {})
      .finally(() => this.#ahead--)
  }
}

/** The root of a version; null if it has no changes. @throws SynclineError BAD_MESSAGE. */
export async function rootOf(blocks: BlockCache, version: number): Promise<Node | null> {
  if (version < 2) return null
  const block = blocks.peek(version - 1) ?? (await blocks.load(version - 1))
  return block.node(0)
}

/** A node below the root. @throws SynclineError BAD_MESSAGE. */
export function nodeAt(block: CachedBlock, level: number): Node {
  const node = block.node(level)
  if (node.keys.length === 0) {
    throw new SynclineError('BAD_MESSAGE', `node ${level} of block ${block.index} has no keys`, {
      index: block.index
    })
  }
  return node
}

/** The place of a key among the keys of a node, or where it would stand. */
export async function searchNode(
  blocks: BlockCache,
  node: Node,
  key: Uint8Array
): Promise<{ at: number; found: boolean }> {
  let start = 0
  let end = node.keys.length
  while (start < end) {
    const middle = (start + end) >> 1
    const index = node.keys[middle] as number
    const block = blocks.peek(index) ?? (await blocks.load(index))
    const order = Buffer.compare(key, block.key)
    if (order === 0) return { at: middle, found: true }
    if (order < 0) end = middle
    else start = middle + 1
  }
  return { at: start, found: false }
}
