import { leafNode, parentNode } from './sodium.ts'

const NODE_BYTES = 40

/** A tree that grows leaf by leaf, every leaf and parent hashed once. */
export class FloorTree {
  /** Roots from left to right, by height. */
  readonly #roots: { readonly height: number; readonly node: Buffer }[] = []

  /**
   * Hashes the blocks of `bytes`, each of `blockBytes`.
   *
   * @returns nodes of 40 bytes in the order in which they were hashed.
   */
  add(bytes: Uint8Array, blockBytes: number): Buffer {
    const count = bytes.byteLength / blockBytes
    // Each leaf brings one parent on average; those that close older subtrees come on top.
    const nodes = Buffer.allocUnsafe(NODE_BYTES * (2 * count + this.#roots.length))
    let used = 0
    for (let i = 0; i < count; i++) {
      let node = nodes.subarray(used, used + NODE_BYTES)
      used += NODE_BYTES
      leafNode(bytes.subarray(i * blockBytes, (i + 1) * blockBytes), node)
      let height = 0
      for (
        let left = this.#roots.at(-1);
        left !== undefined && left.height === height;
        left = this.#roots.at(-1)
      ) {
        const above = nodes.subarray(used, used + NODE_BYTES)
        used += NODE_BYTES
        parentNode(left.node, node, above)
        this.#roots.pop()
        node = above
        height++
      }
      this.#roots.push({ height, node })
    }
    // What stays must not keep this batch alive.
    for (const [i, root] of this.#roots.entries()) {
      this.#roots[i] = { height: root.height, node: Buffer.from(root.node) }
    }
    return nodes.subarray(0, used)
  }

  /** All roots, joined, in hex. */
  digest(): string {
    return Buffer.concat(this.#roots.map(({ node }) => node)).toString('hex')
  }
}
