/** Peers that claim what they cannot show, ask for what is not there, or lie in part: nobody else is kept from syncing. */
import test from 'brittle'
import { FEED_LENGTH_MAX } from '../../lib/limits.ts'
import type { Message } from '../../lib/wire/message.ts'
import type { Sent } from './hostile.ts'
import { blockOf, Stage, until } from './stage.ts'

/** Claims in sync and range: what is sent instead. */
const CLAIMS: readonly {
  readonly name: string
  readonly claim: (message: Message) => readonly Sent[]
}[] = [
  {
    name: 'a longer feed than there is',
    claim: (message) => [
      message.type === 'sync' ? { ...message, length: message.length + 1000 } : message
    ]
  },
  {
    name: 'the longest feed that there can be',
    claim: (message) => [
      message.type === 'sync' ? { ...message, length: FEED_LENGTH_MAX } : message
    ]
  },
  {
    name: 'a higher fork than there is',
    claim: (message) => [message.type === 'sync' ? { ...message, fork: 2 ** 40 } : message]
  },
  {
    name: 'a longer feed, of which it says that it cannot be proven',
    claim: (message) => [
      message.type === 'sync'
        ? { ...message, length: message.length + 1000, canUpgrade: false }
        : message
    ]
  },
  {
    name: 'all blocks that there can be',
    claim: (message) => [
      message.type === 'range' ? { ...message, length: FEED_LENGTH_MAX } : message
    ]
  },
  {
    name: 'to hold everything, and refuses',
    claim: (message) => [
      message.type === 'data' ? { type: 'no-data', request: message.request, reason: 1 } : message
    ]
  },
  {
    name: 'to hold everything, and refuses without a reason',
    claim: (message) => [
      message.type === 'data' ? { type: 'no-data', request: message.request, reason: 0 } : message
    ]
  },
  {
    name: 'to answer, and leaves everything out',
    claim: (message) => [
      message.type === 'data'
        ? { ...message, block: null, hash: null, seek: null, upgrade: null, manifest: null }
        : message
    ]
  },
  {
    name: 'another fork in its answers than it was asked for',
    claim: (message) => [message.type === 'data' ? { ...message, fork: 3 } : message]
  },
  {
    name: 'to have said what nobody asked, twice',
    claim: (message) =>
      message.type === 'data'
        ? [{ ...message, request: message.request + 77_000 }, message, message]
        : [message]
  }
]

for (const ranges of [undefined, [] as [number, number][]]) {
  const wants = ranges === undefined ? {} : { ranges }
  const wanting = ranges === undefined ? 'everything' : 'one block'
  for (const { name, claim } of CLAIMS) {
    test(`${wanting} is wanted of a peer that claims ${name}`, async (t) => {
      const stage = await Stage.open(t, wants)
      const { peer } = await stage.attack({ mutate: claim })
      const got = stage.copy.get(77)
      await until(() => peer.received.length > 2)
      await stage.recover()
      t.alike(Buffer.from((await got) as Uint8Array), blockOf(77))
    })
  }
}
