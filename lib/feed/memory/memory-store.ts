/**
 * A store in memory: for tests, for feeds that need not last, and as the plainest example of a store.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import { Bitmap } from '../../primitives/bitmap.ts'
import { endBlock, parent } from '../../primitives/flat-tree.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { TreeNode } from '../../wire/message.ts'
import { copyBytes } from '../bytes.ts'
import { copyManifest } from '../manifest.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { Commit, Head, Identity, Store, StoreState } from '../store.ts'
import { nodeAtOffset, putNode } from '../tree/tree-nodes.ts'

/** Makes a store for a feed that is new to this process. It keeps its content when closed and can be opened again. */
export function memoryStore(identity: Identity): Store {
  return new MemoryStore(identity)
}

class MemoryStore implements Store {
  readonly #identity: Identity
  readonly #data: SparseBytes = new SparseBytes()
  readonly #nodes: SparseBytes = new SparseBytes()
  readonly #userData: Map<string, Uint8Array> = new Map()
  /** Shared with the feed, which changes it after each commit. */
  readonly #bitmap: Bitmap = new Bitmap()
  #manifest: Manifest | null
  #head: Head = {
    fork: 0,
    length: 0,
    rootHash: new Uint8Array(0),
    signature: new Uint8Array(0)
  }
  #contiguousLength = 0
  #frozen = false

  constructor(identity: Identity) {
    this.#identity = identity
    this.#manifest = identity.manifest
  }

  async open(): Promise<StoreState> {
    return {
      identity: { ...this.#identity, manifest: this.#manifest },
      head: this.#head,
      bitmap: this.#bitmap,
      contiguousLength: this.#contiguousLength,
      frozen: this.#frozen,
      doubtful: []
    }
  }

  checked(): void {}

  async getNode(index: number): Promise<TreeNode | null> {
    return nodeAtOffset(this.#nodes.read(NODE_BYTES * index, NODE_BYTES), 0, index)
  }

  async getNodeRun(first: number, count: number): Promise<Uint8Array> {
    return this.#nodes.read(NODE_BYTES * first, NODE_BYTES * count)
  }

  async getBytes(offset: number, byteLength: number): Promise<Uint8Array> {
    return this.#data.read(offset, byteLength)
  }

  async commit(commit: Commit): Promise<void> {
    if (commit.head !== undefined && commit.head.ancestors < this.#head.length) {
      this.#truncate(commit.head.ancestors)
    }
    for (const { offset, parts } of commit.data ?? []) {
      let at = offset
      for (const part of parts) {
        this.#data.write(at, part)
        at += part.byteLength
      }
    }
    for (const { first, bytes } of commit.nodeRuns ?? []) {
      this.#nodes.write(NODE_BYTES * first, bytes)
    }
    for (const node of commit.nodes ?? []) {
      const bytes = new Uint8Array(NODE_BYTES)
      putNode(bytes, 0, node)
      this.#nodes.write(NODE_BYTES * node.index, bytes)
    }
    for (const { name, value } of commit.userData ?? []) {
      if (value === null) this.#userData.delete(name)
      else this.#userData.set(name, copyBytes(value))
    }
    if (commit.head !== undefined) {
      const { fork, length, rootHash, signature } = commit.head
      this.#head = { fork, length, rootHash: copyBytes(rootHash), signature: copyBytes(signature) }
    }
    if (commit.manifest !== undefined) this.#manifest = copyManifest(commit.manifest)
    if (commit.frozen !== undefined) this.#frozen = commit.frozen
    this.#contiguousLength = commit.contiguousLength
  }

  async free(offset: number, byteLength: number): Promise<void> {
    this.#data.free(offset, byteLength)
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    const value = this.#userData.get(name)
    return value === undefined ? null : copyBytes(value)
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  /** Drops the nodes that reach beyond `length` blocks. */
  #truncate(length: number): void {
    if (length === 0) {
      this.#nodes.truncate(0)
      return
    }
    this.#nodes.truncate(NODE_BYTES * (2 * length - 1))
    const top = 2 * this.#head.length
    for (let index = 2 * (length - 1); index < top; index = parent(index)) {
      if (endBlock(index) > length) this.#nodes.free(NODE_BYTES * index, NODE_BYTES)
    }
  }
}
