import { INBOX_BYTES_MAX, INBOX_MESSAGES_MAX } from '../limits.ts'
import type { Message } from '../wire/message.ts'
import type { Received } from './link.ts'

/** Bytes that an item takes besides its byte fields; a rough figure for what the objects weigh. */
const ITEM_BYTES = 128
/** Bytes of one tree node. */
const NODE_BYTES = 64
/** Bytes of one block of a run besides its value. */
const RUN_BLOCK_BYTES = 8

/** What arrived and was not taken yet, with the sizes that bound it. */
export class Inbox {
  #items: Received[] = []
  /** Items before it are taken. */
  #head = 0
  #bytes = 0
  #messages = 0
  /** Items that ever came, and that were taken. */
  #came = 0
  #taken = 0
  /** Frames whose bytes items lend, and how many items had come when each of them was whole. */
  #lent: { readonly frame: Uint8Array; readonly until: number }[] = []

  get count(): number {
    return this.#items.length - this.#head
  }

  /** Messages that wait; a run counts as many as it has blocks. */
  get messages(): number {
    return this.#messages
  }

  /** True when reading must stop until something is taken. */
  get full(): boolean {
    return this.count >= INBOX_MESSAGES_MAX || this.#bytes >= INBOX_BYTES_MAX
  }

  push(item: Received): void {
    this.#items.push(item)
    this.#came++
    this.#bytes += weight(item)
    this.#messages += messagesIn(item)
  }

  /** Up to `limit` items in the order of their arrival. */
  take(limit: number): Received[] {
    if (limit >= this.#items.length && this.#head === 0) {
      const items = this.#items
      this.#taken += items.length
      this.#empty()
      return items
    }
    const items = this.#items.slice(this.#head, this.#head + Math.max(0, limit))
    this.#head += items.length
    this.#taken += items.length
    for (const item of items) {
      this.#bytes -= weight(item)
      this.#messages -= messagesIn(item)
    }
    if (this.#head === this.#items.length) this.#empty()
    // What is taken must not stay in memory, nor be moved for every few items.
    else if (this.#head >= INBOX_MESSAGES_MAX) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return items
  }

  /** Remembers the frame that the items since the last one lie in; false if there are none. */
  lend(frame: Uint8Array): boolean {
    const last = this.#lent.at(-1)?.until ?? this.#taken
    if (this.#came === last) return false
    this.#lent.push({ frame, until: this.#came })
    return true
  }

  /** Frames of which all items were taken before, each once. */
  returned(): Uint8Array[] {
    let count = 0
    while ((this.#lent[count]?.until ?? Infinity) <= this.#taken) count++
    return this.#lent.splice(0, count).map(({ frame }) => frame)
  }

  clear(): void {
    this.#empty()
    this.#lent = []
    this.#taken = this.#came
  }

  #empty(): void {
    this.#items = []
    this.#head = 0
    this.#bytes = 0
    this.#messages = 0
  }
}

function messagesIn(item: Received): number {
  return item.type === 'values' || item.type === 'requests' ? item.run.count : 1
}

function weight(item: Received): number {
  if (item.type === 'message') return ITEM_BYTES + messageBytes(item.message)
  if (item.type !== 'values') return ITEM_BYTES
  const { run } = item
  let bytes = ITEM_BYTES + RUN_BLOCK_BYTES * run.count
  for (let i = 0; i < run.count; i++) bytes += run.lengths[i] as number
  return bytes
}

function messageBytes(message: Message): number {
  switch (message.type) {
    case 'data': {
      const { block, hash, seek, upgrade } = message
      const nodes =
        (block?.nodes.length ?? 0) +
        (hash?.nodes.length ?? 0) +
        (seek?.nodes.length ?? 0) +
        (upgrade === null ? 0 : upgrade.nodes.length + upgrade.additionalNodes.length)
      return (block?.value.byteLength ?? 0) + nodes * NODE_BYTES
    }
    case 'bitfield':
      return message.words.byteLength
    case 'extension':
      return message.message.byteLength
    default:
      return 0
  }
}
