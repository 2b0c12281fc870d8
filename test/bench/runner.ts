import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Case } from './case.ts'
import { resultOf, type CaseResult } from './result.ts'
import { CaseStage, Stage } from './stage.ts'
import type { Sample } from './statistics.ts'

/** How cases are run. */
export interface RunOptions {
  /** Of each contestant. */
  readonly runs: number
  /** Where CPU profiles of the roles go, or null. */
  readonly profileFolder: string | null
  /** Hears of each run as it ends. */
  readonly log: (line: string) => void
}

/** Runs the contestants of a case in turn, A B C A B C ..., so that all of them meet the same weather. */
export async function runCase(case_: Case, options: RunOptions): Promise<CaseResult> {
  const { runs, profileFolder, log } = options
  const samples = new Map<string, Sample[]>(case_.contestants.map(({ name }) => [name, []]))
  const errors = new Map<string, string>()
  const missing = new Map<string, string>()
  for (const { name, needs } of case_.contestants) {
    if (needs === undefined || isInstalled(needs)) continue
    missing.set(name, needs)
    log(`${case_.name} ${name}: left out, ${needs} is not installed`)
  }
  const shared = new CaseStage()
  try {
    for (let run = 1; run <= runs; run++) {
      for (const contestant of case_.contestants) {
        const { name } = contestant
        if (errors.has(name) || missing.has(name)) continue
        const profile =
          profileFolder === null
            ? null
            : path.join(
                path.resolve(profileFolder),
                `${case_.name}-${run}-${name.replace(/\W+/g, '-')}`
              )
        const stage = new Stage(shared, profile, contestant.tuned ?? null)
        const began = performance.now()
        let end: string
        try {
          samples.get(name)?.push(await contestant.run(stage))
          end = 'ok'
        } catch (error) {
          end = error instanceof Error ? error.message : String(error)
          errors.set(name, end)
        } finally {
          await stage.end(case_.manyFiles === true)
        }
        const seconds = ((performance.now() - began) / 1000).toFixed(1)
        log(`${case_.name} ${run}/${runs} ${name}: ${end}, ${seconds} s`)
      }
    }
  } finally {
    if (case_.manyFiles !== true) shared.remove()
  }
  return resultOf(case_, samples, errors, missing)
}

function isInstalled(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter)
  return folders.some((folder) => existsSync(path.join(folder, program)))
}
