import { ratioText, type Column } from './case.ts'
import type { CaseResult } from './result.ts'
import type { Sample } from './statistics.ts'

/** The result of a case as text of fixed width. */
export function caseText({ name, title, columns, contestants, goals }: CaseResult): string {
  const rows = [
    ['', ...columns.map((column) => column.title)],
    ...contestants.map((contestant) => [
      contestant.name,
      ...columns.map((column) => cell(column, contestant.median))
    ])
  ]
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const table = rows.map((row) =>
    row
      .map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  )
  const judged = goals.map((goal) => {
    const measured = goal.measured === null ? 'not measured' : ratioText(goal, goal.measured)
    const against = goal.against === null ? '' : ` against ${goal.against}`
    return `goal: ${goal.title}${against} ${goal.bound}: ${measured}, reached: ${goal.reached ? 'yes' : 'no'}`
  })
  const failed = contestants.flatMap(({ name, error, missing }) => [
    ...(error === null ? [] : [`${name} failed: ${error}`]),
    ...(missing === null ? [] : [`${name} was left out: apt-get install ${missing}`])
  ])
  return [`${name}: ${title}`, ...[...table, ...judged, ...failed].map((line) => `  ${line}`)].join(
    '\n'
  )
}

/** One value of a table; empty if it was not measured. */
export function cell({ metric, scale = 1, digits = 0 }: Column, sample: Sample): string {
  const value = sample[metric]
  if (value === undefined || !Number.isFinite(value)) return ''
  return (value * scale).toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits
  })
}
