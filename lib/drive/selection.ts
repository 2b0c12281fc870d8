import { rulingOf, scopeWith, type IgnoreScope } from './ignore/rules.ts'

/** Names that patterns with git's meaning take: of files anywhere (`*.jpg`), of a folder with all in it (`/photos/`). */
export class Selection {
  readonly #scope: IgnoreScope | null

  /** @param patterns - none takes every name; one that begins with `!` takes names out again. */
  constructor(patterns: readonly string[]) {
    const text = new TextEncoder().encode(patterns.join('\n'))
    this.#scope = patterns.length === 0 ? null : scopeWith(null, '--only', '', text)
  }

  has(name: string): boolean {
    const scope = this.#scope
    if (scope === null) return true
    const rule = rulingOf(name, false, () => scope)
    return rule !== null && !rule.pattern.startsWith('!')
  }
}
