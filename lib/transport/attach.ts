/**
 * Connections that the user already has.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { rawBytes } from './raw-bytes.ts'
import {
  handshake,
  handshaken,
  secure,
  type HandshakeOptions,
  type NoiseKeyPair
} from './secret-stream.ts'
import type { ByteStream, FramedStream, TransportConnection } from './transport.ts'

/** Options of {@link attach}. */
export interface AttachOptions extends Partial<HandshakeOptions> {
  /** Which side of a raw duplex begins the handshake: true on exactly one of the two. */
  readonly isInitiator?: boolean
  /** Who we are on a raw duplex. */
  readonly keyPair?: NoiseKeyPair
}

/**
 * Makes a connection of a stream of the user's, once its handshake is done.
 *
 * A raw duplex (`isInitiator` given) is encrypted and belongs to syncline from now on: it ends with the connection. A
 * stream that is encrypted already (secret-stream, a Hyperswarm connection, what `hypercore.replicate()` returns, a
 * Protomux on one) stays the user's, together with whatever else runs on it, also where this fails.
 *
 * @throws SynclineError BAD_ARGUMENT if it is none of these, CONNECTION_FAILED; the signal's reason.
 */
export async function attach(
  duplex: object,
  options: AttachOptions = {}
): Promise<TransportConnection> {
  const { address = 'attached' } = options
  const encrypted = encryptedStream(duplex)
  if (encrypted !== null) {
    await handshaken(encrypted, { ...options, address })
    return connection(encrypted, address, false)
  }
  if (options.isInitiator === undefined || !('write' in duplex)) {
    throw new SynclineError(
      'BAD_ARGUMENT',
      'attach takes an encrypted stream, or a raw duplex together with isInitiator'
    )
  }
  const stream = secure(options.isInitiator, duplex as ByteStream, options.keyPair)
  await handshake(stream, { ...options, address })
  return connection(stream, address, true)
}

/** The secret-stream that `duplex` is or belongs to, or null. */
function encryptedStream(duplex: object): FramedStream | null {
  const { isProtomux, stream } = duplex as { isProtomux?: unknown; stream?: object }
  if (isProtomux === true && stream !== undefined) return encryptedStream(stream)
  return (duplex as { noiseStream?: FramedStream }).noiseStream ?? null
}

function connection(stream: FramedStream, address: string, owned: boolean): TransportConnection {
  return { stream, address, dialled: null, owned, ...rawBytes(stream) }
}
