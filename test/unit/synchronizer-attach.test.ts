/** Connections of the user's that are attached, and what else runs on them. */
import { EventEmitter, once } from 'node:events'
import test, { type Assertions } from 'brittle'
import c from 'compact-encoding'
import type { Channel, ChannelOptions, default as Protomux } from 'protomux'
import { isSynclineError, memory, Synchronizer, type SynclineError } from '../../lib/index.ts'
import { duplexPair } from '../../lib/transport/memory.ts'
import { secure } from '../../lib/transport/secret-stream.ts'
import type { FramedStream } from '../../lib/transport/transport.ts'
import { securePair } from '../fixtures/secure-pair.ts'

/** What a test says of somebody else's protocol. */
type Chat = Partial<ChannelOptions>

function boom(): never {
  throw new Error('the handler failed')
}

function refuse(): Promise<never> {
  return Promise.reject(new Error('the handler failed'))
}

test("what a handler of another protocol throws is its user's, and no fault of the peer", async (t) => {
  for (const handler of [boom, refuse]) {
    for (const [place, chat] of Object.entries(chatsWith(handler))) {
      // What is rejected once a channel is closed is a warning, see below.
      if (place === 'onclose' && handler === refuse) continue
      const [one, other] = securePair(t)
      const { reader, errors } = await attached(t, one, other)
      const failed = new Promise<Error>((resolve) => one.on('error', resolve))
      const ended = new Promise<SynclineError | null>((resolve) => {
        reader.on('peer-disconnect', (_, error) => resolve(error))
      })
      const mux = muxOf(one)
      if (place === 'pair') mux.pair({ protocol: 'chat' }, handler)
      else open(mux, chat)
      const their = open(muxOf(other), {})
      their.messages[0]?.send?.('hello')
      if (place === 'onclose') {
        await their.fullyOpened()
        their.close()
      }
      t.is((await failed).message, 'the handler failed', `${handler.name} in ${place}`)
      const error = await ended
      t.ok(isSynclineError(error, 'CONNECTION_FAILED'))
      t.is(error?.cause, await failed)
      t.alike(errors, [], 'the peer did nothing wrong')
    }
  }
})

test('what a handler of another protocol throws once its channel is closed is a warning', async (t) => {
  const [one, other] = securePair(t)
  const { reader, feed } = await attached(t, one, other)
  const warned = new Promise<Error>((resolve) => one.on('warning', resolve))
  const events = new EventEmitter()
  const late = once(events, 'late').then(() => {
    throw new Error('too late')
  })
  const handled = once(events, 'message')
  const onmessage = (): unknown => {
    events.emit('message')
    return late
  }
  open(muxOf(one), { messages: [{ encoding: c.string, onmessage, autoBatch: true }] })
  const their = open(muxOf(other), {})
  their.messages[0]?.send?.('hello')
  await handled
  their.close()
  const copy = reader.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })
  events.emit('late')
  t.is((await warned).message, 'too late')
  await feed.append('one more')
  t.is(String(await copy.get(1, { timeoutMs: 10_000 })), 'one more', 'the connection goes on')
})

test('what is being attached when the synchronizer is closed ends with it', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  const [one] = securePair(t)
  const [raw] = duplexPair()
  const gone = once(raw, 'close')
  // Nobody answers either of them.
  const attaching = [
    sync.attach(secure(true, duplexPair()[0])),
    sync.attach(raw, { isInitiator: true })
  ]
  const ends = attaching.map((end) => end.catch((error: unknown) => error))
  await handshaken(one)
  const late = sync.attach(one).catch((error: unknown) => error)
  await sync.close()
  for (const end of [...ends, late]) t.ok(isSynclineError(await end, 'SESSION_CLOSED'))
  await gone
  t.is(one.destroying, false)
})

/** A protocol of which one handler is `handler`, by the handler's name. */
function chatsWith(handler: () => unknown): Record<string, Chat> {
  return {
    onmessage: { messages: [{ encoding: c.string, onmessage: handler, autoBatch: true }] },
    onopen: { onopen: handler },
    onclose: { onclose: handler },
    pair: {}
  }
}

async function handshaken(stream: FramedStream): Promise<void> {
  if (stream.handshakeHash === null) await new Promise((resolve) => stream.on('connect', resolve))
}

/** The Protomux on a stream, which others may use. */
function muxOf(stream: FramedStream): Protomux {
  return stream.userData as Protomux
}

function open(mux: Protomux, chat: Chat): Channel {
  const channel = mux.createChannel({
    protocol: 'chat',
    messages: [{ encoding: c.string, onmessage() {}, autoBatch: true }],
    ...chat
  }) as Channel
  channel.open(undefined)
  return channel
}

/** A reader and a source that use a connection of the user's before anybody else does. */
async function attached(t: Assertions, one: FramedStream, other: FramedStream) {
  const reader = new Synchronizer({ storage: memory() })
  const source = new Synchronizer({ storage: memory() })
  t.teardown(() => Promise.all([reader.close(), source.close()]))
  const feed = await source.create('feed')
  await feed.append('block')
  const errors: SynclineError[] = []
  reader.on('peer-fault', (_, error) => errors.push(error))
  await Promise.all([reader.attach(one), source.attach(other)])
  return { reader, source, feed, errors }
}
