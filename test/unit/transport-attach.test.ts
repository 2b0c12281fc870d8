import test from 'brittle'
import { attach } from '../../lib/transport/attach.ts'
import { duplexPair, memoryPair } from '../../lib/transport/memory.ts'
import { secure } from '../../lib/transport/secret-stream.ts'

test('a raw duplex is encrypted and taken over', async (t) => {
  const [raw, otherRaw] = duplexPair()
  const [one, other] = await Promise.all([
    attach(raw, { isInitiator: true, address: 'pipe:1' }),
    attach(otherRaw, { isInitiator: false })
  ])
  t.teardown(() => one.stream.destroy())
  t.is(one.owned, true)
  t.is(one.address, 'pipe:1')
  t.alike(one.stream.handshakeHash, other.stream.handshakeHash)
  const received = new Promise<Uint8Array>((resolve) => other.stream.on('data', resolve))
  one.stream.write(Buffer.from('across'))
  t.is(Buffer.from(await received).toString(), 'across')
  t.ok(other.rawBytesRead() > 6 && one.rawBytesWritten() > 6)
})

test('a stream that is encrypted already stays the user`s', async (t) => {
  const [one] = await memoryPair()
  t.teardown(() => one.stream.destroy())
  const attached = await attach(one.stream)
  t.is(attached.owned, false)
  t.is(attached.stream, one.stream)
})

test("what cannot be attached stays the user's", async (t) => {
  const [raw] = duplexPair()
  const stream = secure(true, raw)
  const errors: unknown[] = []
  stream.on('error', (error: unknown) => errors.push(error))
  t.teardown(() => stream.destroy())
  const giveUp = new AbortController()
  const attaching = attach(stream, { signal: giveUp.signal })
  giveUp.abort(new Error('enough'))
  await t.exception(attaching, /enough/)
  await t.exception(attach(stream, { timeoutMs: 1 }), /CONNECTION_FAILED/)
  t.absent(stream.destroying)
  const failed = new Error('failed')
  stream.destroy(failed)
  await new Promise<void>((resolve) => stream.on('close', resolve))
  t.alike(errors, [failed])
})

test('a raw duplex needs isInitiator, and other things are refused', async (t) => {
  const [raw] = duplexPair()
  await t.exception(attach(raw), /BAD_ARGUMENT/)
  await t.exception(attach({}, { isInitiator: true }), /BAD_ARGUMENT/)
})

test('a raw duplex whose other end closes is CONNECTION_FAILED', async (t) => {
  const [raw, other] = duplexPair()
  const attaching = attach(raw, { isInitiator: true })
  other.destroy()
  await t.exception(attaching, /CONNECTION_FAILED/)
})
