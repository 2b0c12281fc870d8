import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import { reasonOf } from './network.ts'
import { count } from './text.ts'

/** Why a feed that is waited for does not come: one of nobody, unreachable, or lacking it. */
export function diagnose(sync: Synchronizer, session: FeedSession): string {
  const reasons: string[] = []
  const connected = sync.peers.length
  if (connected > 0) {
    const having = session.progress().peers.filter(({ length }) => length > 0).length
    const what = having > 0 ? 'lacking what is missing' : 'lacking it'
    reasons.push(`connected to ${count(connected, 'peer')} ${what}`)
  }
  for (const { address, error } of sync.unreachable()) {
    reasons.push(`${address.replace(/^tcp:/, '')} is unreachable: ${reasonOf(error)}`)
  }
  const topic = sync.topic(session.discoveryKey)
  if (topic !== null && connected === 0) {
    const { nodes, lookedUp, announced, unreachable } = topic
    if (announced > 0) {
      reasons.push(`${announced} found but unreachable (${unreachable.join(', ')})`)
    } else if (nodes === 0) reasons.push('nobody announces the key: no node of the DHT answers')
    else reasons.push(`nobody announces the key${lookedUp ? '' : ' so far'}`)
  }
  return reasons.length === 0 ? 'no peer has connected yet' : reasons.join('; ')
}
