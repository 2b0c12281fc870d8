import type { Log } from './log.ts'
import { count, visible } from './text.ts'

/** Names that are listed at most, unless `-v` is given. */
const NAMES_MAX = 20

/** Lists what deserves a look, on stderr: a line above, and each name with what is to be said of it. */
export function tellNames(log: Log, title: string, lines: readonly string[]): void {
  if (lines.length === 0) return
  const shown = log.verbose ? lines : lines.slice(0, NAMES_MAX)
  log.error(`${title}:`)
  for (const line of shown) log.error(`  ${visible(line)}`)
  const left = lines.length - shown.length
  if (left > 0) log.error(`  and ${count(left, 'more name')}; -v lists all`)
}
