import type { Sample } from './statistics.ts'
import type { Stage } from './stage.ts'

/** One thing that is measured, by several contestants in turn. */
export interface Case {
  /** Short, as it stands on the command line. */
  readonly name: string
  readonly title: string
  /**
   * True if thousands of files are made, and removed when all cases are done: for minutes after such a removal ext4
   * takes twenty times as long to make new ones.
   */
  readonly manyFiles?: boolean
  /** Metrics of a row of the result, in order. */
  readonly columns: readonly Column[]
  readonly contestants: readonly Contestant[]
  readonly goals: readonly Goal[]
}

/** Who is measured. */
export interface Contestant {
  readonly name: string
  /** Program that it needs on the PATH, of the package of the same name; it is left out where there is none. */
  readonly needs?: string
  /**
   * Whether its processes begin with `tuneProcess` of syncline, as its command line does. Unless told, syncline's do and
   * those of others do not.
   */
  readonly tuned?: boolean
  /** Runs once, checks what came out, and gives what was measured. */
  run(stage: Stage): Promise<Sample>
}

/** A metric and how it is shown: value x `scale` with `digits` behind the point. */
export interface Column {
  readonly metric: string
  readonly title: string
  readonly scale?: number
  readonly digits?: number
}

/** A ratio that has to be reached. */
export interface Goal {
  readonly title: string
  /** What the two sides are compared by. */
  readonly metric: string
  /** Contestants: the one measured and the one it is held against; null if the goal is absolute. */
  readonly of: string
  readonly against: string | null
  /** From the medians of the contestants; by default `of` / `against` of `metric`. */
  readonly ratio?: (value: Value) => number
  readonly atLeast?: number
  readonly atMost?: number
  /** Default: `x`. */
  readonly unit?: 'x' | '%' | 'round trips' | 'MiB'
}

/** Median of a metric of a contestant; NaN if it was not measured. */
export type Value = (contestant: string, metric: string) => number

/** The ratio of a goal. */
export function ratioOf(goal: Goal, value: Value): number {
  if (goal.ratio !== undefined) return goal.ratio(value)
  const of = value(goal.of, goal.metric)
  return goal.against === null ? of : of / value(goal.against, goal.metric)
}

/** Whether a ratio is what the goal asks for. */
export function isReached(
  { atLeast = -Infinity, atMost = Infinity }: Goal,
  ratio: number
): boolean {
  return ratio >= atLeast && ratio <= atMost
}

/** `>= 40x`. */
export function boundOf(goal: Goal): string {
  const { atLeast, atMost } = goal
  const sign = atLeast === undefined ? '<=' : '>='
  return `${sign} ${ratioText(goal, atLeast ?? atMost ?? NaN)}`
}

/** A ratio in the unit of a goal. */
export function ratioText({ unit = 'x' }: Goal, ratio: number): string {
  if (unit === '%') return `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)} %`
  const digits = Number(Math.abs(ratio) < 10 ? ratio.toFixed(2) : ratio.toFixed(1))
  return unit === 'x' ? `${digits}x` : `${digits} ${unit}`
}
