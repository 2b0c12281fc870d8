/**
 * What happened in a world: a running hash, to compare two runs, and lines for people.
 *
 * @module
 */
import { decodeMessage } from '../../lib/wire/codec.ts'
import { MESSAGE_TYPES, type Message } from '../../lib/wire/message.ts'
import type { VirtualClock } from './clock.ts'
import type { Carried } from './network.ts'

/** See the module comment. */
export class Trace {
  readonly #clock: VirtualClock
  readonly #verbose: boolean
  #hash = 0x811c9dc5
  /** Messages that were carried. */
  messages = 0

  constructor(clock: VirtualClock, verbose: boolean) {
    this.#clock = clock
    this.#verbose = verbose
  }

  /** Stands for everything that happened so far. */
  get digest(): string {
    return `${(this.#hash >>> 0).toString(16)} after ${this.messages} messages at ${this.#clock.now().toFixed(3)} ms`
  }

  message({ from, to, type, bytes }: Carried): void {
    this.messages++
    this.#mix(this.#clock.now())
    for (let i = 0; i < Math.min(bytes.byteLength, 48); i++) this.#mix(bytes[i] as number)
    if (this.#verbose) this.#print(`${from} > ${to} ${describe(type, bytes)}`)
  }

  note(who: string, what: string): void {
    this.#mix(this.#clock.now())
    for (let i = 0; i < what.length; i++) this.#mix(what.charCodeAt(i))
    if (this.#verbose) this.#print(`${who} ${what}`)
  }

  #mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ Math.floor(value * 1000), 0x01000193)
  }

  #print(line: string): void {
    console.log(`${this.#clock.now().toFixed(1).padStart(9)}  ${line}`)
  }
}

function describe(type: string, bytes: Uint8Array): string {
  try {
    const number = MESSAGE_TYPES.indexOf(type as Message['type'])
    return `${type} ${JSON.stringify(decodeMessage(number, bytes), shorten)}`
  } catch {
    return `${type} (unreadable)`
  }
}

function shorten(key: string, value: unknown): unknown {
  if (key === 'type' || value === null || value === false) return undefined
  if (value instanceof Uint8Array) return `${value.byteLength} B`
  if (value instanceof Uint32Array) return `${value.length} words`
  if (Array.isArray(value)) return value.map((node: { index?: number }) => node.index ?? node)
  return value
}
