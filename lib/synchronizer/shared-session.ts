import { EventEmitter } from 'node:events'
import { SynclineError } from '../errors.ts'
import type { FeedChange } from '../feed/feed.ts'
import type { Manifest } from '../wire/manifest.ts'
import type { ExtensionHandlers, FeedExtension } from './extension.ts'
import type {
  Download,
  DownloadRange,
  FeedEvents,
  FeedSession,
  GetOptions
} from './feed-session.ts'
import type { Peer } from './peer.ts'
import type { ValueEncoding } from './value-encoding.ts'
import { closedError, type WaitOptions } from './waiting.ts'

/** A further session, or a snapshot, of a feed. Everything is done by the session it came from. */
export class SharedSession extends EventEmitter<FeedEvents> {
  readonly #session: FeedSession
  readonly #valueEncoding: ValueEncoding | null
  readonly #frozen: { length: number; fork: number; byteLength: number } | null
  readonly #onclose: () => void
  readonly globalCache: null = null
  readonly replicator: { setInflightRange(): void } = { setInflightRange() {} }
  closing: Promise<void> | null = null
  closed = false

  /** Not for users. */
  constructor(
    session: FeedSession,
    valueEncoding: ValueEncoding | null,
    frozen: { length: number; fork: number; byteLength: number } | null,
    onclose: () => void
  ) {
    super()
    this.#session = session
    this.#valueEncoding = valueEncoding
    this.#frozen = frozen
    this.#onclose = onclose
    this.setMaxListeners(0)
  }

  get key(): Uint8Array {
    return this.#session.key
  }

  get discoveryKey(): Uint8Array {
    return this.#session.discoveryKey
  }

  get id(): string {
    return this.#session.id
  }

  get opened(): boolean {
    return this.#session.opened
  }

  get length(): number {
    return this.#frozen?.length ?? this.#session.length
  }

  get byteLength(): number {
    return this.#frozen?.byteLength ?? this.#session.byteLength
  }

  get fork(): number {
    return this.#frozen?.fork ?? this.#session.fork
  }

  get writable(): boolean {
    return this.#frozen === null && this.#session.writable
  }

  get readable(): boolean {
    return !this.closed
  }

  get manifest(): Manifest | null {
    return this.#session.manifest
  }

  get peers(): Peer[] {
    return this.#session.peers
  }

  ready(): Promise<void> {
    return this.#session.ready()
  }

  get(index: number, options: GetOptions = {}): Promise<any> {
    this.#checkOpen()
    const valueEncoding = options.valueEncoding ?? this.#valueEncoding
    return this.#session.get(
      index,
      valueEncoding === null ? options : { ...options, valueEncoding }
    )
  }

  append(blocks: unknown): Promise<{ length: number; byteLength: number }> {
    this.#checkOpen()
    if (this.#frozen !== null) throw new SynclineError('NOT_WRITABLE', 'a snapshot cannot grow')
    return this.#session.append(blocks)
  }

  has(start: number, end?: number): Promise<boolean> {
    return this.#session.has(start, end)
  }

  async update(options: WaitOptions & { readonly wait?: boolean } = {}): Promise<boolean> {
    return this.#frozen === null ? this.#session.update(options) : false
  }

  seek(bytes: number, options: GetOptions = {}): Promise<[number, number] | null> {
    return this.#session.seek(bytes, options)
  }

  download(range: DownloadRange = {}): Download {
    return this.#session.download(range)
  }

  clear(start: number, end?: number): Promise<void> {
    return this.#session.clear(start, end)
  }

  registerExtension(name: string, handlers: ExtensionHandlers = {}): FeedExtension {
    return this.#session.registerExtension(name, handlers)
  }

  session(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.#session.session(options)
  }

  snapshot(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.#session.snapshot(options)
  }

  /** Closes this view only. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.closing = Promise.resolve()
    this.#onclose()
    this.emit('close')
  }

  /** Not for users: passes a change of the feed on. */
  changed(change: FeedChange): void {
    if (this.#frozen !== null) return
    if (change.type === 'append' || change.type === 'upgrade') this.emit('append')
    else if (change.type === 'truncate') this.emit('truncate', change.length, change.fork)
  }

  #checkOpen(): void {
    if (this.closed) throw closedError()
  }
}
