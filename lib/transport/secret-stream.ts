/**
 * Noise XX and encrypted frames over any duplex, as `hypercore.replicate()` does it.
 *
 * @module
 */
import NoiseSecretStream from '@hyperswarm/secret-stream'
import { SynclineError } from '../errors.ts'
import { CONNECT_TIMEOUT_MS } from '../limits.ts'
import { BufferPool } from '../primitives/buffer-pool.ts'
import type { ByteStream, FramedStream } from './transport.ts'

/** Who we are on a connection: an Ed25519 key pair of 32 and 64 bytes. */
export interface NoiseKeyPair {
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

/** Options of {@link handshake}. */
export interface HandshakeOptions {
  /** What the error names. */
  readonly address: string
  /** Milliseconds for everything up to the end of the handshake; CONNECT_TIMEOUT_MS by default. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Bytes before a frame on the raw stream: its length. */
const LENGTH_BYTES = 3
/** Bytes that the cipher adds to a frame, one of them before it. */
const CIPHER_BYTES = 17
const FRONT_BYTES: number = LENGTH_BYTES + 1
/** Buffers of the frames of all sockets. */
const pool = new BufferPool()

/** The part of a Node socket that tells what it still holds. */
interface Socket extends ByteStream {
  readonly writableLength: number
}

/** What {@link secureSocket} makes. */
export interface SecureSocket extends FramedStream {
  /** Takes bytes that came otherwise than by the socket's own events; they are only lent. */
  receive(bytes: Uint8Array): void
  release(frame: Uint8Array): void
}

/**
 * An encrypted socket whose frames lie in buffers that are used again, on both ways: as garbage, they are what a fast
 * transfer of large blocks makes most of, and the collector takes a fifth of its time for them.
 */
class SocketStream extends NoiseSecretStream implements SecureSocket {
  readonly #socket: Socket
  /** Buffers around the room that was given. What is in it may also be copied elsewhere, and never be written from here. */
  readonly #rooms = new WeakMap<Uint8Array, Uint8Array>()
  /** Buffers that the socket may still hold, and where their last bytes stand among all that were written. */
  #held: { readonly buffer: Uint8Array; readonly end: number }[] = []
  /** Bytes of the length that are here, and what they say so far. */
  #lengthBytes = 0
  #length = 0
  /** The frame that is coming, and how much of it is here. */
  #frame: Uint8Array | null = null
  #filled = 0

  constructor(isInitiator: boolean, socket: Socket, keyPair?: NoiseKeyPair) {
    super(isInitiator, socket, keyPair === undefined ? {} : { keyPair })
    this.#socket = socket
  }

