/**
 * Nodes of a feed's tree that peers proved and nobody stored, for whoever compares bytes of its own with the tree.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { equalBytes } from '../feed/bytes.ts'
import type { Feed } from '../feed/feed.ts'
import { checkProof, foldParts } from '../feed/tree/proof-fold.ts'
import { LEARNT_PAIRS_MAX } from '../limits.ts'
import { endBlock, parent, sibling } from '../primitives/flat-tree.ts'
import type { BlockRequest, Proof, TreeNode } from '../wire/message.ts'
import type { Clock } from './timers.ts'
import { type WaitOptions, Waiters } from './waiting.ts'

/** Nodes that are looked up before anything else has its turn. */
const ASKED_PER_TURN = 256

/** What is needed to ask. */
export interface NodeAsker {
  readonly feed: Feed
  readonly clock: Clock
  /** Asks peers for nodes, each with the parents to climb up to one that is known. */
  ask(nodes: readonly BlockRequest[]): void
  /** Takes a node back that was asked for. */
  drop(index: number): void
}

/** What an answer brought. */
export interface LearntNodes {
  /** Nodes that are not to be asked for any longer. */
  readonly learned: readonly number[]
  /** The peer that had moved bytes from one sibling to another, or -1. */
  readonly liar: number
}

/** Two siblings, or a root alone. Their hashes are sure. */
interface Pair {
  readonly left: TreeNode
  readonly right: TreeNode | null
  /** True if the sizes are as sure as the hashes; else only their sum is. */
  readonly sure: boolean
  /** Who gave them; -1 if they were stored. */
  readonly peer: number
}

/**
 * See the module comment. A hash covers the size of its node, but not how that is split among those below it: until its
 * children are known, the size of a node is what its peer claims.
 */
export class RemoteNodes {
  readonly #asker: NodeAsker
  /** By the index of the left one, oldest first. */
  readonly #pairs: Map<number, Pair> = new Map()
  /** Who waits for one of two siblings, by the index of the left one: they come together. */
  readonly #waiting: Map<number, Waiters> = new Map()
  /** Those of them that are to be asked for in the next turns. */
  readonly #wanted: number[] = []

  constructor(asker: NodeAsker) {
    this.#asker = asker
  }

