import type { FeedSession } from '../synchronizer/feed-session.ts'

/** A feed has one session in its synchronizer: shares, clones and drives of one key have the same ones. */
const users = new WeakMap<FeedSession, number>()

/**
 * Counts one more user of a session.
 *
 * @returns what lets it go: with its last user it is closed. Idempotent; throws what closing does.
 */
export function useSession(session: FeedSession): () => Promise<void> {
  users.set(session, (users.get(session) ?? 0) + 1)
  let leaving: Promise<void> | null = null
  return () => (leaving ??= leave(session))
}

async function leave(session: FeedSession): Promise<void> {
  const left = (users.get(session) as number) - 1
  users.set(session, left)
  if (left === 0) await session.close()
}
