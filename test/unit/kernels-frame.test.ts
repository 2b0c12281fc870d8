import test, { type Assertions } from 'brittle'
import c from 'compact-encoding'
import hypercore from 'hypercore/messages.js'
import {
  type FrameRequests,
  type FrameValues,
  readPays,
  readRuns,
  writePays,
  writeRequests,
  writeValues
} from '../../lib/kernels/frame.ts'
import { hash } from '../../lib/kernels/hash.ts'
import * as flat from '../../lib/wire/run.ts'
import { equal, randomBytes } from '../reference/bytes.ts'
import {
  type ReferenceEntry,
  referenceRead,
  referenceRequest,
  referenceValue
} from '../reference/frame.ts'

/** Numbers around each size that a number may have on the wire. */
const NUMBERS = [0, 1, 252, 253, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 50, 2 ** 53 - 1000]
const LENGTHS = Array.from({ length: 301 }, (_, length) => length)

/** A run of values of these lengths that lie `gap` bytes apart. */
function valuesOf(
  lengths: readonly number[],
  { id = 1, fork = 0, index = 0, gap = 0, seed = 1 }: Partial<Record<string, number>> = {}
): FrameValues & { readonly type: 'values' } {
  const offsets = new Uint32Array(lengths.length)
  let end = 0
  lengths.forEach((length, i) => {
    offsets[i] = end
    end += length + gap
  })
  const bytes = randomBytes(end, seed)
  const count = lengths.length
  return {
    type: 'values',
    id,
    fork,
    index,
    count,
    bytes,
    offsets,
    lengths: Uint32Array.from(lengths)
  }
}

function valueOf({ bytes, offsets, lengths }: FrameValues, i: number): Uint8Array {
  return bytes.subarray(offsets[i], offsets[i]! + lengths[i]!)
}

/** The bytes that `write` gives, with the bytes around them left alone. */
function written(write: (target: Uint8Array, start: number) => number, room: number): Uint8Array {
  const target = new Uint8Array(room + 64).fill(0xaa)
  const end = write(target, 32)
  const around = [...target.subarray(0, 32), ...target.subarray(end)]
  if (around.some((byte) => byte !== 0xaa)) throw new Error('wrote beside its place')
  return target.subarray(32, end)
}

function writtenRequests(run: FrameRequests, from = 0, to = run.count): Uint8Array {
  return written((target, at) => writeRequests(run, from, to, target, at), 40 * run.count)
}

function writtenValues(run: FrameValues, from = 0, to = run.count): Uint8Array {
  const room = run.lengths.reduce((sum, length) => sum + length, 48 * run.count)
  return written((target, at) => writeValues(run, from, to, target, at), room)
}

function expectedRequests(run: FrameRequests): Uint8Array {
  return Buffer.concat(
    Array.from({ length: run.count }, (_, i) =>
      referenceRequest({ id: run.id + i, fork: run.fork, index: run.index + i }, run.priority)
    )
  )
}

function expectedValues(run: FrameValues): Uint8Array {
  return Buffer.concat(
    Array.from({ length: run.count }, (_, i) =>
      referenceValue({ id: run.id + i, fork: run.fork, index: run.index + i }, valueOf(run, i))
    )
  )
}

type Found = flat.RequestRun | flat.ValueRun

function readAll(read: typeof readRuns, frame: Uint8Array, start: number, end: number) {
  const runs: Found[] = []
  const at = read(frame, start, end, {
    requests: (run) => void runs.push(run),
    values: (run) => {
      if (run.bytes !== frame) throw new Error('not the frame itself')
      runs.push(run)
    }
  })
  return { runs, at }
}

/** The single messages of runs. */
function entriesOf(runs: readonly Found[]): ReferenceEntry[] {
  return runs.flatMap((run) =>
    Array.from({ length: run.count }, (_, i): ReferenceEntry => {
      const numbers = { id: run.id + i, fork: run.fork, index: run.index + i }
      return run.type === 'requests'
        ? { type: 'request', ...numbers, priority: run.priority }
        : { type: 'value', ...numbers, offset: run.offsets[i]!, length: run.lengths[i]! }
    })
  )
}

/** For JSON: the bytes of a frame are the same for all. */
function shape(name: string, field: unknown): unknown {
  return name === 'bytes' ? null : field
}