  receive(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.byteLength && !this.destroying) {
      if (this.#frame === null) {
        this.#length += (bytes[at++] as number) * 256 ** this.#lengthBytes
        if (++this.#lengthBytes < LENGTH_BYTES) continue
        this.#frame = take(this.#length)
        this.#filled = 0
        if (this.#length > 0) continue
      }
      const frame = this.#frame
      const taken = Math.min(frame.byteLength - this.#filled, bytes.byteLength - at)
      frame.set(bytes.subarray(at, at + taken), this.#filled)
      at += taken
      this.#filled += taken
      if (this.#filled < frame.byteLength) return
      this.#frame = null
      this.#lengthBytes = 0
      this.#length = 0
      this._message = frame
      this._incoming()
    }
  }

  release(frame: Uint8Array): void {
    pool.give(frame)
  }

  override alloc(byteLength: number): Uint8Array {
    this.#takeBack()
    const wrapped = take(FRONT_BYTES + byteLength + CIPHER_BYTES - 1)
    const room = wrapped.subarray(FRONT_BYTES, FRONT_BYTES + byteLength)
    this.#rooms.set(room, wrapped)
    return room
  }

  override _onrawdata(data: Uint8Array): void {
    this.receive(data)
  }

  override _write(frame: Uint8Array, callback: (error: Error | null) => void): void {
    const wrapped = this.#rooms.get(frame)
    if (wrapped !== undefined) {
      this.#rooms.delete(frame)
      this._outgoingPlain = frame
      this._outgoingWrapped = wrapped
    }
    super._write(frame, callback)
    if (wrapped !== undefined) this.#held.push({ buffer: wrapped, end: this.rawBytesWritten })
  }

  /** Takes buffers back that the system has taken everything of. */
  #takeBack(): void {
    const sent = this.rawBytesWritten - this.#socket.writableLength
    let count = 0
    for (const { buffer, end } of this.#held) {
      if (end > sent) break
      pool.give(buffer)
      count++
    }
    if (count > 0) this.#held = this.#held.slice(count)
  }
}

/** Bytes up to which a frame lies in a buffer that Node shares out. */
const SMALL_BYTES = 4096

function take(byteLength: number): Uint8Array {
  if (byteLength < SMALL_BYTES) return Buffer.allocUnsafe(byteLength)
  const room = pool.take(byteLength)
  return Buffer.from(room.buffer, room.byteOffset, room.byteLength)
}

/** As {@link secure}, for a socket of our own: frames lie in buffers that are used again once they are released. */
export function secureSocket(
  isInitiator: boolean,
  socket: Socket,
  keyPair?: NoiseKeyPair
): SecureSocket {
  return new SocketStream(isInitiator, socket, keyPair)
}

/**
 * Encrypts `raw`, which may still be connecting. Destroying one destroys the other.
 *
 * @param keyPair - made for this one connection if not given.
 */
export function secure(
  isInitiator: boolean,
  raw: ByteStream,
  keyPair?: NoiseKeyPair
): FramedStream {
  return new NoiseSecretStream(isInitiator, raw, keyPair === undefined ? {} : { keyPair })
}

/**
 * Resolves when the handshake is done; otherwise the stream is destroyed.
 *
 * @throws SynclineError CONNECTION_FAILED with the cause; the signal's reason when it is aborted.
 */
export async function handshake(stream: FramedStream, options: HandshakeOptions): Promise<void> {
  try {
    await handshaken(stream, options)
  } catch (error) {
    // Nobody else listens, and an error would end the process.
    stream.on('error', () => {})
    stream.destroy()
    throw error
  }
}

/**
 * Resolves when the handshake is done; otherwise the stream is left as it was.
 *
 * @throws SynclineError as {@link handshake}.
 */
export async function handshaken(stream: FramedStream, options: HandshakeOptions): Promise<void> {
  const { address, timeoutMs = CONNECT_TIMEOUT_MS, signal } = options
  const raw = stream.rawStream as ByteStream | null
  let cause: unknown
  const onerror = (error: unknown): void => {
    cause ??= error
  }
  // Stays where it succeeds: until somebody else listens, an error would end the process.
  stream.on('error', onerror)
  try {
    await new Promise<void>((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error)
      if (stream.destroying) return reject(connectionFailed(address, cause))
      if (stream.handshakeHash !== null) return resolve()
      const onconnect = (): void => settle(resolve)
      const onclose = (): void => settle(() => reject(connectionFailed(address, cause)))
      const onabort = (): void => settle(() => reject(signal?.reason as Error))
      const ontimeout = (): void =>
        settle(() =>
          reject(new SynclineError('CONNECTION_FAILED', `${address}: no answer in ${timeoutMs} ms`))
        )
      const timer = setTimeout(ontimeout, timeoutMs)
      stream.on('connect', onconnect)
      stream.on('close', onclose)
      // Nobody reads the end of the stream itself yet.
      raw?.on('end', onclose)
      signal?.addEventListener('abort', onabort)
      function settle(end: () => void): void {
        clearTimeout(timer)
        stream.off('connect', onconnect)
        stream.off('close', onclose)
        raw?.off('end', onclose)
        signal?.removeEventListener('abort', onabort)
        end()
      }
    })
  } catch (error) {
    stream.off('error', onerror)
    throw error
  }
}

/** A CONNECTION_FAILED that names the address and what lay beneath. */
export function connectionFailed(address: string, cause: unknown): SynclineError {
  return new SynclineError('CONNECTION_FAILED', `${address}: ${reasonOf(cause)}`, {}, cause)
}

function reasonOf(cause: unknown): string {
  // Node reports one failure for each address of a host name, under an empty message.
  if (cause instanceof AggregateError) return cause.errors.map(reasonOf).join(', ')
  if (cause instanceof Error) return cause.message
  return 'closed by the other side'
}
