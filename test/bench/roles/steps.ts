/**
 * The child's side of a role: one step for each line of JSON on stdin, one line of JSON on stdout for each step.
 *
 *     {"step":"fetch","args":{...}}   ->   {"result":{...}} or {"error":"..."}
 *
 * The process ends when stdin does. With the argument `--tuned` it begins with `tuneProcess`.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { tuneProcess } from '../../../lib/tuning.ts'
import type { Usage } from '../feed-group.ts'

/** Milliseconds between two looks at the event loop. */
const WATCH_MS = 5

/** Steps by name. The parent and the role agree on what the arguments are. */
export type Steps = Readonly<Record<string, (args: never) => unknown>>

let stalls: IntervalHistogram | null = null

/** Takes steps until stdin ends. Every role has `watch` and `usage` besides its own. */
export async function serveSteps(own: Steps): Promise<void> {
  if (process.argv.includes('--tuned')) tuneProcess()
  const steps: Steps = { watch, usage, ...own }
  // Even in the middle of a step: whoever asked for it is gone.
  process.stdin.on('end', () => process.exit())
  for await (const line of createInterface({ input: process.stdin })) {
    const { step, args } = JSON.parse(line) as { step: string; args: never }
    let answer: object
    try {
      const run = steps[step]
      if (run === undefined) throw new Error(`no step ${step}`)
      answer = { result: (await run(args)) ?? null }
    } catch (error) {
      answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
    await new Promise((resolve) => process.stdout.write(`${JSON.stringify(answer)}\n`, resolve))
  }
}

/** Begins to look for stalls of the event loop, from now on. */
function watch(): void {
  stalls?.disable()
  stalls = monitorEventLoopDelay({ resolution: WATCH_MS })
  stalls.enable()
}

function usage(): Usage {
  const { user, system } = process.cpuUsage()
  const status = readFileSync('/proc/self/status', 'utf8')
  // The monitor counts from tick to tick; what a tick takes anyway is no stall.
  const stallMs = stalls === null ? 0 : Math.max(0, stalls.max / 1e6 - WATCH_MS)
  return {
    cpuMs: (user + system) / 1000,
    peakBytes: kilobytes(status, 'VmHWM') * 1024,
    residentBytes: kilobytes(status, 'VmRSS') * 1024,
    stallMs
  }
}

function kilobytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN)
}
