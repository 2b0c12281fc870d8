import type { FramedStream } from './transport.ts'

/** How far a raw stream has come. */
export interface RawBytes {
  rawBytesRead(): number
  rawBytesWritten(): number
}

interface SocketHandle {
  readonly bytesWritten?: number
  readonly writeQueueSize?: number
}

interface RawStream {
  readonly bytesRead?: number
  readonly bytesWritten?: number
  /** A Node socket's. */
  readonly _handle?: SocketHandle | null
  readonly bytesReceived?: number
  readonly bytesTransmitted?: number
}

/**
 * Counters of the stream under the encryption: a Node socket, a UDX stream, else the whole frames of `stream` itself.
 *
 * Whole frames are too coarse where it can be helped: one block can be 15 MiB.
 */
export function rawBytes(stream: FramedStream): RawBytes {
  const raw = (stream.rawStream ?? {}) as RawStream
  if (typeof raw.bytesRead === 'number') {
    return { rawBytesRead: () => raw.bytesRead ?? 0, rawBytesWritten: () => takenBySystem(raw) }
  }
  if (typeof raw.bytesReceived === 'number') {
    return {
      rawBytesRead: () => raw.bytesReceived ?? 0,
      rawBytesWritten: () => raw.bytesTransmitted ?? 0
    }
  }
  return {
    rawBytesRead: () => stream.rawBytesRead,
    rawBytesWritten: () => (stream as { rawBytesWritten?: number }).rawBytesWritten ?? 0
  }
}

/**
 * `bytesWritten` of a socket counts what still waits in this process. Only the handle knows what the system took;
 * Node's own socket time-outs look there too.
 */
function takenBySystem(raw: RawStream): number {
  const handle = raw._handle
  if (typeof handle?.bytesWritten !== 'number') return raw.bytesWritten ?? 0
  return handle.bytesWritten - (handle.writeQueueSize ?? 0)
}
