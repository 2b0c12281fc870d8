/** What remotes are told when they ask what we have. */
import test from 'brittle'
import type { Input } from '../../lib/engine/input.ts'
import { OUTBOX_BYTES_MAX, WANT_BITS_MAX } from '../../lib/limits.ts'
import type { Bitfield } from '../../lib/wire/message.ts'
import { Shell } from '../fixtures/engine.ts'

const LENGTH: number = 3 * WANT_BITS_MAX - 100
const EVERYTHING = { type: 'want', start: 0, length: 2 ** 50, any: false } as const

/** A shell that has all blocks of a long feed but one, and a peer that is told nothing more by itself. */
function holed(upload = 0): Shell {
  const shell = new Shell({ upload, download: 0 })
  shell.addFeed(1, {
    length: LENGTH,
    have: [
      [0, 7],
      [8, LENGTH]
    ],
    wants: []
  })
  shell.addPeer(1)
  shell.open(1, 1)
  return shell
}

function startsOf(bitfields: readonly Bitfield[]): number[] {
  return bitfields.map(({ start }) => start)
}

test('a want is answered by what is held of each segment', (t) => {
  const shell = holed()
  shell.message(1, 1, EVERYTHING)
  const bitfields = shell.sent(1, 'bitfield')
  t.alike(startsOf(bitfields), [0, WANT_BITS_MAX, 2 * WANT_BITS_MAX])
  t.alike(
    bitfields.map(({ words }) => words.length),
    [WANT_BITS_MAX / 32, WANT_BITS_MAX / 32, Math.ceil((WANT_BITS_MAX - 100) / 32)]
  )
  t.is(bitfields[0]?.words[0], ~(1 << 7) >>> 0)
  shell.message(1, 1, { type: 'want', start: 0, length: 32, any: false })
  t.alike(
    shell.sent(1, 'bitfield').map(({ start, words }) => [start, ...words]),
    [[0, ~(1 << 7) >>> 0]]
  )
})

test('wants that arrive together are answered once, however often they say the same', (t) => {
  const shell = holed()
  const inputs = Array.from({ length: 512 }, (): Input => {
    return { type: 'message', peer: 1, feed: 1, message: EVERYTHING }
  })
  const effects = shell.engine.stepAll(inputs, shell.now)
  const bitfields = effects.flatMap((effect) =>
    effect.type === 'send' ? effect.messages.filter(({ type }) => type === 'bitfield') : []
  )
  t.is(bitfields.length, 3)
})

test('wants of single words all over a feed are answered in bounded pieces', (t) => {
  const shell = holed()
  const inputs = Array.from({ length: 512 }, (_, i): Input => {
    const want = { type: 'want', start: 4096 * i, length: 32, any: false } as const
    return { type: 'message', peer: 1, feed: 1, message: want }
  })
  const effects = shell.engine.stepAll(inputs, shell.now)
  const bitfields = effects.flatMap((effect) =>
    effect.type === 'send' ? effect.messages.filter(({ type }) => type === 'bitfield') : []
  )
  t.ok(bitfields.length > 0 && bitfields.length <= 64, `${bitfields.length} bitfields`)
})

test('what is told of blocks waits for the upload rate, and counts', (t) => {
  const shell = holed(64 * 1024)
  shell.message(1, 1, EVERYTHING)
  t.is(shell.sent(1, 'bitfield').length, 1, 'the credit of a second is there')
  for (let second = 0; second < 2; second++) {
    shell.message(1, 1, EVERYTHING)
    t.is(shell.sent(1, 'bitfield').length, 0)
    shell.pass(1000, [1])
  }
  shell.pass(20_000, [1])
  t.alike(
    new Set(startsOf(shell.sent(1, 'bitfield'))),
    new Set([0, WANT_BITS_MAX, 2 * WANT_BITS_MAX])
  )
})

test('nobody is told more of blocks than waits to be read', (t) => {
  const shell = holed()
  const full = { bytesReceived: 0, outboxBytes: OUTBOX_BYTES_MAX + 1, paused: false }
  shell.step({ type: 'flow', peer: 1, ...full })
  shell.message(1, 1, EVERYTHING)
  t.is(shell.sent(1, 'bitfield').length, 0)
  shell.step({ type: 'flow', peer: 1, ...full, outboxBytes: 0 })
  t.is(shell.sent(1, 'bitfield').length, 3)
  for (let i = 0; i < 100; i++) shell.message(1, 1, EVERYTHING)
  const bytes = shell.sent(1, 'bitfield').reduce((sum, { words }) => sum + 4 * words.length, 0)
  t.ok(bytes <= OUTBOX_BYTES_MAX + WANT_BITS_MAX, `${bytes} bytes before it is known what waits`)
  shell.pass(100, [1])
  t.is(shell.sent(1, 'bitfield').length, 3, 'nothing waits: all of it is told')
})
