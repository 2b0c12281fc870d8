import { EventEmitter } from 'node:events'
import { SynclineError } from '../errors.ts'
import type { FeedChange } from '../feed/feed.ts'
import type { Manifest } from '../wire/manifest.ts'
import { checkRange } from './arguments.ts'
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

/** What a feed was when a snapshot of it was taken. */
interface Frozen {
  readonly length: number
  readonly fork: number
  readonly byteLength: number
}

/** A further session, or a snapshot, of a feed. Everything is done by the session it came from. */
export class SharedSession extends EventEmitter<FeedEvents> {
  readonly #session: FeedSession
  readonly #valueEncoding: ValueEncoding | null
  readonly #isSnapshot: boolean
  readonly #onclose: () => void
  readonly #waiters = new Waiters(systemClock)
  readonly #extensions = new Set<FeedExtension>()
  readonly #downloads = new Set<Download>()
  /** Null but for a snapshot of a feed that is open. */
  #frozen: Frozen | null = null
  /** Blocks from here on are not those of the snapshot. */
  #keptLength = Infinity
  readonly globalCache: null = null
  readonly replicator: { setInflightRange(): void } = { setInflightRange() {} }
  closing: Promise<void> | null = null
  closed = false

  /** Not for users. */
  constructor(
    session: FeedSession,
    valueEncoding: ValueEncoding | null,
    isSnapshot: boolean,
    onclose: () => void
  ) {
    super()
    this.#session = session
    this.#valueEncoding = valueEncoding
    this.#isSnapshot = isSnapshot
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
    return !this.#isSnapshot && this.#session.writable
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

  /**
   * As {@link FeedSession.get}.
   *
   * @throws SynclineError as there; of a snapshot also BLOCK_NOT_AVAILABLE, for blocks that came after it, or that a
   * truncation has taken since.
   */
  async get(index: number, options: GetOptions = {}): Promise<any> {
    this.#checkOpen()
    const own = this.#withEncoding(options)
    if (!this.#isSnapshot) return this.#session.getFor(this.#waiters, index, own)
    await this.ready()
    this.#checkKept(index)
    const isGone = (): boolean => index >= this.#keptLength
    const value: unknown = await this.#session.getFor(this.#waiters, index, own, isGone)
    // It may have become a block of another history while it was read.
    this.#checkKept(index)
    return value
  }

  async append(
    blocks: unknown,
    options: AppendValuesOptions = {}
  ): Promise<{ length: number; byteLength: number }> {
    this.#checkOpen()
    if (this.#isSnapshot) throw new SynclineError('NOT_WRITABLE', 'a snapshot cannot grow')
    return this.#session.append(blocks, this.#withEncoding(options))
  }

  async has(start: number, end: number = start + 1): Promise<boolean> {
    this.#checkOpen()
    return (await this.#session.has(start, end)) && end <= this.#keptLength
  }

  async update(options: WaitOptions & { readonly wait?: boolean } = {}): Promise<boolean> {
    this.#checkOpen()
    return this.#isSnapshot ? false : this.#session.updateFor(this.#waiters, options)
  }

  /** As {@link FeedSession.seek}. @throws SynclineError as there and as {@link SharedSession.get}. */
  async seek(bytes: number, options: GetOptions = {}): Promise<[number, number] | null> {
    this.#checkOpen()
    if (!this.#isSnapshot) return this.#session.seekFor(this.#waiters, bytes, options)
    await this.ready()
    const { length, byteLength } = this
    if (bytes === byteLength) return [length, 0]
    if (bytes > byteLength) return null
    const isGone = (index: number): boolean => index >= this.#keptLength
    const found = await this.#session.seekFor(this.#waiters, bytes, options, isGone)
    if (found !== null) this.#checkKept(found[0])
    // What is in the snapshot is found, unless a truncation took it.
    else if (options.wait !== false) this.#checkKept(length - 1)
    return found
  }

  /** As {@link FeedSession.download}, until the view is closed. @throws SynclineError BAD_ARGUMENT, SESSION_CLOSED. */
  download(range: DownloadRange = {}): Download {
    this.#checkOpen()
    const download = this.#session.downloadFor(this.#waiters, range)
    this.#downloads.add(download)
    return {
      ready: () => download.ready(),
      done: async (options) => {
        this.#checkOpen()
        await download.done(options)
      },
      destroy: () => {
        this.#downloads.delete(download)
        download.destroy()
      }
    }
  }

  /** As {@link FeedSession.clear}; of a snapshot, only what is still in it. @throws SynclineError as there. */
  async clear(start: number, end: number = start + 1): Promise<void> {
    this.#checkOpen()
    if (!this.#isSnapshot) return this.#session.clear(start, end)
    checkRange(start, end)
    await this.ready()
    const last = Math.min(end, this.#keptLength)
    if (start < last) await this.#session.clear(start, last)
  }

  /** As {@link FeedSession.registerExtension}, until the view is closed. @throws SynclineError BAD_ARGUMENT, SESSION_CLOSED. */
  registerExtension(name: string, handlers: ExtensionHandlers = {}): FeedExtension {
    this.#checkOpen()
    const extension = this.#session.registerExtension(name, handlers)
    this.#extensions.add(extension)
    return extension
  }

  /** Another view of the same, with an encoding of its own or this one's. @throws SynclineError SESSION_CLOSED. */
  session(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    this.#checkOpen()
    return this.#session.view(this.#withEncoding(options), this.#isSnapshot, this)
  }

  /** As {@link SharedSession.session}, which stays what this is now. @throws SynclineError SESSION_CLOSED. */
  snapshot(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    this.#checkOpen()
    return this.#session.view(this.#withEncoding(options), true, this)
  }

  /** Closes this view only: what it waits for and wants, and its extensions, end with it. Idempotent. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.#waiters.end(closedError())
    for (const download of this.#downloads) download.destroy()
    for (const extension of this.#extensions) extension.destroy()
    this.closing = Promise.resolve()
    this.#onclose()
    emit(this, 'close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Not for users: a snapshot stays what the feed is now, or what the snapshot is that it was made of. */
  freeze(of: SharedSession | null = null): void {
    if (!this.#isSnapshot) return
    if (of !== null && of.#isSnapshot) {
      this.#frozen = of.#frozen
      this.#keptLength = of.#keptLength
      return
    }
    const { length, fork, byteLength } = this.#session
    this.#frozen = { length, fork, byteLength }
    this.#keptLength = length
  }

  /** Not for users: passes a change of the feed on. */
  changed(change: FeedChange): void {
    if (this.#isSnapshot) {
      if (change.type === 'truncate') this.#keptLength = Math.min(this.#keptLength, change.length)
      return
    }
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

  #checkKept(index: number): void {
    if (index >= this.#keptLength) {
      const reason = `block ${index} is not in the snapshot, or not any more`
      throw new SynclineError('BLOCK_NOT_AVAILABLE', reason, { index })
    }
  }

  #checkOpen(): void {
    if (this.closed) throw closedError()
  }
}
