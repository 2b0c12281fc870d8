// hypercore 11.37.1 and 10.38.2: the encodings that our codecs are compared with.
interface HypercoreEncoding {
  preencode(state: { start: number; end: number; buffer: Uint8Array | null }, value: unknown): void
  encode(state: { start: number; end: number; buffer: Uint8Array | null }, value: unknown): void
  decode(state: { start: number; end: number; buffer: Uint8Array | null }): unknown
}

interface HypercoreWire {
  readonly handshake: HypercoreEncoding
  readonly sync: HypercoreEncoding
  readonly request: HypercoreEncoding
  readonly cancel: HypercoreEncoding
  readonly data: HypercoreEncoding
  readonly noData: HypercoreEncoding
  readonly want: HypercoreEncoding
  readonly unwant: HypercoreEncoding
  readonly bitfield: HypercoreEncoding
  readonly range: HypercoreEncoding
  readonly extension: HypercoreEncoding
}

declare module 'hypercore/messages.js' {
  const messages: {
    readonly wire: HypercoreWire
    readonly manifest: HypercoreEncoding
    readonly multiSignature: HypercoreEncoding
    readonly multiSignaturev0: HypercoreEncoding
  }
  export default messages
}

declare module 'hypercore10/lib/messages.js' {
  const messages: { readonly wire: HypercoreWire; readonly manifest: HypercoreEncoding }
  export default messages
}
