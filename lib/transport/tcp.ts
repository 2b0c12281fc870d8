/**
 * Peers over plain TCP, encrypted by Noise XX: what `hypercore.replicate()` piped over a socket speaks.
 *
 * @module
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { SynclineError } from '../errors.ts'
import { CONNECTIONS_MAX } from '../limits.ts'
import { reachableHosts, tcpAddress } from './address.ts'
import { rawBytes } from './raw-bytes.ts'
import { connectionFailed, handshake, type NoiseKeyPair, secureSocket } from './secret-stream.ts'
import type { FramedStream, Transport, TransportConnection } from './transport.ts'

/** Bytes that are read from a socket at a time. */
const READ_BYTES: number = 256 * 1024

/** Half open, so that what arrived before an orderly end can still be read at leisure. */
const SOCKET = { noDelay: true, allowHalfOpen: true }

/** What a read brings is taken out of it at once, so all sockets that we dial share it. */
const readBuffer: Uint8Array = new Uint8Array(READ_BYTES)

/** Options of {@link TcpTransport}. */
export interface TcpOptions {
  /** Who we are on every connection; a fresh key pair for each by default. */
  readonly keyPair?: NoiseKeyPair
  /** Takes connections that came in. */
  readonly onconnection?: (connection: TransportConnection) => void
}

/** Options of {@link TcpTransport.connect}. */
export interface TcpConnectOptions {
  /** Milliseconds for connecting and the handshake; CONNECT_TIMEOUT_MS by default. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** See the module comment. */
export class TcpTransport implements Transport {
  readonly name = 'tcp'
  readonly #keyPair: NoiseKeyPair | undefined
  readonly #onconnection: (connection: TransportConnection) => void
  readonly #servers = new Set<Server>()
  /** Streams that are not handed over yet, and those of them that came in, oldest first. */
  readonly #pending = new Set<FramedStream>()
  readonly #incoming = new Set<FramedStream>()
  #closed = false

  constructor(options: TcpOptions = {}) {
    this.#keyPair = options.keyPair
    this.#onconnection = options.onconnection ?? ((connection) => connection.stream.destroy())
  }

  /**
   * Accepts connections. May be called for several addresses.
   *
   * @param options.host - all interfaces by default.
   * @param options.port - any free one for 0.
   * @returns the port.
   * @throws SynclineError CONNECTION_FAILED when the address cannot be listened on, SESSION_CLOSED.
   */
  async listen(options: { readonly host?: string; readonly port: number }): Promise<number> {
    this.#checkOpen()
    const { host = '0.0.0.0', port } = options
    const server = createServer(SOCKET, (socket) => void this.#accept(socket))
    try {
      server.listen({ host, port })
      await once(server, 'listening')
    } catch (error) {
      throw connectionFailed(`cannot listen on ${tcpAddress(host, port)}`, error)
    }
    if (this.#closed) server.close()
    this.#checkOpen()
    // A single connection that cannot be accepted does not end the server.
    server.on('error', () => {})
    this.#servers.add(server)
    return (server.address() as AddressInfo).port
  }

  /**
   * Connects to a peer.
   *
   * @throws SynclineError CONNECTION_FAILED naming address and cause, SESSION_CLOSED; the signal's reason.
   */
  async connect(
    host: string,
    port: number,
    options: TcpConnectOptions = {}
  ): Promise<TransportConnection> {
    this.#checkOpen()
    const address = tcpAddress(host, port)
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new SynclineError('BAD_ARGUMENT', `${address}: a port is 1 to 65535`)
    }
    const onread = {
      buffer: readBuffer,
      callback: (count: number): boolean => {
        stream.receive(readBuffer.subarray(0, count))
        return true
      }
    }
    const socket = connect({ ...SOCKET, host, port, onread })
    const stream = secureSocket(true, socket, this.#keyPair)
    await this.#handshake(stream, { ...options, address })
    return { stream, address, dialled: address, owned: true, ...rawBytes(stream) }
  }

  /** `tcp:HOST:PORT` for each address under which others reach us. */
  addresses(): readonly string[] {
    return [...this.#servers].flatMap((server) => {
      const { address, port } = server.address() as AddressInfo
      return reachableHosts(address).map((host) => tcpAddress(host, port))
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    // Their end is not awaited: a server ends with its last connection, and those are others' by now.
    for (const server of this.#servers) server.close()
    this.#servers.clear()
    for (const stream of this.#pending) stream.destroy()
  }

  async #accept(socket: Socket): Promise<void> {
    const { remoteAddress, remotePort } = socket
    if (remoteAddress === undefined) {
      socket.destroy()
      return
    }
    // Strangers that connect and say nothing must not pile up, nor keep out those who do.
    const [oldest] = this.#incoming
    if (oldest !== undefined && this.#incoming.size >= CONNECTIONS_MAX) {
      this.#incoming.delete(oldest)
      oldest.destroy()
    }
    const address = tcpAddress(remoteAddress, remotePort ?? 0)
    const stream = secureSocket(false, socket, this.#keyPair)
    this.#incoming.add(stream)
    try {
      await this.#handshake(stream, { address })
    } catch {
      return // Nobody waits for it here; the stream is destroyed.
    } finally {
      this.#incoming.delete(stream)
    }
    this.#onconnection({ stream, address, dialled: null, owned: true, ...rawBytes(stream) })
  }

  async #handshake(
    stream: FramedStream,
    options: TcpConnectOptions & { readonly address: string }
  ): Promise<void> {
    this.#pending.add(stream)
    try {
      await handshake(stream, options)
    } finally {
      this.#pending.delete(stream)
    }
    if (this.#closed) {
      stream.destroy()
      this.#checkOpen()
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new SynclineError('SESSION_CLOSED', 'the TCP transport is closed')
  }
}
