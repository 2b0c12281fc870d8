/**
 * Noise XX and encrypted frames over any duplex, as `hypercore.replicate()` does it.
 *
 * @module
 */
import NoiseSecretStream from '@hyperswarm/secret-stream'
import { SynclineError } from '../errors.ts'
import { CONNECT_TIMEOUT_MS } from '../limits.ts'
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
  const { address, timeoutMs = CONNECT_TIMEOUT_MS, signal } = options
  const raw = stream.rawStream as ByteStream | null
  let cause: unknown
  const onerror = (error: unknown): void => {
    cause ??= error
  }
  // Stays for good: until somebody else listens, an error would end the process.
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
    stream.destroy()
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
