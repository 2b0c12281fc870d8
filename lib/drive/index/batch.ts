/**
 * Changes of an index, made to the tree in memory and written as one block each.
 *
 * As Hyperbee's batch does it, a node stands in the block of the change that touched it last, so that the last
 * block holds the root and blocks before it only what is still used. Only the paths to what changes are read.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { INDEX_DEPTH_MAX } from '../../limits.ts'
import {
  changeBytes,
  encodeHeader,
  NODE_KEYS_MAX,
  NODE_KEYS_MIN,
  writeChange,
  type Node
} from './block.ts'
import type { BlockCache } from './block-cache.ts'
import { nodeAt, rootOf } from './cursor.ts'

/** A value for a key, or its deletion (null). The bytes stay unchanged until the promise settles. */
export interface Change {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

/** Marks a branch that no change has touched. */
const UNTOUCHED = -1

/** A key of a node: the block that holds it, and its bytes once they are known. */
interface Slot {
  readonly seq: number
  bytes: Uint8Array | null
}

/** A node in memory. Untouched ones are at `seq` and `level`, and empty until they are loaded. */
interface Branch {
  seq: number
  level: number
  /** Number of the change that touched it last. */
  touched: number
  loaded: boolean
  keys: Slot[]
  children: Branch[]
}

/** See `DriveIndex.encode`. */
export async function encodeChanges(
  blocks: BlockCache,
  changes: Iterable<Change>,
  contentFeed: Uint8Array | null
): Promise<Uint8Array[]> {
  const { length } = blocks.source
  const first = Math.max(1, length)
  const root = await rootOf(blocks, length)
  const batch = new Batch(blocks, first, root, length - 1)
  for (const { key, value } of changes) {
    if (value === null) await batch.delete(key)
    else await batch.put(key, value)
  }
  const encoded = batch.encode()
  if (encoded.length === 0 || length > 0) return encoded
  return [encodeHeader(contentFeed), ...encoded]
}

class Batch {
  readonly #blocks: BlockCache
  /** Block of the first change. */
  readonly #first: number
  readonly #changes: Change[] = []
  #root: Branch

  constructor(blocks: BlockCache, first: number, root: Node | null, rootBlock: number) {
    this.#blocks = blocks
    this.#first = first
    this.#root = root === null ? newBranch(0, [], []) : branchAt(rootBlock, 0, root)
  }

