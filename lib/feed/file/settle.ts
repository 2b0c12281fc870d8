/**
 * Waiting for several things at once.
 *
 * @module
 */

/** Waits for all, then fails if one did: nothing runs on behind the caller's back. */
export async function settle(tasks: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(tasks)) {
    if (result.status === 'rejected') throw result.reason
  }
}
