import type { Writable } from 'node:stream'
import { OutputClosed } from './exit.ts'

/** Results on stdout, at the pace of its reader. */
export class Output {
  readonly json: boolean
  readonly #stream: Writable
  #closed = false

  constructor(stream: Writable, json: boolean) {
    this.json = json
    this.#stream = stream
    stream.on('error', (error: Error & { code?: string }) => {
      if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') this.#closed = true
      else throw error
    })
  }

  /** Writes bytes and resolves once they are taken. @throws OutputClosed when the reader is gone. */
  write(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed || this.#stream.destroyed) {
        reject(new OutputClosed())
        return
      }
      this.#stream.write(bytes, (error) => {
        const code = (error as { code?: string } | null | undefined)?.code
        if (error === null || error === undefined) resolve()
        else if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') reject(new OutputClosed())
        else reject(error)
      })
    })
  }

  /** Writes one result: the record with `--json`, else the text, which may be several lines or empty. */
  async result(record: object, text: string): Promise<void> {
    if (this.json) await this.write(`${JSON.stringify(record)}\n`)
    else if (text !== '') await this.write(`${text}\n`)
  }
}
