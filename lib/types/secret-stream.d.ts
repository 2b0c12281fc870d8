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
  }
}
