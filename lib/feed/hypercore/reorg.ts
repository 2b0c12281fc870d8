/**
 * Following a higher fork on a live Hypercore, by its own `ReorgBatch`.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import type { BlockRequest, Proof, TreeNode } from '../../wire/message.ts'
import { equalBytes } from '../bytes.ts'
import type { Reorg } from '../feed.ts'
import { hypercoreError } from './error.ts'
import type { RawReorg } from './hypercore-like.ts'
import { toRawProof } from './proof.ts'
import { checkProof } from '../tree/proof-fold.ts'

/** See {@link Reorg}. */
export class HypercoreReorg implements Reorg {
  readonly fork: number
  readonly length: number
  readonly #batch: RawReorg
  readonly #readNode: (index: number) => Promise<TreeNode | null>
  readonly #commit: (batch: RawReorg) => Promise<boolean>
  /** Leaves whose sizes nothing vouches for: a parent hash covers only their sum. */
  readonly #untied: Set<number> = new Set()

  /** `commit` truncates the core to the batch, or resolves to false if the batch is stale. */
  constructor(
    batch: RawReorg,
    readNode: (index: number) => Promise<TreeNode | null>,
    commit: (batch: RawReorg) => Promise<boolean>
  ) {
    this.fork = batch.fork
    this.length = batch.length
    this.#batch = batch
    this.#readNode = readNode
    this.#commit = commit
  }

  get next(): BlockRequest | null {
    const want = this.#batch.want
    return want && { index: 2 * want.start, nodes: want.nodes }
  }

  async accept(proof: Proof): Promise<void> {
    const next = this.next
    if (next === null) throw new SynclineError('INVALID_OPERATION', 'nothing more is needed')
    checkProof(proof)
    // A leaf's hash does not cover its index, so the shape is held against what was asked for.
    if (proof.fork !== this.fork || proof.hash?.index !== next.index) {
      throw new SynclineError('INVALID_PROOF', `no answer for node ${next.index}`)
    }
    if (proof.hash.nodes.length !== next.nodes + 1 || proof.seek || proof.upgrade) {
      throw new SynclineError(
        'INVALID_PROOF',
        `more or less than ${next.nodes} parents were proven`
      )
    }
    const untied = await this.#untiedOf(proof.hash.nodes)
    const diff = this.#batch.diff
    try {
      await this.#batch.update(toRawProof(proof))
    } catch (error) {
      throw hypercoreError(error, 'proof', { node: next.index })
    }
    if (this.#batch.want !== null && this.#batch.diff === diff) {
      throw new SynclineError('INVALID_CHECKSUM', 'the nodes do not hash to what differs', {
        node: next.index
      })
    }
    for (const node of untied) this.#untied.add(node.index)
  }

  async commit(): Promise<number | null> {
    if (this.next !== null) {
      throw new SynclineError('INVALID_OPERATION', 'the first difference is not known yet')
    }
    const batch = this.#batch
    // A node that an earlier truncation left beyond the end may be the same in the new fork.
    batch.ancestors = Math.min(batch.ancestors, batch.treeLength)
    batch.nodes = batch.nodes.filter((node) => !this.#untied.has(node.index))
    return (await this.#commit(batch)) ? batch.ancestors : null
  }

  /** Leaves that are not to be stored. One that stays keeps its size, which ties that of its sibling. */
  async #untiedOf([leaf, sibling]: readonly TreeNode[]): Promise<TreeNode[]> {
    if (leaf === undefined || sibling === undefined) return []
    const stored = await this.#readNode(leaf.index)
    if (stored === null || !equalBytes(stored.hash, leaf.hash)) return [leaf, sibling]
    if (stored.size === leaf.size) return []
    throw new SynclineError('INVALID_CHECKSUM', `node ${leaf.index} has another size`, {
      node: leaf.index
    })
  }
}
