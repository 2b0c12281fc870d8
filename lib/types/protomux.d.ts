// protomux 3.12.1: the part that syncline uses. Members with an underscore are private there; a test holds them against the
// class, so an upgrade that renames one is noticed.
declare module 'protomux' {
  interface State {
    start: number
    end: number
    buffer: Uint8Array | null
  }
  interface Encoding<T> {
    preencode(state: State, value: T): void
    encode(state: State, value: T): void
    decode(state: State): T
  }
  /** What a channel calls for messages of one type. */
  export interface ChannelMessage {
    /** False: a reply does not wait until the whole batch was handled. */
    readonly autoBatch: boolean
    recv(state: State, channel: Channel): unknown
    /** Missing on those that were not made by Protomux. */
    send?(message: unknown): boolean
  }
  export interface MessageOptions {
    readonly encoding?: Encoding<any>
    readonly onmessage?: (message: any) => unknown
    readonly autoBatch?: boolean
  }
  export interface Channel {
    readonly opened: boolean
    readonly closed: boolean
    readonly userData: unknown
    /** By the number of their type. */
    messages: readonly ChannelMessage[]
    /** Our own number of the channel plus one; 0 when closed. */
    readonly _localId: number
    /** The remote's number plus one; 0 before it opened. */
    readonly _remoteId: number
    /** Resolves to false if it was closed before. */
    fullyOpened(): Promise<boolean>
    _close(isRemote: boolean): void
    addMessage(options: MessageOptions | null): ChannelMessage
    open(handshake: unknown): void
    close(): void
  }
  export interface ChannelName {
    readonly protocol: string
    readonly id?: Uint8Array | null
  }
  export interface ChannelOptions extends ChannelName {
    readonly aliases?: readonly string[]
    readonly userData?: unknown
    readonly handshake?: Encoding<any>
    readonly messages?: readonly (MessageOptions | null)[]
    readonly onopen?: (handshake: any) => void
    readonly onclose?: (isRemote: boolean) => void
    readonly ondrain?: () => void
  }
  export default class Protomux {
    constructor(stream: unknown)
    readonly isProtomux: true
    readonly stream: { destroy(): unknown; readonly destroying?: boolean }
    corked: number
    drained: boolean
    readonly _notify: Map<string, (id: Uint8Array | null) => unknown>
    /** By the remote's number less one; `pending` holds messages until we opened too, and is null afterwards. */
    readonly _remote: readonly ({
      readonly pending: unknown[] | null
      readonly session: Channel | null
    } | null)[]
    /** Numbers of ours, less one, that may be used again; the next one is the last. */
    readonly _free: readonly number[]
    readonly _paused: boolean
    /** Bytes of messages for channels that are not open yet, and 512 for each. */
    readonly _buffered: number
    _destroying: boolean
    cork(): void
    uncork(): void
    [Symbol.iterator](): Iterator<Channel>
    opened(name: ChannelName): boolean
    pair(name: ChannelName, notify: (id: Uint8Array | null) => unknown): void
    unpair(name: ChannelName): void
    createChannel(options: ChannelOptions): Channel | null
    _ondata(frame: Uint8Array): void
    _ondrain(): void
    _pushBatch(localId: number, message: Uint8Array): void
    _write0(frame: Uint8Array): void
    _alloc(byteLength: number): Uint8Array
    _onopensession(state: State): unknown
    _onclosesession(state: State): void
    _onbatch(state: State): void
    _decode(remoteId: number, state: State): unknown
    _safeDestroy(error: unknown): void
    _warn(error: unknown): void
  }
}
