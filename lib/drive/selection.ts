import { rulingOf, scopeWith, type IgnoreScope } from './ignore/rules.ts'

/** Names that patterns with git's meaning take: of files anywhere (`*.jpg`), of a folder with all in it (`/photos/`). */
export class Selection {
  readonly #scope: IgnoreScope | null

  /** @param patterns - none takes every name; one that begins with `!` takes names out again. */
  constructor(patterns: readonly string[]) {
    const text = new TextEncoder().encode(patterns.join('\n'))
    this.#scope = patterns.length === 0 ? null : scopeWith(null, '--only', '', text)
  }

  /** @param isFolder - true for an empty folder: `/photos/` takes it, too. */
  has(name: string, isFolder = false): boolean {
    const scope = this.#scope
    if (scope === null) return true
    const rule = rulingOf(name, isFolder, () => scope)
    return rule !== null && !rule.pattern.startsWith('!')
  }
}
