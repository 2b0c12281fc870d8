// hypercore 10.38.2 under its alias: the part that tests of files use.
declare module 'hypercore10' {
  export default class Hypercore10 {
    constructor(storage: string, key?: Uint8Array | null, options?: object)
    readonly key: Uint8Array
    readonly length: number
    readonly byteLength: number
    readonly fork: number
    readonly contiguousLength: number
    readonly writable: boolean
    ready(): Promise<void>
    append(blocks: Uint8Array | readonly Uint8Array[]): Promise<{ length: number }>
    get(index: number, options?: { wait?: boolean }): Promise<Uint8Array>
    has(start: number, end?: number): Promise<boolean>
    clear(start: number, end: number): Promise<unknown>
    truncate(length: number): Promise<void>
    treeHash(length?: number): Promise<Uint8Array>
    setUserData(name: string, value: Uint8Array): Promise<void>
    getUserData(name: string): Promise<Uint8Array | null>
    replicate(initiator: boolean): HypercoreStream
    readonly core: { audit(): Promise<{ tree: number; blocks: number }> }
    close(): Promise<void>
  }
  export interface HypercoreStream {
    pipe(other: HypercoreStream): HypercoreStream
    on(event: 'error', callback: (error: Error) => void): void
    destroy(): void
  }
}
