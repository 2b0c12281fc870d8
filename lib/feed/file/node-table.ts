/**
 * Tree nodes by flat index, packed: as objects those of thousands of small feeds weigh five times as much.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import type { TreeNode } from '../../wire/message.ts'
import { nodeAtOffset, putNode } from '../tree/tree-nodes.ts'

const START_NODES = 8
/** Stands for a node that is known to be absent. */
const ABSENT = -1

/** See the module comment. Room is given back by {@link NodeTable.clear} only. */
export class NodeTable {
  /** Flat index -> place in the bytes, or ABSENT. */
  readonly #places: Map<number, number> = new Map()
  #bytes: Uint8Array = new Uint8Array(0)
  #used = 0

  get size(): number {
    return this.#places.size
  }

  indexes(): IterableIterator<number> {
    return this.#places.keys()
  }

  /** A node, null if it is known to be absent, undefined if nothing is known. */
  get(index: number): TreeNode | null | undefined {
    const place = this.#places.get(index)
    if (place === undefined) return undefined
    return place === ABSENT ? null : nodeAtOffset(this.#bytes, NODE_BYTES * place, index)
  }

  /** Keeps a copy of a node; null: it is absent. */
  put(index: number, node: TreeNode | null): void {
    if (node === null) {
      this.#places.set(index, ABSENT)
      return
    }
    const known = this.#places.get(index) ?? ABSENT
    const place = known === ABSENT ? this.#used++ : known
    this.#reserve(NODE_BYTES * this.#used)
    putNode(this.#bytes, NODE_BYTES * place, node)
    this.#places.set(index, place)
  }

  delete(index: number): void {
    this.#places.delete(index)
  }

  clear(): void {
    this.#places.clear()
    this.#bytes = new Uint8Array(0)
    this.#used = 0
  }

  #reserve(byteLength: number): void {
    if (byteLength <= this.#bytes.byteLength) return
    const grown = new Uint8Array(Math.max(2 * this.#bytes.byteLength, NODE_BYTES * START_NODES))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}
