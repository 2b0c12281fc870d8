/**
 * What listeners throw.
 *
 * @module
 */

/** Throws where nobody catches it: it is the process's, and must not break into the work that a listener was told of. */
export function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
