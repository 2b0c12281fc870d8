/**
 * What every transport gives: encrypted, authenticated byte streams to peers.
 *
 * @module
 */

/** The part of a Node or streamx duplex that syncline uses. */
export interface ByteStream {
  write(bytes: Uint8Array): boolean
  end(): unknown
  destroy(error?: Error | null): unknown
  pause(): unknown
  resume(): unknown
  on(event: string, listener: (...args: any[]) => void): unknown
  off(event: string, listener: (...args: any[]) => void): unknown
}

/** An encrypted duplex on which whole frames travel: what secret-stream is, by shape. */
export interface FramedStream extends ByteStream {
  /** True if this side began the Noise handshake. */
  readonly isInitiator: boolean
  /** 32 bytes, null before the handshake is done. */
  readonly publicKey: Uint8Array | null
  /** 32 bytes: who the other side is; null before the handshake is done. */
  readonly remotePublicKey: Uint8Array | null
  /** 64 bytes that only the two ends know; null before the handshake is done. */
  readonly handshakeHash: Uint8Array | null
  /** The stream under the encryption: liveness is measured on its bytes. */
  readonly rawStream: unknown
  /** Milliseconds of quiet after which it sends an empty frame by itself; 0 for never. */
  readonly keepAlive: number
  /** Bytes of the frames received so far; moves with whole frames only, empty ones included. */
  readonly rawBytesRead: number
  /** True from the call of destroy on. */
  readonly destroying: boolean
  /** The Protomux that runs on this stream, by convention of all who use one. */
  userData: unknown
  setKeepAlive(ms: number): unknown
  /** Room for a frame that is encrypted where it stands; good for the next write only. */
  alloc(byteLength: number): Uint8Array
  /** Takes back a frame that came, where buffers are used again. Nobody may read its bytes any more. */
  release?(frame: Uint8Array): void
}

/** One open connection as a transport hands it over: the handshake is done. */
export interface TransportConnection {
  readonly stream: FramedStream
  /** Where the peer is, for people: `tcp:127.0.0.1:7000`, `swarm:KEY`. */
  readonly address: string
  /** The address that can be dialled again, or null for connections that came in. */
  readonly dialled: string | null
  /** False if the stream is the user's, who may run other protocols on it. */
  readonly owned: boolean
  /** Bytes received on the raw stream so far, whole frames or not. */
  rawBytesRead(): number
  /** Bytes that the raw stream gave to the network so far, whole frames or not. */
  rawBytesWritten(): number
}

/** A way to find and reach peers. */
export interface Transport {
  readonly name: string
  /** Addresses under which others reach us, never a wildcard; empty when not listening. */
  addresses(): readonly string[]
  /** Stops listening and dialling; connections already handed over stay open. Idempotent. */
  close(): Promise<void>
}
