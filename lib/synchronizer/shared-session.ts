import { EventEmitter } from 'node:events'
import { SynclineError } from '../errors.ts'
import type { FeedChange } from '../feed/feed.ts'
import type { Manifest } from '../wire/manifest.ts'
import { emit } from './emit.ts'
import type { ExtensionHandlers, FeedExtension } from './extension.ts'
import { systemClock } from './timers.ts'
import type {
  AppendValuesOptions,
  Download,
  DownloadRange,
  FeedEvents,
  FeedSession,
  GetOptions
} from './feed-session.ts'
import type { Peer } from './peer.ts'
import type { ValueEncoding } from './value-encoding.ts'
import { closedError, Waiters, type WaitOptions } from './waiting.ts'

/** A further session, or a snapshot, of a feed. Everything is done by the session it came from. */
export class SharedSession extends EventEmitter<FeedEvents> {
  readonly #session: FeedSession
  readonly #valueEncoding: ValueEncoding | null
  readonly #frozen: { length: number; fork: number; byteLength: number } | null
  readonly #onclose: () => void
  readonly #waiters = new Waiters(systemClock)
  readonly #extensions = new Set<FeedExtension>()
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

  async get(index: number, options: GetOptions = {}): Promise<any> {
    this.#checkOpen()
    return this.#session.getFor(this.#waiters, index, this.#withEncoding(options))
  }

  async append(
    blocks: unknown,
    options: AppendValuesOptions = {}
  ): Promise<{ length: number; byteLength: number }> {
    this.#checkOpen()
    if (this.#frozen !== null) throw new SynclineError('NOT_WRITABLE', 'a snapshot cannot grow')
    return this.#session.append(blocks, this.#withEncoding(options))
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
    const extension = this.#session.registerExtension(name, handlers)
    this.#extensions.add(extension)
    return extension
  }

  session(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.#session.session(options)
  }

  snapshot(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.#session.snapshot(options)
  }

  /** Closes this view only: what it waits for, and its extensions, end with it. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.#waiters.end(closedError())
    for (const extension of this.#extensions) extension.destroy()
    this.closing = Promise.resolve()
    this.#onclose()
    emit(this, 'close')
  }

  /** Not for users: passes a change of the feed on. */
  changed(change: FeedChange): void {
    if (this.#frozen !== null) return
    if (change.type === 'append' || change.type === 'upgrade') emit(this, 'append')
    else if (change.type === 'truncate') emit(this, 'truncate', change.length, change.fork)
  }

  /** Not for users: looks at what is waited for. */
  check(): void {
    this.#waiters.check()
  }

  /** Not for users: ends what is waited for. */
  fail(error: SynclineError): void {
    this.#waiters.end(error)
  }

  #withEncoding<T extends { readonly valueEncoding?: ValueEncoding }>(options: T): T {
    const own = this.#valueEncoding
    return own === null || options.valueEncoding !== undefined
      ? options
      : { ...options, valueEncoding: own }
  }

  #checkOpen(): void {
    if (this.closed) throw closedError()
  }
}
