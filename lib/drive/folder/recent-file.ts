import { closeSync, constants, openSync, read, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { SMALL_BYTES } from '../../feed/file/pace.ts'

// A name may be a pipe by now, which would wait for a writer, or a link.
const READ_FLAGS: number =
  constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
/** Milliseconds for which a file that nobody reads stays open. */
const IDLE_MS = 500

const readAt = promisify(read)

interface Open {
  readonly file: string
  readonly fd: number
  /** Reads under way. */
  users: number
  usedAt: number
}

/** Reads files of a folder, and keeps the last one open for a moment: large ones are read piece by piece. */
export class RecentFile {
  #open: Open | null = null
  #isWatched = false

  /** Fills `target` from `position` on, as far as the file goes; resolves to the bytes read. @throws the system's errors. */
  async read(file: string, target: Uint8Array, position: number): Promise<number> {
    const open = this.#take(file)
    try {
      let count = 0
      while (count < target.byteLength) {
        const rest = target.byteLength - count
        const at = position + count
        const bytesRead =
          rest <= SMALL_BYTES
            ? readSync(open.fd, target, count, rest, at)
            : (await readAt(open.fd, target, count, rest, at)).bytesRead
        if (bytesRead === 0) break
        count += bytesRead
      }
      return count
    } finally {
      open.users--
      if (open !== this.#open) close(open)
    }
  }

  /** Lets the file go: another one may stand there from now on. */
  close(): void {
    const open = this.#open
    this.#open = null
    if (open !== null) close(open)
  }

  #take(file: string): Open {
    let open = this.#open
    if (open?.file !== file) {
      this.close()
      open = { file, fd: openSync(file, READ_FLAGS), users: 0, usedAt: 0 }
      this.#open = open
    }
    open.users++
    open.usedAt = performance.now()
    if (!this.#isWatched) this.#watch()
    return open
  }

  /** Closes what nobody read for a moment. One timer goes on over many files. */
  #watch(): void {
    this.#isWatched = true
    setTimeout(() => {
      this.#isWatched = false
      const open = this.#open
      if (open === null) return
      if (performance.now() - open.usedAt >= IDLE_MS) this.close()
      else this.#watch()
    }, IDLE_MS).unref()
  }
}

/** Closes a file when the last read of it is done. */
function close({ fd, users }: Open): void {
  if (users === 0) closeSync(fd)
}
