/**
 * Progress of shared and cloned folders on stderr: phase, files, bytes, rate, what is left, and peers.
 *
 * @module
 */
import type { DriveProgress } from '../../drive/progress.ts'
import type { Log } from './log.ts'
import { bar, ProgressLines } from './progress.ts'
import { count, formatBytes, formatMs } from './text.ts'

/** How far one folder is, as shown. */
export interface DriveStatus extends DriveProgress {
  readonly label: string
  /** What it does when there is nothing to do. */
  readonly rest: string
  readonly bytesPerSecond: number
  readonly peers: number
  /** What it waits for, or null. */
  readonly waiting: string | null
}

/** Milliseconds until the first plain line. */
const FIRST_MS = 2000
/** Milliseconds over which a rate is smoothed. */
const RATE_MS = 2000

/** See the module comment. */
export class FolderProgress {
  readonly #log: Log
  readonly #lines: ProgressLines

  constructor(log: Log, clock?: () => number) {
    this.#log = log
    this.#lines = new ProgressLines(log, FIRST_MS, clock)
  }

  /** Shows the present state, if it is time to. */
  update(folders: readonly DriveStatus[]): void {
    this.#lines.update(
      () => folders.map(barOf),
      () => {
        const open = folders.filter(({ phase }) => phase !== 'done')
        // Why nothing comes is said even without progress.
        const told = this.#log.progress ? open : open.filter(({ waiting }) => waiting !== null)
        return told.map(lineOf)
      }
    )
  }
}

/** Bytes per second of a figure that grows, smoothed. */
export class RateMeter {
  #bytes = 0
  #at: number
  #rate = 0

  constructor(nowMs: number) {
    this.#at = nowMs
  }

  /** @param bytes - so far; fewer than before begins anew. */
  measure(bytes: number, nowMs: number): number {
    const ms = nowMs - this.#at
    if (bytes < this.#bytes) this.#rate = 0
    else if (ms > 0) {
      const present = ((bytes - this.#bytes) / ms) * 1000
      this.#rate += (present - this.#rate) * (1 - Math.exp(-ms / RATE_MS))
    }
    this.#bytes = bytes
    this.#at = nowMs
    return this.#rate
  }
}

function barOf(status: DriveStatus): string {
  const { phase, files, filesTotal, bytes, bytesTotal } = status
  if (phase === 'done' || phase === 'connect') return lineOf(status)
  const part = bytesTotal > 0 ? bytes / bytesTotal : filesTotal > 0 ? files / filesTotal : 0
  return bar(Math.min(part, 1), lineOf(status))
}

function lineOf(status: DriveStatus): string {
  const { label, phase, files, filesTotal, bytes, bytesTotal, bytesPerSecond, peers } = status
  if (status.waiting !== null) return `${label}: waiting: ${status.waiting}`
  const parts: string[] = [phase === 'done' ? status.rest : phase]
  if (phase !== 'done' && phase !== 'connect') {
    if (filesTotal > 0) parts.push(`${files}/${filesTotal} files`)
    if (bytesTotal > 0) {
      parts.push(`${formatBytes(bytes)} of ${formatBytes(bytesTotal)}`)
      parts.push(`${Math.floor((Math.min(bytes, bytesTotal) / bytesTotal) * 100)} %`)
    }
  }
  parts.push(count(peers, 'peer'))
  if (bytesPerSecond >= 1) {
    parts.push(`${formatBytes(bytesPerSecond)}/s`)
    const left = bytesTotal - bytes
    if (phase !== 'done' && left > 0) parts.push(`${formatMs((left / bytesPerSecond) * 1000)} left`)
  }
  return `${label}: ${parts.join(', ')}`
}
