/**
 * A node that lies: what it sends is changed on its way out.
 *
 * @module
 */
import type { Data, Message, TreeNode } from '../../lib/wire/message.ts'
import type { Prng } from './prng.ts'

/** What can be lied about. */
export const LIES = [
  /** Bytes of a bare block. */
  'bare-value',
  /** Bytes of a block that comes with a proof. */
  'proven-value',
  /** The size of a bare block. */
  'bare-size',
  /** Hash of a tree node. */
  'node-hash',
  /** Size of a tree node. */
  'node-size',
  'signature',
  /** A longer feed than there is. */
  'length',
  /** A higher fork than there is. */
  'fork',
  /** Blocks that are not held. */
  'haves',
  /** Numbers beyond all reason. */
  'huge',
  /** Answers to other requests than those that were made. */
  'request-id',
  /** Answers with another block than was asked. */
  'block-index',
  /** Holds everything, gives nothing, and says so. */
  'refuse',
  /** Holds everything and never answers. */
  'silent',
  /** Answers without what was asked for. */
  'empty',
  /** Two answers for one request. */
  'twice'
] as const

/** One kind of lie. */
export type Lie = (typeof LIES)[number]

/** See the module comment. */
export class Liar {
  readonly #prng: Prng
  readonly #lies: readonly Lie[]
  readonly #rate: number

  constructor(prng: Prng, lies: readonly Lie[], rate: number) {
    this.#prng = prng
    this.#lies = lies
    this.#rate = rate
  }

  /** What is sent instead of these messages. */
  mutate(messages: readonly Message[]): readonly Message[] {
    return messages.flatMap((message) => {
      let lied: Message[] = [message]
      for (const lie of this.#lies) {
        if (!this.#prng.chance(this.#rate)) continue
        lied = lied.flatMap((one) => this.#lie(lie, one))
      }
      return lied
    })
  }

  #lie(lie: Lie, message: Message): Message[] {
    switch (lie) {
      case 'bare-value':
        return [isBare(message) ? this.#spoil(message) : message]
      case 'proven-value':
        return [isProven(message) ? this.#spoil(message) : message]
      case 'bare-size':
        return [isBare(message) ? this.#resize(message) : message]
      case 'node-hash':
        return [this.#changeNodes(message, (node) => ({ ...node, hash: this.#prng.bytes(32) }))]
      case 'node-size':
        return [
          this.#changeNodes(message, (node) => ({
            ...node,
            size: Math.max(0, node.size + this.#prng.int(-3, 5))
          }))
        ]
      case 'signature':
        if (message.type !== 'data' || message.upgrade === null) return [message]
        return [
          {
            ...message,
            upgrade: {
              ...message.upgrade,
              signature: this.#prng.bytes(message.upgrade.signature.byteLength)
            }
          }
        ]
      case 'length':
        if (message.type !== 'sync') return [message]
        return [{ ...message, length: message.length + this.#prng.int(1, 50), canUpgrade: true }]
      case 'fork':
        if (message.type !== 'sync') return [message]
        return [{ ...message, fork: message.fork + 1, length: Math.max(1, message.length) }]
      case 'haves':
        return this.#claim(message, this.#prng.int(1, 2000))
      case 'huge':
        return this.#claim(message, this.#prng.pick([2 ** 40, 2 ** 49, 2 ** 31]))
      case 'request-id':
        if (message.type !== 'data' && message.type !== 'no-data') return [message]
        return [{ ...message, request: message.request + this.#prng.int(-3, 3) }].map((m) => ({
          ...m,
          request: Math.max(0, m.request)
        }))
      case 'block-index':
        if (message.type !== 'data' || message.block === null) return [message]
        return [{ ...message, block: { ...message.block, index: message.block.index + 1 } }]
      case 'refuse':
        if (message.type !== 'data') return [message]
        return [{ type: 'no-data', request: message.request, reason: this.#prng.int(0, 2) }]
      case 'silent':
        return message.type === 'data' || message.type === 'no-data' ? [] : [message]
      case 'empty':
        if (message.type !== 'data') return [message]
        return [{ ...message, block: null, hash: null, seek: null, upgrade: null, manifest: null }]
      case 'twice':
        return message.type === 'data' ? [message, message] : [message]
      default:
        return lie satisfies never
    }
  }

  #spoil(message: Data): Data {
    const { block } = message
    if (block === null || block.value.byteLength === 0) return message
    const value = Uint8Array.from(block.value)
    const at = this.#prng.int(0, value.byteLength - 1)
    value[at] = (value[at] as number) ^ 1
    return { ...message, block: { ...block, value } }
  }

  #resize(message: Data): Data {
    const { block } = message
    if (block === null) return message
    const byteLength = Math.max(0, block.value.byteLength + this.#prng.pick([-1, 1, 7, 100_000]))
    const value = new Uint8Array(byteLength)
    value.set(block.value.subarray(0, byteLength))
    return { ...message, block: { ...block, value } }
  }

  #changeNodes(message: Message, change: (node: TreeNode) => TreeNode): Message {
    if (message.type !== 'data') return message
    const one = (nodes: readonly TreeNode[]): TreeNode[] => {
      if (nodes.length === 0) return []
      const at = this.#prng.int(0, nodes.length - 1)
      return nodes.map((node, i) => (i === at ? change(node) : node))
    }
    const { block, hash, upgrade } = message
    return {
      ...message,
      block: block && { ...block, nodes: one(block.nodes) },
      hash: hash && { ...hash, nodes: one(hash.nodes) },
      upgrade: upgrade && { ...upgrade, nodes: one(upgrade.nodes) }
    }
  }

  #claim(message: Message, length: number): Message[] {
    if (message.type === 'range') return [{ ...message, drop: false, start: 0, length }]
    if (message.type === 'sync') {
      return [message, { type: 'range', drop: false, start: this.#prng.int(0, 5), length }]
    }
    if (message.type === 'bitfield') {
      return [{ ...message, words: message.words.map(() => 0xffffffff) }]
    }
    return [message]
  }
}

function isBare(message: Message): message is Data {
  return (
    message.type === 'data' &&
    message.block !== null &&
    message.block.nodes.length === 0 &&
    message.upgrade === null
  )
}

function isProven(message: Message): message is Data {
  return (
    message.type === 'data' &&
    message.block !== null &&
    (message.block.nodes.length > 0 || message.upgrade !== null)
  )
}
