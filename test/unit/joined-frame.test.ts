import test from 'brittle'
import { JOINED_FRAME_BYTES_MAX } from '../../lib/limits.ts'
import { JoinedFrame, sectionEnd } from '../../lib/synchronizer/joined-frame.ts'
import { writeFrames } from '../../lib/synchronizer/frame.ts'
import type { Message } from '../../lib/wire/message.ts'

const RANGE: Message = { type: 'range', drop: false, start: 0, length: 10 }
const EXTENSION: Message = { type: 'extension', name: 'x', message: new Uint8Array(300).fill(7) }

test('single messages and batches of several channels are one batch', (t) => {
  const joined = new JoinedFrame()
  const open = Uint8Array.of(0, 1, 5, 6, 7)
  const single = frameOf(3, [EXTENSION])
  const batch = frameOf(300, [RANGE, RANGE])
  for (const frame of [open, single, batch, single]) joined.add(frame)
  const frame = new Uint8Array(joined.byteLength)
  joined.moveTo(frame)
  t.is(joined.byteLength, 0)
  t.alike(entriesOf(frame), [
    ...[{ channel: 0, bytes: [...open.subarray(1)] }],
    ...[{ channel: 3, bytes: [...single.subarray(1)] }],
    ...entriesOf(batch),
    ...[{ channel: 3, bytes: [...single.subarray(1)] }]
  ])
  joined.add(open)
  t.is(joined.byteLength, 8, 'nothing of the first one is left')
})

test('a section ends where the next channel begins', (t) => {
  const joined = new JoinedFrame()
  joined.add(frameOf(1, [RANGE, EXTENSION]))
  const first = joined.byteLength
  joined.add(frameOf(2, [RANGE]))
  const frame = new Uint8Array(joined.byteLength)
  joined.moveTo(frame)
  t.is(sectionEnd(frame, 3, frame.byteLength), first)
  t.is(sectionEnd(frame, first + 2, frame.byteLength), frame.byteLength)
})

test('a joined frame has room up to its limit', (t) => {
  const joined = new JoinedFrame()
  const frame = frameOf(9, [EXTENSION, RANGE])
  while (joined.hasRoom(frame.byteLength)) joined.add(frame)
  t.ok(joined.byteLength <= JOINED_FRAME_BYTES_MAX)
  t.ok(joined.byteLength + 2 * frame.byteLength > JOINED_FRAME_BYTES_MAX)
})

function frameOf(channel: number, messages: readonly Message[]): Uint8Array {
  let frame = new Uint8Array(0)
  writeFrames(
    channel,
    messages,
    (byteLength) => (frame = new Uint8Array(byteLength)),
    () => {}
  )
  return frame
}

/** The entries of a batch, read as Protomux does. */
function entriesOf(frame: Uint8Array): { channel: number; bytes: number[] }[] {
  let at = 2
  const uint = (): number => {
    const first = frame[at++] as number
    if (first < 0xfd) return first
    at += 2
    return (frame[at - 2] as number) + 256 * (frame[at - 1] as number)
  }
  const entries: { channel: number; bytes: number[] }[] = []
  let channel = uint()
  while (at < frame.byteLength) {
    const length = uint()
    if (length === 0) channel = uint()
    else entries.push({ channel, bytes: [...frame.subarray(at, (at += length))] })
  }
  return entries
}
