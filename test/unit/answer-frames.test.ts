/** Answers to requests, whatever a feed gives for them. */
import test from 'brittle'
import type { Feed } from '../../lib/feed/feed.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { BLOCK_BYTES_MAX, FRAME_BYTES_MAX } from '../../lib/limits.ts'
import { answer } from '../../lib/synchronizer/answer.ts'
import { type Outgoing, singlesOf, writeFrames } from '../../lib/synchronizer/frame.ts'
import type { Message, Request } from '../../lib/wire/message.ts'
import type { PackedBlocks, RequestRun } from '../../lib/wire/run.ts'

const FIRST: Request = {
  type: 'request',
  id: 1,
  fork: 0,
  block: { index: 0, nodes: 0 },
  hash: null,
  seek: null,
  upgrade: { start: 0, length: 1 },
  manifest: true,
  priority: 0
}

async function feedOf(...blocks: Uint8Array[]): Promise<Feed> {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(blocks)
  return feed
}

/** What goes out in frames for these requests. */
async function answersOf(feed: Feed, ...requests: (Request | RequestRun)[]): Promise<Message[]> {
  const sent: Message[] = []
  const send = (messages: readonly Outgoing[]): void => {
    writeFrames(
      300,
      messages,
      (byteLength) => new Uint8Array(byteLength),
      () => {}
    )
    sent.push(...messages.flatMap(singlesOf))
  }
  let rest: readonly (Request | RequestRun)[] = requests
  while (rest.length > 0) rest = (await answer(feed, rest, send, () => false)).rest
  return sent
}

test('the largest block, the head and the manifest of a feed fit one answer', async (t) => {
  const feed = await feedOf(new Uint8Array(BLOCK_BYTES_MAX))
  const [message] = await answersOf(feed, FIRST)
  t.is(message?.type, 'data')
})

test('what is too large for a frame is refused, and the rest is answered', async (t) => {
  const source = await feedOf(new Uint8Array(BLOCK_BYTES_MAX), new Uint8Array(1))
  // As a core of the user's may be, which keeps no such bounds.
  const feed = Object.create(source) as Feed
  feed.proof = async (wanted) => {
    const proof = await source.proof(wanted)
    const { manifest } = proof
    return { ...proof, manifest: manifest && { ...manifest, userData: new Uint8Array(1_200_000) } }
  }
  feed.readPacked = async (start, end): Promise<PackedBlocks> => {
    const lengths = Uint32Array.from({ length: end - start }, (_, i) =>
      start + i === 0 ? FRAME_BYTES_MAX : 1
    )
    return {
      bytes: new Uint8Array(FRAME_BYTES_MAX),
      offsets: new Uint32Array(end - start),
      lengths
    }
  }
  const bare: RequestRun = { type: 'requests', id: 3, fork: 0, index: 0, count: 2, priority: 0 }
  const block = { ...FIRST, id: 2, upgrade: null, manifest: false }
  const answers = await answersOf(feed, FIRST, block, bare)
  t.alike(
    answers.map((message) => [message.type, 'request' in message ? message.request : -1]),
    [
      ['no-data', 1],
      ['data', 2],
      ['no-data', 3],
      ['data', 4]
    ]
  )
})
