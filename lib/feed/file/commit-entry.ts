/**
 * Commits as log entries, and what of ours stands in user data.
 *
 * @module
 */
import { decodeManifest, encodeManifest } from '../../wire/manifest-codec.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { LogEntry } from './oplog.ts'
import type { Commit } from '../store.ts'

/** User data that carries a manifest from the entry that brings it to the next header, which has a place for it. */
export const MANIFEST_NAME = 'syncline/manifest'
/** User data that is there if the feed is frozen. */
export const FROZEN_NAME = 'syncline/frozen'

/** User data of the first header of a copy: the boot of the machine and the process in which it was made. */
export const BEGUN_NAME = 'syncline/begun'

/** Where and by whom a copy was begun. */
export interface Beginning {
  /** Empty if the system does not tell. */
  readonly boot: string
  readonly pid: number
}

/** The value of {@link BEGUN_NAME}. */
export function encodeBeginning({ boot, pid }: Beginning): Uint8Array {
  return new TextEncoder().encode(`${pid} ${boot}`)
}

/** Where a copy was begun, or null if nothing says so. */
export function storedBeginning(userData: ReadonlyMap<string, Uint8Array>): Beginning | null {
  const bytes = userData.get(BEGUN_NAME)
  if (bytes === undefined) return null
  const text = new TextDecoder().decode(bytes)
  const space = text.indexOf(' ')
  return { boot: text.slice(space + 1), pid: Number(text.slice(0, space)) || 0 }
}

/** The manifest that no header holds yet, or null. */
export function storedManifest(userData: ReadonlyMap<string, Uint8Array>): Manifest | null {
  const bytes = userData.get(MANIFEST_NAME)
  return bytes === undefined ? null : decodeManifest(bytes)
}

/** The entries of a commit to a feed of `length` blocks: an entry holds one of each part only. */
export function entriesOf(commit: Commit, length: number): LogEntry[] {
  const { head, nodes = [], manifest, frozen } = commit
  const bits = [...(commit.bits ?? [])]
  const kept = head?.ancestors ?? length
  if (
    !bits.some(({ start, end, drop }) => drop && start <= kept && end >= length) &&
    kept < length
  ) {
    bits.unshift({ start: kept, end: length, drop: true })
  }
  // An entry cannot tell empty bytes from none.
  const userData: NonNullable<LogEntry['userData']>[] = []
  for (const { name, value } of commit.userData ?? []) {
    userData.push({ key: name, value: value?.byteLength ? Uint8Array.from(value) : null })
  }
  if (manifest !== undefined) userData.push({ key: MANIFEST_NAME, value: encodeManifest(manifest) })
  if (frozen !== undefined) {
    userData.push({ key: FROZEN_NAME, value: frozen ? Uint8Array.of(1) : null })
  }
  const upgrade = head ?? null
  const count = Math.max(userData.length, bits.length, upgrade || nodes.length > 0 ? 1 : 0)
  return Array.from({ length: count }, (_, i) => ({
    userData: userData[i] ?? null,
    nodes: i === 0 ? nodes : [],
    upgrade: i === 0 ? upgrade : null,
    bits: bits[i] ?? null
  }))
}
