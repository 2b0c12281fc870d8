// hypercore 11.37.1: the part that the tests use.
declare module 'hypercore' {
  import type { Duplex } from 'node:stream'

  export default class Hypercore {
    constructor(storage: string, key?: Uint8Array | null, options?: object)
    readonly key: Uint8Array
    readonly discoveryKey: Uint8Array
    readonly length: number
    readonly byteLength: number
    readonly fork: number
    readonly contiguousLength: number
    readonly closed: boolean
    // oxlint-disable-next-line typescript/no-explicit-any -- internals that tests look into
    readonly core: any
    readonly keyPair: { publicKey: Uint8Array; secretKey: Uint8Array }
    ready(): Promise<void>
    close(): Promise<void>
    session(options?: object): Hypercore
    snapshot(options?: object): Hypercore
    append(blocks: unknown): Promise<{ length: number; byteLength: number }>
    get(index: number, options?: object): Promise<Uint8Array | null>
    has(start: number, end?: number): Promise<boolean>
    clear(start: number, end?: number): Promise<unknown>
    truncate(length: number, options?: object): Promise<void>
    treeHash(length?: number): Promise<Uint8Array>
    // oxlint-disable-next-line typescript/no-explicit-any -- hypercore's own shape of a proof
    proof(request: object): Promise<any>
    download(range?: object): { done(): Promise<unknown>; destroy(): void }
    update(options?: object): Promise<boolean>
    replicate(initiator: boolean | Duplex, options?: object): Duplex
    // oxlint-disable-next-line typescript/no-explicit-any -- any listener
    on(event: string, listener: (...args: any[]) => void): this
    // oxlint-disable-next-line typescript/no-explicit-any -- any listener
    once(event: string, listener: (...args: any[]) => void): this
    // oxlint-disable-next-line typescript/no-explicit-any -- any listener
    off(event: string, listener: (...args: any[]) => void): this
  }
}
