import { sodium } from './sodium.ts'

const NODE_BYTES = 40
/** Blocks from here on are not copied behind their prefix: a batch of two costs libsodium's binding less than that. */
const BATCH_BYTES = 2048
/** Trees of 2^53 blocks have no more roots. */
const HEIGHTS = 54

/** A tree that grows leaf by leaf: every leaf and parent is hashed once, and no object is made for a parent. */
export class FloorTree {
  readonly #blockBytes: number
  readonly #leaf: Buffer
  readonly #prefix: Buffer
  readonly #parent: Buffer = Buffer.alloc(73)
  readonly #hash: Buffer = Buffer.alloc(32)
  /** Hash of the root of each height, there while bit `height` of the count is set. */
  readonly #roots: readonly Buffer[] = Array.from({ length: HEIGHTS }, () => Buffer.alloc(32))
  #count = 0

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes
    this.#leaf = Buffer.alloc(9 + Math.min(blockBytes, BATCH_BYTES))
    this.#prefix = this.#leaf.subarray(0, 9)
    this.#leaf.writeUInt32LE(blockBytes, 1)
    this.#parent[0] = 1
  }

  /** Hashes whole blocks; gives nodes of 40 bytes in the order in which they were hashed. */
  add(bytes: Uint8Array): Buffer {
    const blocks = bytes.byteLength / this.#blockBytes
    const nodes = Buffer.allocUnsafe(NODE_BYTES * (2 * blocks + HEIGHTS))
    const hash = this.#hash
    let used = 0
    for (let i = 0; i < blocks; i++) {
      this.#hashLeaf(bytes.subarray(i * this.#blockBytes, (i + 1) * this.#blockBytes))
      used = putNode(nodes, used, this.#blockBytes, hash)
      let height = 0
      for (let left = this.#count; left % 2 === 1; left = (left - 1) / 2) {
        const size = this.#blockBytes * 2 ** (height + 1)
        putSize(this.#parent, 1, size)
        this.#parent.set(this.#roots[height] as Buffer, 9)
        this.#parent.set(hash, 41)
        sodium.crypto_generichash(hash, this.#parent)
        used = putNode(nodes, used, size, hash)
        height++
      }
      this.#roots[height]?.set(hash)
      this.#count++
    }
    return nodes.subarray(0, used)
  }

  /** All roots, joined, in hex. */
  digest(): string {
    const roots = this.#roots.filter((_, height) => Math.floor(this.#count / 2 ** height) % 2 === 1)
    return Buffer.concat(roots).toString('hex')
  }

  #hashLeaf(block: Uint8Array): void {
    if (this.#blockBytes < BATCH_BYTES) {
      this.#leaf.set(block, 9)
      sodium.crypto_generichash(this.#hash, this.#leaf)
    } else sodium.crypto_generichash_batch(this.#hash, [this.#prefix, block])
  }
}

function putNode(nodes: Buffer, at: number, size: number, hash: Buffer): number {
  putSize(nodes, at, size)
  nodes.set(hash, at + 8)
  return at + NODE_BYTES
}

function putSize(bytes: Buffer, at: number, size: number): void {
  bytes.writeUInt32LE(size % 2 ** 32, at)
  bytes.writeUInt32LE(Math.floor(size / 2 ** 32), at + 4)
}
