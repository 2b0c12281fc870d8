/**
 * Two ends of a connection inside one process, encrypted like any other.
 *
 * @module
 */
import { Duplex } from 'node:stream'
import { rawBytes } from './raw-bytes.ts'
import { handshake, secure } from './secret-stream.ts'
import type { TransportConnection } from './transport.ts'

/** Two connected ends; the first one is the initiator. Resolves when the handshake is done. */
export async function memoryPair(): Promise<[TransportConnection, TransportConnection]> {
  const [one, other] = duplexPair()
  const ends = [secure(true, one), secure(false, other)] as const
  await Promise.all(ends.map((stream) => handshake(stream, { address: 'memory' })))
  return [connection(ends[0]), connection(ends[1])]
}

function connection(stream: TransportConnection['stream']): TransportConnection {
  return { stream, address: 'memory', dialled: null, owned: true, ...rawBytes(stream) }
}

/** Two byte streams, each of which reads what the other writes. Back-pressure passes through. */
export function duplexPair(): [Duplex, Duplex] {
  const one = new MemoryStream()
  const other = new MemoryStream()
  one.peer = other
  other.peer = one
  return [one, other]
}

class MemoryStream extends Duplex {
  /** The names of a socket's counters. */
  bytesRead = 0
  bytesWritten = 0
  peer: MemoryStream | null = null
  #resume: (() => void) | null = null

  override _write(bytes: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    const { peer } = this
    if (peer === null || peer.destroyed) return done(new Error('the other end is gone'))
    this.bytesWritten += bytes.byteLength
    peer.bytesRead += bytes.byteLength
    if (peer.push(bytes)) done()
    else peer.#resume = done
  }

  override _read(): void {
    const resume = this.#resume
    this.#resume = null
    resume?.()
  }

  override _final(done: () => void): void {
    this.peer?.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this
    this._read()
    // As a reset does; after an orderly end the other side reads what is left.
    if (!this.writableFinished && peer !== null) process.nextTick(() => peer.destroy())
    done(error)
  }
}
