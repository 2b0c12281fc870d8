/**
 * What the two ways to watch a tree have in common.
 *
 * @module
 */
import type { IgnoreSource } from './ignore-file.ts'

/** Begins to watch a path, as `fs.watch` does. */
export type WatchPath = (
  path: string,
  options: { readonly recursive: boolean },
  onEvent: (event: string, name: string | null) => void
) => PathWatch

/** The part of `fs.FSWatcher` that is used. */
export interface PathWatch {
  on(event: 'error', onError: (error: Error) => void): unknown
  close(): void
}

/** Where watched paths and their trouble are reported. */
export interface WatchTarget extends IgnoreSource {
  /** Names of the users' stores below the root: nothing is told of them. */
  readonly stores: readonly string[]
  readonly watchPath: WatchPath
  /** Something of that name changed; null for anything. `renamed` if it may have come, gone or been replaced. */
  readonly touch: (name: string | null, renamed: boolean) => void
  /** There will be no more watches. */
  readonly giveUp: (code: string) => void
}

/** A way to watch a tree. */
export interface TreeWatch {
  /** Begins, or begins anew with what is there now; without the root, nothing is watched. */
  start(): Promise<void>
  /**
   * Follows new and removed folders.
   *
   * @param touched names, and whether they were renamed.
   * @returns which of them are not ignored, or null if anything may have changed and `start` is needed.
   */
  follow(touched: ReadonlyMap<string, boolean>): Promise<Set<string> | null>
  /** Drops all watches; `start` may follow. */
  stop(): void
}

/** Codes that mean that the system, or its user, has no watches left. */
export const EXHAUSTED: ReadonlySet<string> = new Set(['ENOSPC', 'EMFILE', 'ENFILE', 'ENOMEM'])

/** Whether a name is that of a folder, or null if there is nothing. */
export function isFolder({ root, reader }: WatchTarget, name: string): boolean | null {
  try {
    return reader.lstat(root + name).isDirectory()
  } catch {
    return null
  }
}

/** Device and inode of the root, or null while it is not there. */
export function rootIdentity({ root, reader }: WatchTarget): string | null {
  try {
    const { dev, ino } = reader.stat(root || '/')
    return `${dev} ${ino}`
  } catch {
    return null
  }
}
