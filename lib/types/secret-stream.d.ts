// @hyperswarm/secret-stream 6.9.2: the part that syncline uses.
declare module '@hyperswarm/secret-stream' {
  interface KeyPair {
    readonly publicKey: Uint8Array
    readonly secretKey: Uint8Array
  }
  export default class NoiseSecretStream {
    constructor(isInitiator: boolean, rawStream: unknown, options?: { keyPair?: KeyPair })
    readonly isInitiator: boolean
    readonly publicKey: Uint8Array | null
    readonly remotePublicKey: Uint8Array | null
    readonly handshakeHash: Uint8Array | null
    readonly rawStream: unknown
    readonly keepAlive: number
    readonly rawBytesRead: number
    readonly destroying: boolean
    userData: unknown
    setKeepAlive(ms: number): void
    alloc(byteLength: number): Uint8Array
    write(bytes: Uint8Array): boolean
    end(): unknown
    destroy(error?: Error | null): unknown
    pause(): unknown
    resume(): unknown
    on(event: string, listener: (...args: any[]) => void): unknown
    off(event: string, listener: (...args: any[]) => void): unknown
    /** Bytes of all that was encrypted, and of what stands around it. */
    rawBytesWritten: number
    /** A whole frame as it came, for `_incoming`. */
    _message: Uint8Array | null
    /** The last room that was given by `alloc`, and the buffer around it. */
    _outgoingPlain: Uint8Array | null
    _outgoingWrapped: Uint8Array | null
    /** Takes what came on the raw stream. */
    _onrawdata(data: Uint8Array): void
    /** Takes the frame in `_message`, which is decrypted in place. */
    _incoming(): void
    /** Encrypts a frame and writes it to the raw stream. */
    _write(frame: Uint8Array, callback: (error: Error | null) => void): void
  }
}