/** What the kernel reads that the slow twin or the flat one read otherwise, or null. */
function difference(frame: Uint8Array, start = 0, end = frame.byteLength): string | null {
  const given = readAll(readRuns, frame, start, end)
  const slow = referenceRead(frame, start, end)
  if (given.at !== slow.at) return `ends at ${given.at}, not ${slow.at}`
  if (JSON.stringify(entriesOf(given.runs)) !== JSON.stringify(slow.entries)) return 'entries'
  const twin = readAll(flat.readRuns, frame, start, end)
  if (twin.at !== given.at) return `ends at ${given.at}, flat at ${twin.at}`
  if (JSON.stringify(given.runs, shape) !== JSON.stringify(twin.runs, shape)) return 'runs'
  return null
}

test('requests are written as the slow twin and hypercore write them, whatever their numbers', (t) => {
  for (const id of NUMBERS) {
    for (const index of NUMBERS) {
      for (const [fork, priority] of [
        [0, 0],
        [3, 1],
        [70_000, 2 ** 40]
      ] as const) {
        const run = { type: 'requests' as const, id, fork, index, count: 5, priority }
        const bytes = writtenRequests(run)
        if (!equal(bytes, expectedRequests(run))) t.fail(`${id}, ${index}, ${fork}, ${priority}`)
        const messages = Array.from({ length: 5 }, (_, i) => {
          const block = { index: index + i, nodes: 0 }
          const message = c.encode(hypercore.wire.request, { id: id + i, fork, block, priority })
          return Buffer.concat([Buffer.of(message.byteLength + 1, 1), message])
        })
        if (!equal(bytes, Buffer.concat(messages))) t.fail(`hypercore: ${id}, ${index}, ${fork}`)
      }
    }
  }
  t.pass('compared')
})

test('values are written as the slow twin and hypercore write them, whatever their numbers', (t) => {
  for (const id of NUMBERS) {
    for (const index of NUMBERS) {
      for (const fork of [0, 253, 2 ** 33]) {
        const run = valuesOf([5, 0, 40], { id, fork, index })
        const bytes = writtenValues(run)
        if (!equal(bytes, expectedValues(run))) t.fail(`${id}, ${index}, ${fork}`)
        const messages = Array.from({ length: 3 }, (_, i) => {
          const block = { index: index + i, value: valueOf(run, i), nodes: [] }
          const message = c.encode(hypercore.wire.data, { request: id + i, fork, block })
          return Buffer.concat([Buffer.of(message.byteLength + 1, 3), message])
        })
        if (!equal(bytes, Buffer.concat(messages))) t.fail(`hypercore: ${id}, ${index}, ${fork}`)
      }
    }
  }
  t.pass('compared')
})

test('values of every length from 0 to 300, and so at every alignment, are written and read', (t) => {
  for (const gap of [0, 1, 7, 64, 65, 1000]) {
    const run = valuesOf(LENGTHS, { id: 100, index: 60_000, gap })
    const bytes = writtenValues(run)
    t.ok(equal(bytes, expectedValues(run)), `${gap} bytes apart`)
    t.is(difference(bytes), null)
  }
  for (const length of LENGTHS) {
    const run = valuesOf([length, length, length], { seed: length })
    if (!equal(writtenValues(run), expectedValues(run))) t.fail(`three of ${length} bytes`)
  }
})

test('values may lie in any order, and in the same place', (t) => {
  const run = valuesOf([10, 20, 30, 40])
  const mixed = {
    ...run,
    count: 5,
    offsets: Uint32Array.of(30, 0, 10, 10, 90),
    lengths: Uint32Array.of(30, 60, 5, 5, 10)
  }
  t.ok(equal(writtenValues(mixed), expectedValues(mixed)))
})

test('large values, and more messages than one kernel call takes', (t) => {
  const sizes = [0, 65_535, 65_536, 65_537, 3, 300_000, 70_000, 1]
  const run = valuesOf(sizes, { id: 250, index: 65_530 })
  t.ok(equal(writtenValues(run), expectedValues(run)), 'large ones between small ones')
  const many = valuesOf(Array.from({ length: 20_000 }, (_, i) => i % 3))
  t.ok(equal(writtenValues(many), expectedValues(many)), 'many')
  const requests = { id: 1, fork: 2, index: 3, count: 20_000, priority: 1 }
  t.ok(equal(writtenRequests(requests), expectedRequests(requests)), 'many requests')
})

