import { SynclineError } from '../errors.ts'
import { SILENT_PEER_MS } from '../limits.ts'
import type { TransportConnection } from '../transport/transport.ts'
import type { Clock } from './timers.ts'
import { Tried } from './tried.ts'

interface Target {
  readonly host: string
  readonly port: number
  readonly address: string
  connected: boolean
  /** When it was connected last. */
  since: number
  dialling: boolean
  stop: (() => void) | null
  lastError: SynclineError | null
}

/** Keeps connections to fixed addresses: dials, and dials again with a growing wait. */
export class Dialer {
  readonly #targets = new Map<string, Target>()
  readonly #tried = new Tried()
  readonly #clock: Clock
  readonly #connect: (host: string, port: number) => Promise<TransportConnection>
  readonly #onconnection: (connection: TransportConnection, address: string) => boolean
  #closed = false

  constructor(options: {
    readonly clock: Clock
    readonly connect: (host: string, port: number) => Promise<TransportConnection>
    /** Takes a connection; false if its peer is kept away for what it did. */
    readonly onconnection: (connection: TransportConnection, address: string) => boolean
  }) {
    this.#clock = options.clock
    this.#connect = options.connect
    this.#onconnection = options.onconnection
  }

  /** Adds an address and dials it. Rejects when the first try fails; it is tried again all the same. */
  async add(host: string, port: number): Promise<void> {
    const address = `tcp:${host}:${port}`
    let target = this.#targets.get(address)
    if (target === undefined) {
      target = {
        host,
        port,
        address,
        connected: false,
        since: 0,
        dialling: false,
        stop: null,
        lastError: null
      }
      this.#targets.set(address, target)
    }
    if (target.connected || target.dialling) return
    await this.#dial(target)
    if (target.lastError !== null) throw target.lastError
  }

  /** Takes an address back; a connection that stands is left alone. */
  remove(host: string, port: number): void {
    const address = `tcp:${host}:${port}`
    this.#targets.get(address)?.stop?.()
    this.#targets.delete(address)
  }

  /**
   * Notes that a connection to an address ended.
   *
   * @param end.fault - true if the peer did something wrong.
   * @param end.used - true if a feed was open on it.
   */
  ended(address: string, end: { readonly fault: boolean; readonly used: boolean }): void {
    const target = this.#targets.get(address)
    if (target === undefined || !target.connected) return
    target.connected = false
    const now = this.#clock.now()
    // That it connected proves little: one that has no room for us, or is closed for a fault each time, is tried ever
    // more slowly.
    const isShort = !end.used && now - target.since < SILENT_PEER_MS
    if (isShort && !end.fault)
      target.lastError = failure(address, 'ended by the other side at once')
    const failed = end.fault || isShort
    if (failed) this.#tried.fail(address, now)
    else this.#tried.succeed(address)
    this.#later(target, failed ? 0 : 1000)
  }

  /** Why the last try of each address that is not connected failed. */
  failures(): { readonly address: string; readonly error: SynclineError }[] {
    return [...this.#targets.values()].flatMap(({ address, lastError, connected }) =>
      connected || lastError === null ? [] : [{ address, error: lastError }]
    )
  }

  close(): void {
    this.#closed = true
    for (const target of this.#targets.values()) target.stop?.()
    this.#targets.clear()
  }

  async #dial(target: Target): Promise<void> {
    target.stop?.()
    target.stop = null
    target.dialling = true
    try {
      const connection = await this.#connect(target.host, target.port)
      target.lastError = null
      target.connected = !this.#closed && this.#onconnection(connection, target.address)
      target.since = this.#clock.now()
      if (!target.connected) {
        connection.stream.destroy()
        target.lastError = failure(target.address, 'it is kept away for a while')
      }
    } catch (error) {
      target.lastError =
        error instanceof SynclineError
          ? error
          : new SynclineError('CONNECTION_FAILED', target.address, {}, error)
    } finally {
      target.dialling = false
    }
    if (target.connected) return
    this.#tried.fail(target.address, this.#clock.now())
    this.#later(target, 0)
  }

  #later(target: Target, atLeastMs: number): void {
    if (this.#closed || !this.#targets.has(target.address)) return
    const now = this.#clock.now()
    const delay = Math.max(atLeastMs, this.#tried.delay(target.address, now))
    target.stop?.()
    target.stop = this.#clock.setTimer(() => void this.#dial(target), delay)
  }
}

function failure(address: string, why: string): SynclineError {
  return new SynclineError('CONNECTION_FAILED', `${address}: ${why}`)
}
