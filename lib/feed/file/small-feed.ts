/**
 * The state of a small copy that stands in a journal: all but the bytes of its blocks, of which it knows the place.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import {
  JOURNAL_RECORD_BYTES_MAX,
  SMALL_FEED_BLOCKS,
  SMALL_FEED_BYTES,
  SMALL_FEED_COMMITS
} from '../../limits.ts'
import { Bitmap } from '../../primitives/bitmap.ts'
import { fullRoots } from '../../primitives/flat-tree.ts'
import { type BlockRange, joinRanges } from '../../primitives/ranges.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { TreeNode } from '../../wire/message.ts'
import { copyBytes, equalBytes } from '../bytes.ts'
import type { Commit, Head, NodeRun } from '../store.ts'
import { nodeAtOffset, putNode } from '../tree/tree-nodes.ts'
import type { CommitRecord, DataPlace } from './journal-record.ts'

const NO_BYTES: Uint8Array = new Uint8Array(0)

/** Bytes of blocks, and the record that holds them. */
export interface StoredData extends DataPlace {
  /** Number of the commit, the first one being 0. */
  readonly commit: number
}

/** See the module comment. */
export class SmallFeed {
  head: Head = { fork: 0, length: 0, rootHash: NO_BYTES, signature: NO_BYTES }
  manifest: Manifest | null = null
  have: readonly BlockRange[] = []
  data: readonly StoredData[] = []
  /** Commits so far. */
  commits = 0
  /** Nodes by their flat indexes, 40 bytes each, zeros where one is absent. */
  #nodes: Uint8Array = NO_BYTES

  /** True if the feed with this commit may still stand in a journal. */
  fits(commit: Commit): boolean {
    const { head, manifest, bits = [], data = [], nodes = [], nodeRuns = [] } = commit
    if (commit.userData !== undefined || commit.frozen !== undefined) return false
    if (this.commits >= SMALL_FEED_COMMITS || bits.some(({ drop }) => drop)) return false
    if (head !== undefined) {
      const grows = head.ancestors === this.head.length && head.length > this.head.length
      if (!grows || head.length > SMALL_FEED_BLOCKS) return false
      if (this.head.length > 0 && head.fork !== this.head.fork) return false
      if (!(this.#byteLength(head.length, nodes) <= SMALL_FEED_BYTES)) return false
    }
    let byteLength = NODE_BYTES * nodes.length
    if (manifest !== undefined) {
      const { signers, linked, userData } = manifest
      byteLength += 80 * signers.length + 32 * (linked?.length ?? 0) + (userData?.byteLength ?? 0)
    }
    for (const { bytes } of nodeRuns) byteLength += bytes.byteLength
    for (const { parts } of data) for (const part of parts) byteLength += part.byteLength
    return byteLength <= JOURNAL_RECORD_BYTES_MAX / 2
  }

  /** True if another one has the same head, manifest, blocks and nodes, whatever commits brought them. */
  equals(other: SmallFeed): boolean {
    const { head, have, manifest } = this
    const count = 2 * head.length
    return (
      head.fork === other.head.fork &&
      head.length === other.head.length &&
      equalBytes(head.rootHash, other.head.rootHash) &&
      (manifest === null) === (other.manifest === null) &&
      have.length === other.have.length &&
      have.every(([start, end], i) => {
        const range = other.have[i]
        return range?.[0] === start && range[1] === end
      }) &&
      equalBytes(this.nodeRun(0, count), other.nodeRun(0, count))
    )
  }

  /** Takes over a commit that was written. */
  apply(commit: Commit, places: readonly DataPlace[]): void {
    const { head, manifest, bits = [], nodes = [], nodeRuns = [] } = commit
    for (const node of nodes) {
      this.#reserve(node.index + 1)
      putNode(this.#nodes, NODE_BYTES * node.index, node)
    }
    // Nobody changes a manifest.
    if (manifest !== undefined) this.manifest = manifest
    const added = bits.map(({ start, end }): BlockRange => [start, end])
    this.#apply(head ?? null, added, nodeRuns, places)
  }

  /** Takes over a commit that was read; its bytes are copied. */
  load({ head, manifest, bits, nodeRuns, data }: CommitRecord): void {
    if (manifest !== null) this.manifest = manifest
    this.#apply(head, bits, nodeRuns, data)
  }

  node(index: number): TreeNode | null {
    const at = NODE_BYTES * index
    return at + NODE_BYTES > this.#nodes.byteLength ? null : nodeAtOffset(this.#nodes, at, index)
  }

  /** Nodes at flat indexes `[first, first + count)`, all zero where absent: the caller's. */
  nodeRun(first: number, count: number): Uint8Array {
    const bytes = new Uint8Array(NODE_BYTES * count)
    bytes.set(this.#nodes.subarray(NODE_BYTES * first, NODE_BYTES * (first + count)))
    return bytes
  }

  /** All nodes, one after the other. */
  *nodes(): Iterable<TreeNode> {
    for (let index = 0; NODE_BYTES * index < this.#nodes.byteLength; index++) {
      const node = this.node(index)
      if (node !== null) yield node
    }
  }

  bitmap(): Bitmap {
    const bitmap = new Bitmap()
    for (const [start, end] of this.have) bitmap.setRange(start, end, true)
    return bitmap
  }

  /** Blocks held from the first on. */
  get contiguousLength(): number {
    const [first] = this.have
    return first !== undefined && first[0] === 0 ? first[1] : 0
  }

  #apply(
    head: Head | null,
    bits: readonly BlockRange[],
    nodeRuns: readonly NodeRun[],
    places: readonly DataPlace[]
  ): void {
    for (const { first, bytes } of nodeRuns) {
      this.#reserve(first + bytes.byteLength / NODE_BYTES)
      this.#nodes.set(bytes, NODE_BYTES * first)
    }
    if (head !== null) {
      const { fork, length, rootHash, signature } = head
      this.head = { fork, length, rootHash: copyBytes(rootHash), signature: copyBytes(signature) }
    }
    if (bits.length > 0) this.have = joinRanges(this.have.concat(bits))
    if (places.length > 0) {
      const commit = this.commits
      const added = places.map(({ offset, byteLength, at }) => ({ offset, byteLength, at, commit }))
      this.data = this.data.concat(added)
    }
    this.commits++
  }

  /** Bytes of a feed of `length` blocks with these nodes; NaN if its roots are not known. */
  #byteLength(length: number, nodes: readonly TreeNode[]): number {
    let byteLength = 0
    for (const index of fullRoots(length)) {
      const root = nodes.find((node) => node.index === index) ?? this.node(index)
      byteLength += root?.size ?? Number.NaN
    }
    return byteLength
  }

  #reserve(count: number): void {
    if (NODE_BYTES * count <= this.#nodes.byteLength) return
    const grown = new Uint8Array(NODE_BYTES * Math.max(count, 2 * (this.head.length || 8)))
    grown.set(this.#nodes)
    this.#nodes = grown
  }
}
