/**
 * What an update of a clone has to do, and what it did.
 *
 * @module
 */
import type { CatalogRow } from './folder/catalog.ts'
import type { Renamed } from './folder/file-names.ts'
import type { ListedEntry } from './listing.ts'
import type { Action } from './plan.ts'

/** An entry that was not applied. */
export interface SkippedEntry {
  readonly name: string
  readonly reason: string
}

/** What an update of a clone did. */
export interface CloneReport {
  /** The version that the folder has now. */
  readonly version: number
  /** Entries by what was done with them. */
  readonly added: number
  readonly changed: number
  readonly removed: number
  /** Files that came from others that were here, at no transfer. */
  readonly reused: number
  /** Blocks of changed files that were here already. */
  readonly adopted: number
  /** Local edits that stood in the way, and where they are now. */
  readonly conflicts: readonly { readonly name: string; readonly path: string }[]
  readonly skipped: readonly SkippedEntry[]
  /** Names that have another name here, since the file system does not take theirs. */
  readonly renamed: readonly Renamed[]
  /** Names whose deletion is held back: too many at once for what the trash keeps. */
  readonly heldBack: readonly string[]
}

/** What has to be done with a name. */
export type Step = Action<ListedEntry, CatalogRow>
/** What has to be put under a name. */
export type PutStep = Exclude<Step, { type: 'remove' }>