test('a part of a run is written as that part of the whole', (t) => {
  const values = valuesOf([3, 300, 0, 80_000, 17], { id: 251, index: 65_534 })
  const requests = { id: 251, fork: 0, index: 65_534, count: 5, priority: 1 }
  for (const [whole, part] of [
    [writtenValues(values), (from: number, to: number) => writtenValues(values, from, to)],
    [writtenRequests(requests), (from: number, to: number) => writtenRequests(requests, from, to)]
  ] as const) {
    for (let from = 0; from <= 5; from++) {
      for (let to = from; to <= 5; to++) {
        const parts = [part(0, from), part(from, to), part(to, 5)]
        if (!equal(Buffer.concat(parts), whole)) t.fail(`${from} to ${to}`)
      }
    }
  }
  t.pass('compared')
})

test('runs are read with every number that fits 32 bits, and left alone with those that do not', (t) => {
  for (const id of NUMBERS) {
    for (const index of NUMBERS) {
      const values = expectedValues(valuesOf([3, 4], { id, index }))
      const requests = expectedRequests({ id, fork: 1, index, count: 3, priority: 1 })
      const wrong = difference(Buffer.concat([values, requests]))
      if (wrong !== null) t.fail(`${id}, ${index}: ${wrong}`)
    }
  }
  const run = { id: 2 ** 32 - 2, fork: 0, index: 5, count: 3, priority: 0 }
  t.is(difference(expectedRequests(run)), null)
  const wrapped = Buffer.concat([
    referenceRequest({ id: 2 ** 32 - 1, fork: 0, index: 2 ** 32 - 1 }, 0),
    referenceRequest({ id: 0, fork: 0, index: 0 }, 0)
  ])
  t.is(readAll(readRuns, wrapped, 0, wrapped.byteLength).runs.length, 2, 'no run across 2^32')
  t.is(difference(wrapped), null)
})

test('messages that do not follow each other are runs of their own', (t) => {
  const first = { id: 10, fork: 1, index: 20 }
  const request = (change: object, priority = 0) =>
    referenceRequest({ ...first, ...change }, priority)
  const value = (change: object) => referenceValue({ ...first, ...change }, Buffer.from('value'))
  const frame = Buffer.concat([
    request({}),
    request({ id: 11, index: 21 }),
    request({ id: 13, index: 22 }),
    request({ id: 14, index: 24 }),
    request({ id: 15, index: 25, fork: 2 }),
    request({ id: 16, index: 26, fork: 2 }, 1),
    value({ id: 17, index: 27, fork: 2 }),
    value({ id: 18, index: 28, fork: 2 }),
    value({ id: 18, index: 28, fork: 2 }),
    value({ id: 17, index: 27, fork: 2 })
  ])
  const { runs, at } = readAll(readRuns, frame, 0, frame.byteLength)
  t.is(at, frame.byteLength)
  t.alike(
    runs.map((run) => [run.type, run.id, run.count]),
    [
      ['requests', 10, 2],
      ['requests', 13, 1],
      ['requests', 14, 1],
      ['requests', 15, 1],
      ['requests', 16, 1],
      ['values', 17, 2],
      ['values', 18, 1],
      ['values', 17, 1]
    ]
  )
  t.is(difference(frame), null)
})

test('reading stops at the first message of another kind, wherever the frame has it', (t) => {
  const bare = expectedValues(valuesOf([10, 20, 3000, 5], { id: 7, index: 9 }))
  const [node] = [{ index: 1, size: 5, hash: randomBytes(32, 2) }]
  const block = { index: 9, value: Buffer.alloc(10), nodes: [node] }
  const withNode = c.encode(hypercore.wire.data, { request: 7, fork: 0, block })
  const others = [
    ['a proof', Buffer.concat([c.encode(c.uint, withNode.byteLength + 1), Buffer.of(3), withNode])],
    ['a request with nodes', Buffer.of(6, 1, 1, 9, 0, 9, 5)],
    ['an upgrade', Buffer.of(7, 1, 9, 9, 0, 0, 1, 1)],
    ['another type', Buffer.of(6, 4, 1, 9, 0, 9, 0)],
    ['another channel', Buffer.of(0, 5, 6, 1, 1, 9, 0, 9, 0)],
    ['a longer message', Buffer.of(7, 1, 1, 9, 0, 9, 0, 0)],
    ['a shorter message', Buffer.of(5, 1, 1, 9, 0, 9)],
    ['a number written long', Buffer.of(0xfd, 6, 0, 1, 1, 9, 0, 9, 0)],
    ['a length beyond everything', Buffer.of(0xfe, 0xff, 0xff, 0xff, 0xff, 3, 1, 9, 0, 9, 0)],
    ['a length of 64 bits', Buffer.of(0xff, 6, 0, 0, 0, 0, 0, 0, 0, 1, 1, 9, 0, 9, 0)],
    ['a value beyond the frame', Buffer.of(9, 3, 1, 9, 0, 9, 0xfe, 0xff, 0xff, 0xff, 0xff, 0)],
    ['nothing', Buffer.alloc(0)]
  ] as const
  for (const [name, other] of others) {
    for (const before of [0, 1, 3, 50]) {
      const front = Buffer.concat(Array.from({ length: before }, () => bare))
      const frame = Buffer.concat([randomBytes(5, 3), front, other, bare, bare])
      const wrong = difference(frame, 5)
      if (wrong !== null) t.fail(`${name} after ${before}: ${wrong}`)
    }
    t.pass(name)
  }
})

