/**
 * Which ignore files hold in a folder.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { IGNORE_BYTES_MAX, IGNORE_RULES_MAX } from '../../limits.ts'
import { IGNORE_FILE, scopeWith, type IgnoreScope } from '../ignore/rules.ts'
import { isGone, requiredCode, type FolderReader } from './reader.ts'

/** Where the rules of a folder come from. */
export interface IgnoreSource {
  readonly reader: FolderReader
  /** Path of the whole tree, without a slash at its end. */
  readonly root: string
  /** Whether git's own files hold too, below ours of the same folder. */
  readonly gitignore: boolean
}

/**
 * The rules that hold in a folder.
 *
 * @param name name of the folder in the drive, empty for the root.
 * @param above the rules of the folder above it.
 * @param holds tells whether there may be a file of that name in the folder.
 * @throws the system's error if a file cannot be read (`ELOOP` for a link), and SynclineError TOO_MANY if the rules
 * become too many: a folder whose rules are not known must not be shared.
 */
export function rulesIn(
  source: IgnoreSource,
  name: string,
  above: IgnoreScope | null,
  holds: (file: string) => boolean
): IgnoreScope | null {
  let scope = above
  if (source.gitignore) {
    if (name === '' && holds('.git')) scope = withFile(source, name, '.git/info/exclude', scope)
    if (holds('.gitignore')) scope = withFile(source, name, '.gitignore', scope)
  }
  return holds(IGNORE_FILE) ? withFile(source, name, IGNORE_FILE, scope) : scope
}

/** Whether a change of this file changes what is ignored. */
export function isRuleFile(source: IgnoreSource, name: string): boolean {
  if (name.endsWith(`/${IGNORE_FILE}`)) return true
  return source.gitignore && (name.endsWith('/.gitignore') || name === '/.git/info/exclude')
}

function withFile(
  source: IgnoreSource,
  name: string,
  file: string,
  above: IgnoreScope | null
): IgnoreScope | null {
  const fileName = `${name}/${file}`
  const bytes = above?.total.bytes ?? 0
  let text: Uint8Array | null
  try {
    text = source.reader.read(source.root + fileName, IGNORE_BYTES_MAX - bytes)
  } catch (error) {
    // Git does not look at links.
    if (isGone(error) || (file !== IGNORE_FILE && requiredCode(error) === 'ELOOP')) return above
    throw error
  }
  const scope = text === null ? null : scopeWith(above, fileName, name, text)
  if (scope === null || scope.total.rules > IGNORE_RULES_MAX) {
    throw new SynclineError(
      'TOO_MANY',
      `${fileName} and the ignore files above it hold more than ${IGNORE_RULES_MAX} rules or ${IGNORE_BYTES_MAX} bytes`,
      { path: source.root + fileName }
    )
  }
  return scope
}