  async put(key: Uint8Array, value: Uint8Array): Promise<void> {
    const number = this.#changes.length
    const slot: Slot = { seq: this.#first + number, bytes: key }
    const path: Branch[] = []
    let branch = this.#root
    for (;;) {
      if (!branch.loaded) await this.#load(branch)
      branch.touched = number
      const { keys, children } = branch
      let start = 0
      let end = keys.length
      let found = false
      while (start < end) {
        const middle = (start + end) >> 1
        const other = keys[middle] as Slot
        const order = Buffer.compare(key, other.bytes ?? (await this.#keyOf(other)))
        if (order === 0) {
          keys[middle] = slot
          found = true
          break
        }
        if (order < 0) end = middle
        else start = middle + 1
      }
      if (found) break
      if (children.length === 0) {
        keys.splice(start, 0, slot)
        this.#split(branch, path)
        break
      }
      this.#descend(path, branch)
      branch = children[start] as Branch
    }
    this.#changes.push({ key, value })
  }

  async delete(key: Uint8Array): Promise<void> {
    const path: Branch[] = []
    let branch = this.#root
    for (;;) {
      if (!branch.loaded) await this.#load(branch)
      this.#descend(path, branch)
      const { keys, children } = branch
      let start = 0
      let end = keys.length
      while (start < end) {
        const middle = (start + end) >> 1
        const other = keys[middle] as Slot
        const order = Buffer.compare(key, other.bytes ?? (await this.#keyOf(other)))
        if (order === 0) return this.#deleteAt(path, middle, key)
        if (order < 0) end = middle
        else start = middle + 1
      }
      // Nothing was touched so far: deleting what is not there changes nothing.
      if (children.length === 0) return
      branch = children[start] as Branch
    }
  }

  /** The blocks, from the first change to the last. */
  encode(): Uint8Array[] {
    const changes = this.#changes
    if (changes.length === 0) return []
    const nodes: Branch[][] = Array.from(changes, () => [])
    place(this.#root, nodes, this.#first)
    const plain = nodes.map((list) => list.map(plainNode))
    let total = 0
    const ends = changes.map(({ key, value }, i) => {
      total += changeBytes(plain[i] as Node[], key, value)
      return total
    })
    const bytes = new Uint8Array(total)
    let start = 0
    return changes.map(({ key, value }, i) => {
      writeChange(bytes, start, plain[i] as Node[], key, value)
      const end = ends[i] as number
      const block = bytes.subarray(start, end)
      start = end
      return block
    })
  }

  /** Splits a branch that has a key too many, and those above it that then have. */
  #split(branch: Branch, path: Branch[]): void {
    const number = this.#changes.length
    let left = branch
    while (left.keys.length > NODE_KEYS_MAX) {
      const half = left.keys.length >> 1
      const right = newBranch(
        number,
        left.keys.splice(half + 1),
        left.children.length === 0 ? [] : left.children.splice(half + 1)
      )
      const median = left.keys.pop() as Slot
      const parent = path.pop()
      if (parent === undefined) {
        this.#root = newBranch(number, [median], [left, right])
        return
      }
      const at = parent.children.indexOf(left)
      parent.keys.splice(at, 0, median)
      parent.children.splice(at + 1, 0, right)
      left = parent
    }
  }

  /** Deletes key `at` of the last branch of `path`. */
  async #deleteAt(path: Branch[], at: number, key: Uint8Array): Promise<void> {
    const branch = path[path.length - 1] as Branch
    if (branch.children.length === 0) branch.keys.splice(at, 1)
    else branch.keys[at] = await this.#takeNearest(path, branch, at)
    const number = this.#changes.length
    for (const touched of path) touched.touched = number
    await this.#rebalance(path, number)
    this.#changes.push({ key, value: null })
  }

  /** Takes the key before or after key `at` of an inner branch out of the leaf that has more of them. */
  async #takeNearest(path: Branch[], branch: Branch, at: number): Promise<Slot> {
    const before = await this.#edge(branch.children[at] as Branch, true)
    const after = await this.#edge(branch.children[at + 1] as Branch, false)
    const left = (before.at(-1) as Branch).keys
    const right = (after.at(-1) as Branch).keys
    const later = left.length < right.length
    for (const one of later ? after : before) this.#descend(path, one)
    return (later ? right.shift() : left.pop()) as Slot
  }

  /** The branches from one down to its last or first leaf, loaded. */
  async #edge(branch: Branch, last: boolean): Promise<Branch[]> {
    const path: Branch[] = []
    for (let next: Branch | undefined = branch; next !== undefined;) {
      if (!next.loaded) await this.#load(next)
      this.#descend(path, next)
      next = last ? next.children.at(-1) : next.children[0]
    }
    return path
  }

  /** Gives branches that have too few keys some of their neighbour's, or joins them with it. */
  async #rebalance(path: Branch[], number: number): Promise<void> {
    while (path.length > 1) {
      const branch = path.pop() as Branch
      const parent = path[path.length - 1] as Branch
      if (branch.keys.length >= NODE_KEYS_MIN) return
      const at = parent.children.indexOf(branch)
      const left = await this.#loaded(parent.children[at - 1])
      const right = await this.#loaded(parent.children[at + 1])
      if (left !== null && left.keys.length > NODE_KEYS_MIN) {
        left.touched = number
        branch.keys.unshift(parent.keys[at - 1] as Slot)
        const child = left.children.pop()
        if (child !== undefined) branch.children.unshift(child)
        parent.keys[at - 1] = left.keys.pop() as Slot
        return
      }
      if (right !== null && right.keys.length > NODE_KEYS_MIN) {
        right.touched = number
        branch.keys.push(parent.keys[at] as Slot)
        const child = right.children.shift()
        if (child !== undefined) branch.children.push(child)
        parent.keys[at] = right.keys.shift() as Slot
        return
      }
      if (left !== null) join(parent, at - 1, number)
      else if (right !== null) join(parent, at, number)
    }
    const only = this.#root.children[0]
    if (this.#root.keys.length === 0 && only !== undefined) this.#root = only
  }

  async #loaded(branch: Branch | undefined): Promise<Branch | null> {
    if (branch === undefined) return null
    if (!branch.loaded) await this.#load(branch)
    return branch
  }

  async #load(branch: Branch): Promise<void> {
    const block = this.#blocks.peek(branch.seq) ?? (await this.#blocks.load(branch.seq))
    const { keys, children } = branchAt(branch.seq, branch.level, nodeAt(block, branch.level))
    branch.keys = keys
    branch.children = children
    branch.loaded = true
  }

  async #keyOf(slot: Slot): Promise<Uint8Array> {
    const block = this.#blocks.peek(slot.seq) ?? (await this.#blocks.load(slot.seq))
    slot.bytes = block.key
    return block.key
  }

  #descend(path: Branch[], branch: Branch): void {
    if (path.push(branch) > INDEX_DEPTH_MAX) {
      throw new SynclineError('BAD_MESSAGE', 'the index is broken: its nodes are no tree')
    }
  }
}

/** Joins children `at` and `at + 1` of a branch, and the key between them, in the first. */
function join(parent: Branch, at: number, number: number): void {
  const left = parent.children[at] as Branch
  const [right] = parent.children.splice(at + 1, 1) as [Branch]
  const [median] = parent.keys.splice(at, 1) as [Slot]
  left.touched = number
  left.keys.push(median, ...right.keys)
  left.children.push(...right.children)
}

/** Gives each touched branch its place: among the nodes of the change that touched it last, the root first. */
function place(branch: Branch, nodes: Branch[][], first: number): void {
  const list = nodes[branch.touched] as Branch[]
  branch.seq = first + branch.touched
  branch.level = list.push(branch) - 1
  for (const child of branch.children) if (child.touched !== UNTOUCHED) place(child, nodes, first)
}

function plainNode({ keys, children }: Branch): Node {
  return {
    keys: keys.map((slot) => slot.seq),
    children: children.flatMap(({ seq, level }) => [seq, level])
  }
}

function newBranch(touched: number, keys: Slot[], children: Branch[]): Branch {
  return { seq: 0, level: 0, touched, loaded: true, keys, children }
}

function branchAt(seq: number, level: number, node: Node): Branch {
  const children: Branch[] = []
  for (let i = 0; i < node.children.length; i += 2) {
    children.push({
      seq: node.children[i] as number,
      level: node.children[i + 1] as number,
      touched: UNTOUCHED,
      loaded: false,
      keys: [],
      children: []
    })
  }
  const keys = node.keys.map((key) => ({ seq: key, bytes: null }))
  return { seq, level, touched: UNTOUCHED, loaded: true, keys, children }
}
