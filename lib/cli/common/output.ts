import type { Writable } from 'node:stream'
import { OutputClosed } from './exit.ts'
import { visibleLines } from './text.ts'

/** Results on stdout, at the pace of its reader. */
export class Output {
  readonly json: boolean
  readonly #stream: Writable

  constructor(stream: Writable, json: boolean) {
    this.json = json
    this.#stream = stream
    // Whoever writes is told.
    stream.on('error', () => {})
  }

  /** Writes bytes and resolves once they are taken. @throws OutputClosed when the reader is gone; what the system says. */
  write(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) => {
      const { destroyed, errored } = this.#stream
      if (destroyed) {
        reject(reasonOf(errored))
        return
      }
      this.#stream.write(bytes, (error) => {
        if (error === null || error === undefined) resolve()
        else reject(reasonOf(error))
      })
    })
  }

  /**
   * Writes one result: the record with `--json`, else the text, which may be several lines or empty. What controls a
   * terminal does not reach it: names are those of whoever made the drive.
   */
  async result(record: object, text: string): Promise<void> {
    if (this.json) await this.write(`${JSON.stringify(record)}\n`)
    else if (text !== '') await this.write(`${visibleLines(text)}\n`)
  }
}

/** Why nothing more can be written. */
function reasonOf(error: (Error & { readonly code?: string }) | null): Error {
  const isGone = error === null || error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED'
  return isGone ? new OutputClosed() : error
}
