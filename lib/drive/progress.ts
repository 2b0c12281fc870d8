/**
 * How far a share, a clone or a mirror is.
 *
 * @module
 */

/** What is being done: looking at files, waiting for peers, moving content, putting files in place. */
export type Phase = 'scan' | 'connect' | 'transfer' | 'apply' | 'done'

/** A look at the work. Counts are of this run. */
export interface DriveProgress {
  readonly phase: Phase
  /** Files looked at or brought up to date, and how many there are to do, as far as is known. */
  readonly files: number
  readonly filesTotal: number
  /** Bytes read or received, and how many there are to do, as far as is known. */
  readonly bytes: number
  readonly bytesTotal: number
}

/** Takes notes of progress; whoever iterates sees the latest after each turn, not each change. */
export class ProgressNotes implements AsyncIterable<DriveProgress> {
  readonly #now: { -readonly [K in keyof DriveProgress]: DriveProgress[K] } = {
    phase: 'scan',
    files: 0,
    filesTotal: 0,
    bytes: 0,
    bytesTotal: 0
  }
  #waiting: (() => void)[] = []
  #version = 0
  /** Why the work ended before it was done. */
  #failure: Error | null = null

  get now(): DriveProgress {
    return { ...this.#now }
  }

  /** Replaces some of the figures. */
  set(change: Partial<DriveProgress>): void {
    Object.assign(this.#now, change)
    this.#changed()
  }

  /** Adds to the files and bytes that are done. */
  add(files: number, bytes: number): void {
    this.#now.files += files
    this.#now.bytes += bytes
    this.#changed()
  }

  /** Ends it for whoever iterates, now or later: an error is thrown there. */
  fail(error: Error): void {
    this.#failure = error
    this.#changed()
  }

  #changed(): void {
    this.#version++
    if (this.#waiting.length === 0) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Ends when the phase is `done`. @throws SynclineError why the work ended before that. */
  async *[Symbol.asyncIterator](): AsyncGenerator<DriveProgress, void, void> {
    let seen = -1
    while (true) {
      if (seen === this.#version) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#failure !== null) throw this.#failure
      seen = this.#version
      const { now } = this
      yield now
      if (now.phase === 'done') return
    }
  }
}
