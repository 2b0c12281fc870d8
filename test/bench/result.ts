import { boundOf, isReached, ratioOf, type Case, type Column, type Goal } from './case.ts'
import type { Machine } from './machine.ts'
import { medians, type Sample } from './statistics.ts'

/** What `--json` writes. */
export interface BenchResult {
  readonly machine: Machine
  /** True if the sizes were small: then the figures say nothing. */
  readonly quick: boolean
  readonly cases: readonly CaseResult[]
}

/** What came of one case. */
export interface CaseResult {
  readonly name: string
  readonly title: string
  readonly columns: readonly Column[]
  readonly contestants: readonly ContestantResult[]
  readonly goals: readonly GoalResult[]
}

/** What came of one contestant. */
export interface ContestantResult {
  readonly name: string
  /** In the order of the runs. */
  readonly samples: readonly Sample[]
  readonly median: Sample
  /** What ended it, or null. */
  readonly error: string | null
  /** Program that it needs and that is not here, or null: it was left out then. */
  readonly missing: string | null
}

/** A goal, and how far it was reached. */
export interface GoalResult extends Omit<Goal, 'ratio'> {
  /** `>= 40x`. */
  readonly bound: string
  /** From the medians; null if one of them is missing. */
  readonly measured: number | null
  readonly reached: boolean
}

/** The result of a case from the samples of its contestants, what ended them, and what they lack. */
export function resultOf(
  case_: Case,
  samples: ReadonlyMap<string, readonly Sample[]>,
  errors: ReadonlyMap<string, string>,
  missing: ReadonlyMap<string, string>
): CaseResult {
  const contestants = case_.contestants.map(({ name }) => {
    const own = samples.get(name) ?? []
    return {
      name,
      samples: own,
      median: medians(own),
      error: errors.get(name) ?? null,
      missing: missing.get(name) ?? null
    }
  })
  const value = (name: string, metric: string): number =>
    contestants.find((contestant) => contestant.name === name)?.median[metric] ?? NaN
  const goals = case_.goals.map((goal) => {
    const { ratio: _, ...rest } = goal
    const measured = ratioOf(goal, value)
    return {
      ...rest,
      bound: boundOf(goal),
      measured: Number.isFinite(measured) ? measured : null,
      reached: isReached(goal, measured)
    }
  })
  const { name, title, columns } = case_
  return { name, title, columns, contestants, goals }
}