  /**
   * A node, which is asked of the peers if it is neither stored nor learnt.
   *
   * @throws SynclineError BAD_ARGUMENT, TIMEOUT, and what {@link RemoteNodes.fail} is given; the signal's reason.
   */
  async get(index: number, options: WaitOptions = {}): Promise<TreeNode> {
    const { length } = this.#asker.feed
    if (!Number.isSafeInteger(index) || index < 0 || endBlock(index) > length) {
      throw new SynclineError('BAD_ARGUMENT', `a feed of ${length} blocks has no node ${index}`)
    }
    let node = this.#find(index)
    if (node === null) {
      const key = keyOf(index)
      const waiters = this.#waitersOf(key)
      const isHere = (): boolean => (node = this.#find(index)) !== null
      try {
        await waiters.wait(isHere, `node ${index} did not come`, options)
      } finally {
        if (waiters.size === 0 && this.#waiting.get(key) === waiters) {
          this.#waiting.delete(key)
          this.#asker.drop(key)
        }
      }
    }
    const { size, hash } = node as unknown as TreeNode
    return { index, size, hash: Uint8Array.from(hash) }
  }

  /**
   * Takes the hash part of an answer to a request of this fork in, if it folds to a node that is known.
   *
   * @throws SynclineError INVALID_PROOF, INVALID_CHECKSUM when it is wrong.
   */
  async take(
    asked: BlockRequest,
    fork: number,
    peer: number,
    { hash }: Proof
  ): Promise<LearntNodes> {
    const proof = { fork, block: null, hash, seek: null, upgrade: null, manifest: null }
    checkProof(proof)
    const { root, nodes, path } = foldParts(proof)
    if (path[0]?.index !== asked.index || root?.index !== topOf(asked)) {
      throw new SynclineError('INVALID_PROOF', `the proof does not climb from ${asked.index}`, {
        node: asked.index
      })
    }
    const { feed } = this.#asker
    const known = (await feed.node(root.index)) ?? this.#find(root.index)
    const learned = [asked.index]
    if (feed.fork !== fork) return { learned, liar: -1 }
    if (known === null) {
      // It was forgotten since.
      this.#want(asked.index)
      return { learned, liar: -1 }
    }
    if (!equalBytes(known.hash, root.hash)) {
      throw new SynclineError('INVALID_CHECKSUM', `node ${root.index} has another hash`, {
        node: root.index
      })
    }
    let liar = this.#settle(root)
    const given = new Map(nodes.map((node) => [node.index, node]))
    for (const node of path.slice(0, -1)) {
      const key = keyOf(node.index)
      const left = given.get(key) as TreeNode
      const right = given.get(sibling(key)) as TreeNode
      const older = this.#pairs.get(key)
      const moved = older !== undefined && older.left.size !== left.size
      // What was a root alone has a sibling once the feed grew.
      if (older === undefined || older.right === null || (node.tied && moved)) {
        this.#keep(key, { left, right, sure: node.tied, peer })
      }
      if (node.tied && moved) liar = older.peer
      if (key !== asked.index && this.#waiting.has(key)) learned.push(key)
    }
    for (const key of learned) this.#tell(key)
    return { learned, liar }
  }

  /** Ends all waits, and forgets what was learnt. */
  fail(error: SynclineError): void {
    this.#pairs.clear()
    for (const waiters of this.#waiting.values()) waiters.fail(error)
  }

  #find(index: number): TreeNode | null {
    const pair = this.#pairs.get(keyOf(index))
    if (pair === undefined) return null
    return pair.left.index === index ? pair.left : pair.right
  }

  /** Corrects the size of a node that is sure now, and its sibling's; returns the peer that had claimed another, or -1. */
  #settle({ index, size }: TreeNode): number {
    const key = keyOf(index)
    const pair = this.#pairs.get(key)
    if (pair === undefined || pair.sure || pair.right === null) return -1
    const { left, right, peer } = pair
    const leftSize = index === key ? size : left.size + right.size - size
    const rightSize = left.size + right.size - leftSize
    this.#pairs.set(key, {
      left: { ...left, size: leftSize },
      right: { ...right, size: rightSize },
      sure: true,
      peer
    })
    return left.size === leftSize ? -1 : peer
  }

  #keep(key: number, pair: Pair): void {
    this.#pairs.set(key, pair)
    for (const oldest of this.#pairs.keys()) {
      if (this.#pairs.size <= LEARNT_PAIRS_MAX) return
      this.#pairs.delete(oldest)
    }
  }

  #waitersOf(key: number): Waiters {
    let waiters = this.#waiting.get(key)
    if (waiters === undefined) {
      waiters = new Waiters(this.#asker.clock)
      this.#waiting.set(key, waiters)
      this.#want(key)
    }
    return waiters
  }

  /** Lets those go on who wait for one of two siblings that are known now. */
  #tell(key: number): void {
    const waiters = this.#waiting.get(key)
    waiters?.check()
    if (waiters?.size === 0) this.#waiting.delete(key)
  }

  /** Asks in the next turn, together with all that is wanted until then. */
  #want(key: number): void {
    if (this.#wanted.push(key) === 1) this.#asker.clock.soon(() => this.#turn())
  }

  #turn(): void {
    const keys = this.#wanted.slice(0, ASKED_PER_TURN)
    void this.#askFor(keys)
      .catch((error: unknown) => {
        for (const key of keys) this.#waiting.get(key)?.fail(error as SynclineError)
      })
      .finally(() => {
        this.#wanted.splice(0, keys.length)
        if (this.#wanted.length > 0) this.#asker.clock.soon(() => this.#turn())
      })
  }

  async #askFor(keys: readonly number[]): Promise<void> {
    const asked: BlockRequest[] = []
    for (const index of keys) {
      const nodes = await this.#distance(index)
      if (nodes > 0) asked.push({ index, nodes })
      else this.#tell(index)
    }
    const waited = asked.filter(({ index }) => this.#waiting.has(index))
    if (waited.length > 0) this.#asker.ask(waited)
  }

  /** Parents to climb from a node to one that is known; 0 if it and its sibling are stored themselves. */
  async #distance(key: number): Promise<number> {
    // What lies below a node that was learnt is hardly ever stored.
    if (this.#find(parent(key)) !== null) return 1
    const { feed } = this.#asker
    const left = await feed.node(key)
    const right = await feed.node(sibling(key))
    const isRoot = endBlock(parent(key)) > feed.length
    if (left !== null && (right !== null || isRoot)) {
      this.#keep(key, { left, right, sure: true, peer: -1 })
      return 0
    }
    const stored = 1 + (await feed.missingNodes(parent(key)))
    let at = parent(key)
    for (let climbed = 1; climbed < stored; climbed++) {
      if (this.#find(at) !== null) return climbed
      at = parent(at)
    }
    return stored
  }
}

/** The left one of a node and its sibling. */
function keyOf(index: number): number {
  return Math.min(index, sibling(index))
}

function topOf({ index, nodes }: BlockRequest): number {
  let top = index
  for (let i = 0; i < nodes; i++) top = parent(top)
  return top
}
