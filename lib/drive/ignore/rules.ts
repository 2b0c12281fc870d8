/**
 * Rules of ignore files, with the meaning that git gives to them: which rule decides about a name.
 *
 * Pure: texts come in, rules and answers go out.
 *
 * @module
 */
import { compileGlob, matchesGlob, type Glob } from './glob.ts'

/** One line of an ignore file. */
export interface IgnoreRule {
  /** Name of the file in the drive, such as `/a/.synclineignore`. */
  readonly file: string
  /** Number of the line, from 1. */
  readonly line: number
  /** The pattern as it was written, without the spaces after it. */
  readonly pattern: string
  /** Whether names that match are shared after all. */
  readonly negated: boolean
}

/** The ignore file that always holds; others are git's. */
export const IGNORE_FILE = '.synclineignore'

interface Rule extends IgnoreRule {
  readonly folderOnly: boolean
  /** Whether the pattern is compared with the last part of a name alone. */
  readonly lastPart: boolean
  readonly glob: Glob
}

/** The rules that hold below a folder: of one file, over all that hold there already. */
export interface IgnoreScope {
  /** Rules that are asked where these do not decide. */
  readonly above: IgnoreScope | null
  /** Rules and bytes of their files, with all above. */
  readonly total: { readonly rules: number; readonly bytes: number }
  /** Name of the folder with a slash behind it, as a byte string. */
  readonly base: string
  /** Whether the file is git's: such rules do not hold in a folder `.git`, of which git does not speak. */
  readonly git: boolean
  /** In the order of the file. */
  readonly rules: readonly Rule[]
}

/**
 * Adds the rules of one file to those that hold already.
 *
 * @param above rules that yield to the new ones, or null.
 * @param file name of the ignore file, for {@link IgnoreRule.file}.
 * @param folder name of the folder for which it holds, such as `/a`; empty for the root.
 * @param text bytes of the file.
 */
export function scopeWith(
  above: IgnoreScope | null,
  file: string,
  folder: string,
  text: Uint8Array
): IgnoreScope {
  const rules = parseRules(file, text)
  const total = {
    rules: (above?.total.rules ?? 0) + rules.length,
    bytes: (above?.total.bytes ?? 0) + text.length
  }
  const git = !file.endsWith(`/${IGNORE_FILE}`)
  return { above, total, base: byteString(`${folder}/`), git, rules }
}

/**
 * The rule that decides about a name, or null if none speaks of it. The name is ignored if the rule is not negated.
 *
 * @param name name in the drive, below the folder of `scope`; no folder above it may be ignored.
 * @param folder whether it is a folder (links are none).
 */
export function decidingRule(
  scope: IgnoreScope | null,
  name: string,
  folder: boolean
): IgnoreRule | null {
  if (scope === null) return null
  const bytes = byteString(name)
  const lastPart = bytes.slice(bytes.lastIndexOf('/') + 1)
  for (let asked: IgnoreScope | null = scope; asked !== null; asked = asked.above) {
    const { base, git, rules } = asked
    if (git && IN_GIT.test(bytes)) continue
    const path = bytes.slice(base.length)
    for (let index = rules.length - 1; index >= 0; index--) {
      const rule = rules[index] as Rule
      if (rule.folderOnly && !folder) continue
      if (matchesGlob(rule.glob, rule.lastPart ? lastPart : path)) return rule
    }
  }
  return null
}

/**
 * The rule that decides about a name in any folder: below a folder that is ignored, nothing is shared any more.
 *
 * @param scopeOf the rules that hold in a folder; asked for the root (an empty name) first and never below an ignored folder.
 */
export function rulingOf(
  name: string,
  folder: boolean,
  scopeOf: (folder: string) => IgnoreScope | null
): IgnoreRule | null {
  for (let at = 0; ;) {
    const end = name.indexOf('/', at + 1)
    const part = end < 0 ? name : name.slice(0, end)
    const rule = decidingRule(scopeOf(name.slice(0, at)), part, end >= 0 || folder)
    if (end < 0 || (rule !== null && !rule.negated)) return rule
    at = end
  }
}

const IN_GIT = /\/\.git(?:\/|$)/

function parseRules(file: string, text: Uint8Array): Rule[] {
  const rules: Rule[] = []
  const bytes = Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('latin1')
  const lines = bytes.replace(/^\xef\xbb\xbf/, '').split('\n')
  for (const [index, line] of lines.entries()) {
    const rule = parseRule(file, index + 1, line)
    if (rule !== null) rules.push(rule)
  }
  return rules
}

function parseRule(file: string, line: number, text: string): Rule | null {
  if (text.startsWith('#')) return null
  // Git's lines are strings of C: what follows a zero byte is not seen.
  const written = withoutSpaces(text.replace(/\r$/, '').replace(/\0.*$/s, ''))
  const negated = written.startsWith('!')
  let pattern = negated ? written.slice(1) : written
  const folderOnly = pattern.endsWith('/')
  if (folderOnly) pattern = pattern.slice(0, -1)
  const lastPart = !pattern.includes('/')
  if (pattern.startsWith('/')) pattern = pattern.slice(1)
  const glob = pattern === '' ? null : compileGlob(pattern)
  if (glob === null) return null
  const shown = Buffer.from(written, 'latin1').toString()
  return { file, line, pattern: shown, negated, folderOnly, lastPart, glob }
}

/** `text` without the spaces at its end, unless the last is escaped. */
function withoutSpaces(text: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === ' ') end--
  let escapes = 0
  while (escapes < end && text[end - 1 - escapes] === '\\') escapes++
  return escapes % 2 === 1 && end < text.length ? text.slice(0, end + 1) : text.slice(0, end)
}

/** The UTF-8 bytes of `text`, one character each. */
function byteString(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return /^[\0-\x7f]*$/.test(text) ? text : Buffer.from(text).toString('latin1')
}
