/**
 * What has to be done so that a target becomes what a source is: two listings in, ordered actions out.
 *
 * @module
 */
import { compareNames } from './drive-name.ts'

/** Something that has a name in a drive or a folder. */
export interface Named {
  /** Absolute, `/`-separated. */
  readonly name: string
}

/** How a name that both sides have compares: `same`, other `metadata` only, other `content`, or not known yet. */
export type Comparison = 'same' | 'metadata' | 'content' | 'unknown'

/** One step. `check` asks to look at the content first: it becomes `change`, `touch` or nothing. */
export type Action<Source, Target> =
  | { readonly type: 'add'; readonly name: string; readonly source: Source; readonly target: null }
  | {
      readonly type: 'change' | 'touch' | 'check'
      readonly name: string
      readonly source: Source
      readonly target: Target
    }
  | {
      readonly type: 'remove'
      readonly name: string
      readonly source: null
      readonly target: Target
    }

/** A listing in the order of names, in batches. */
export type Listing<T> = Iterable<T> | AsyncIterable<readonly T[]>

const TYPE_OF = { metadata: 'touch', content: 'change', unknown: 'check' } as const

/**
 * Compares two listings, both in the order of names and without repeated names.
 *
 * @param compare - of a name that both have.
 * @returns the actions in the order of names, in batches; names that compare as `same` are counted by `onsame`.
 */
export async function* plan<Source extends Named, Target extends Named>(
  source: Listing<Source>,
  target: Iterable<Target>,
  compare: (source: Source, target: Target) => Comparison,
  onsame: (source: Source) => void = () => {}
): AsyncGenerator<Action<Source, Target>[], void, void> {
  const targets = target[Symbol.iterator]()
  let next = targets.next()
  for await (const batch of batches(source)) {
    const actions: Action<Source, Target>[] = []
    for (const item of batch) {
      let order = -1
      while (next.done !== true && (order = compareNames(next.value.name, item.name)) < 0) {
        const { name } = next.value
        actions.push({ type: 'remove', name, source: null, target: next.value })
        next = targets.next()
      }
      const { name } = item
      if (next.done === true || order > 0) {
        actions.push({ type: 'add', name, source: item, target: null })
        continue
      }
      const comparison = compare(item, next.value)
      if (comparison === 'same') onsame(item)
      else actions.push({ type: TYPE_OF[comparison], name, source: item, target: next.value })
      next = targets.next()
    }
    if (actions.length > 0) yield actions
  }
  const rest: Action<Source, Target>[] = []
  for (; next.done !== true; next = targets.next()) {
    rest.push({ type: 'remove', name: next.value.name, source: null, target: next.value })
  }
  if (rest.length > 0) yield rest
}

async function* batches<T>(listing: Listing<T>): AsyncGenerator<readonly T[], void, void> {
  if (Symbol.asyncIterator in listing) yield* listing
  else yield [...listing]
}

/** Deletes up to which nobody is asked, and the share of all files up to which nobody is. */
const DELETES_MAX = 10
const DELETES_SHARE = 0.25

/**
 * True if so many deletes look like a mistake: more than ten, and more than a quarter of what there was.
 *
 * @param max - what the user allows, or null.
 */
export function holdsBack(deletes: number, files: number, max: number | null): boolean {
  if (max !== null) return deletes > max
  return deletes > DELETES_MAX && deletes > DELETES_SHARE * files
}
