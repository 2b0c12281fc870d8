// hyperswarm 4.17.2 and the hyperdht 6.34.0 beneath it: the part that syncline uses.
declare module 'hyperswarm' {
  interface KeyPair {
    readonly publicKey: Uint8Array
    readonly secretKey: Uint8Array
  }
  interface Connecting {
    on(event: string, listener: (...args: any[]) => void): unknown
  }
  /** An instance of hyperdht. */
  export interface DistributedHashTable {
    /** The nodes we know, in the order they were last heard of. */
    readonly nodes: { readonly length: number }
    connect(publicKey: Uint8Array, options?: object): Connecting
  }
  /** Class that hyperdht exports. */
  export type DistributedHashTableClass = new (options: {
    readonly bootstrap?: readonly { readonly host: string; readonly port: number }[]
    readonly host?: string
    readonly firewalled?: boolean
  }) => DistributedHashTable
  export interface PeerInfo {
    readonly publicKey: Uint8Array
    readonly topics: readonly Uint8Array[]
  }
  export interface PeerDiscoverySession {
    refresh(options: { readonly server: boolean; readonly client: boolean }): Promise<boolean>
    flushed(): Promise<boolean>
    destroy(): Promise<void>
  }
  export default class Hyperswarm {
    constructor(options: {
      readonly dht: DistributedHashTable
      readonly keyPair?: KeyPair
      readonly maxPeers: number
    })
    readonly keyPair: KeyPair
    readonly dht: DistributedHashTable
    readonly connecting: number
    readonly connections: ReadonlySet<object>
    readonly peers: ReadonlyMap<string, PeerInfo>
    join(
      topic: Uint8Array,
      options: { readonly server: boolean; readonly client: boolean }
    ): PeerDiscoverySession
    joinPeer(publicKey: Uint8Array): void
    leavePeer(publicKey: Uint8Array): void
    flush(): Promise<boolean>
    destroy(options?: { readonly force?: boolean }): Promise<void>
    on(event: string, listener: (...args: any[]) => void): this
  }
}