test('a frame that is cut off anywhere is read up to its last whole message', (t) => {
  const values = expectedValues(valuesOf([0, 1, 300, 20, 4, 70, 260], { id: 250, index: 65_533 }))
  const requests = expectedRequests({ id: 251, fork: 0, index: 9, count: 5, priority: 1 })
  const frame = Buffer.concat([requests, values, requests])
  for (let end = 0; end <= frame.byteLength; end++) {
    for (const start of [0, 9, requests.byteLength]) {
      const wrong = start <= end ? difference(frame, start, end) : null
      if (wrong !== null) t.fail(`${start} to ${end}: ${wrong}`)
    }
    const wrong = difference(frame.subarray(0, end))
    if (wrong !== null) t.fail(`cut at ${end}: ${wrong}`)
  }
  t.pass('compared')
})

test('changed and random bytes are read as the slow twin reads them', (t) => {
  const values = expectedValues(valuesOf([5, 40, 300, 0, 17, 80], { id: 250, index: 251 }))
  const requests = expectedRequests({ id: 250, fork: 0, index: 65_534, count: 4, priority: 1 })
  const whole = Buffer.concat([values, requests, values, requests])
  const heads = [0, 1, 3, 6, 7, 33, 0xfc, 0xfd, 0xfe, 0xff]
  for (let round = 0; round < 20_000; round++) {
    const random = randomBytes(16, round)
    const frame = Buffer.from(whole)
    for (let i = 0; i <= random[0]! % 3; i++) {
      const at = (random[3 * i + 1]! * 256 + random[3 * i + 2]!) % frame.byteLength
      frame[at] = random[12]! % 2 === 0 ? heads[random[3 * i + 3]! % heads.length]! : random[13]!
    }
    const wrong = difference(frame)
    if (wrong !== null) return t.fail(`round ${round}: ${wrong}`)
  }
  for (let round = 0; round < 20_000; round++) {
    const bytes = randomBytes(60, round).map((byte, i) =>
      i % 3 === 0 ? heads[byte % 10]! : byte % 9
    )
    const wrong = difference(bytes, round % 4)
    if (wrong !== null) return t.fail(`random round ${round}: ${wrong}`)
  }
  t.pass('compared')
})

test('a frame of more bytes and messages than one window takes', (t) => {
  const requests = expectedRequests({ id: 1, fork: 0, index: 2, count: 20_000, priority: 0 })
  const values = expectedValues(valuesOf([10, 100_000, 200_000, 5, 261_000, 7, 8], { id: 20_001 }))
  const frame = Buffer.concat([requests, values, requests])
  const slow = referenceRead(frame, 0, frame.byteLength)
  const { runs, at } = readAll(readRuns, frame, 0, frame.byteLength)
  t.is(at, frame.byteLength)
  t.alike(entriesOf(runs), slow.entries)
  const large = expectedValues(valuesOf([5, 300_000, 5]))
  const first = referenceRead(large, 0, 100).at
  t.is(readAll(readRuns, large, 0, large.byteLength).at, first, 'a larger message is left')
})

