import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import { readFileSync } from 'node:fs'

/** Where and of what a benchmark was run. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  /** ISO 8601. */
  readonly date: string
  /** Short hash, with `+` when files were changed since. */
  readonly commit: string
}

/** This machine, now. */
export function machine(): Machine {
  const all = cpus()
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim(),
    node: process.version,
    date: new Date().toISOString(),
    commit: commit()
  }
}

/** One line for people. */
export function machineLine({
  cpu,
  cores,
  memoryBytes,
  kernel,
  node,
  date,
  commit
}: Machine): string {
  const gigabytes = Math.round(memoryBytes / 2 ** 30)
  return `${cores} x ${cpu}, ${gigabytes} GiB, Linux ${kernel}, Node ${node}, ${date.slice(0, 10)}, commit ${commit}`
}

function commit(): string {
  try {
    const hash = git('rev-parse', '--short', 'HEAD')
    return git('status', '--porcelain', '--untracked-files=no', 'lib', 'wasm') === ''
      ? hash
      : `${hash}+`
  } catch {
    return 'unknown'
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
}