test('whoever takes a run may call kernels', (t) => {
  const run = valuesOf([50, 60, 70])
  const frame = Buffer.concat([
    expectedValues(run),
    expectedRequests({ id: 9, fork: 0, index: 1, count: 3, priority: 0 }),
    expectedValues(run)
  ])
  const runs: Found[] = []
  const take = (found: Found): void => {
    hash(randomBytes(100_000, 5))
    runs.push(found)
  }
  t.is(readRuns(frame, 0, frame.byteLength, { requests: take, values: take }), frame.byteLength)
  t.alike(entriesOf(runs), referenceRead(frame, 0, frame.byteLength).entries)
})

/** Whether reading values of one length pays. */
function reads(count: number, bytes: number): boolean {
  const frame = expectedValues(valuesOf(Array.from({ length: count }, () => bytes)))
  return readPays(frame, 0, frame.byteLength)
}

test('the kernel is for many small messages', (t) => {
  t.ok(writePays(64, 0), 'requests')
  t.ok(writePays(64, 64 * 1024), 'values of 1 KiB')
  t.absent(writePays(64, 64 * 1025), 'larger ones')
  t.absent(writePays(7, 7), 'a few')
  t.ok(reads(16, 16))
  t.ok(reads(100, 245), 'a length of three bytes')
  t.absent(reads(100, 300), 'larger ones')
  t.absent(reads(15, 16), 'a few')
  t.absent(reads(20, 70_000), 'a length of five bytes')
  const lone = expectedRequests({ id: 1, fork: 0, index: 1, count: 1, priority: 0 })
  const cancel = Buffer.of(2, 2, 1)
  const mixed = Buffer.concat(Array.from({ length: 100 }, () => [lone, cancel]).flat())
  t.absent(readPays(mixed, 0, mixed.byteLength), 'others between them')
  t.absent(readPays(mixed, lone.byteLength, mixed.byteLength), 'messages of another kind')
  t.absent(readPays(Buffer.alloc(100), 0, 100), 'another channel')
  t.absent(readPays(Buffer.alloc(0), 0, 0), 'nothing')
  t.absent(readPays(Buffer.of(0xfd, 9), 0, 2), 'half a length')
})

test('the frame kernels refuse arguments that do not fit each other', async (t: Assertions) => {
  const target = new Uint8Array(200)
  const requests = { id: 1, fork: 0, index: 0, count: 4, priority: 0 }
  const values = valuesOf([5, 5])
  const large = valuesOf([100_000])
  const sink = { requests: () => {}, values: () => {} }
  const cases: [string, () => unknown][] = [
    ['beyond the count', () => writeRequests(requests, 0, 5, target, 0)],
    ['backwards', () => writeRequests(requests, 3, 2, target, 0)],
    ['before the first', () => writeRequests(requests, -1, 2, target, 0)],
    ['no room', () => writeRequests(requests, 0, 4, target, 180)],
    ['outside', () => writeRequests(requests, 0, 4, target, -1)],
    ['nowhere', () => writeRequests(requests, 0, 4, target, NaN)],
    ['a negative id', () => writeRequests({ ...requests, id: -1 }, 0, 4, target, 0)],
    ['a fraction', () => writeRequests({ ...requests, index: 0.5 }, 0, 4, target, 0)],
    ['no fork', () => writeRequests({ ...requests, fork: NaN }, 0, 4, target, 0)],
    ['a huge id', () => writeRequests({ ...requests, id: 2 ** 53 - 2 }, 0, 4, target, 0)],
    ['no priority', () => writeRequests({ ...requests, priority: Infinity }, 0, 4, target, 0)],
    ['beyond the tables', () => writeValues({ ...values, count: 3 }, 0, 3, target, 0)],
    ['no room for values', () => writeValues(values, 0, 2, target, 190)],
    ['no room for a large value', () => writeValues(large, 0, 1, target, 0)],
    ['no bytes', () => writeValues({ ...values, bytes: target.subarray(0, 9) }, 0, 2, target, 0)],
    ['no bytes of a large one', () => writeValues({ ...large, bytes: target }, 0, 1, target, 0)],
    [
      'far away',
      () => writeValues({ ...values, offsets: Uint32Array.of(0, 0xffffffff) }, 0, 2, target, 0)
    ],
    ['a frame that is shorter', () => readRuns(target, 0, 201, sink)],
    ['a range that is none', () => readRuns(target, 5, 4, sink)],
    ['a start that is none', () => readRuns(target, -1, 4, sink)],
    ['an end that is none', () => readRuns(target, 0, NaN, sink)]
  ]
  for (const [name, run] of cases) {
    await t.exception(run, /BAD_ARGUMENT/)
    t.comment(name)
  }
})
