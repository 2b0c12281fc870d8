import test, { type Assertions } from 'brittle'
import * as fc from 'fast-check'
import { isSynclineError } from '../../lib/errors.ts'
import {
  BLOCK_BYTES_MAX,
  EXTENSION_BYTES_MAX,
  FEED_LENGTH_MAX,
  LINKED_FEEDS_MAX,
  MANIFEST_USER_DATA_BYTES_MAX,
  PROOF_NODES_MAX,
  SIGNERS_MAX
} from '../../lib/limits.ts'
import {
  codecs,
  decodeMessage,
  encodeMessage,
  handshake,
  messageCodecs,
  type Codec
} from '../../lib/wire/codec.ts'
import { decodeManifest, encodeManifest, manifestCodec } from '../../lib/wire/manifest-codec.ts'
import { MESSAGE_TYPES, type Message } from '../../lib/wire/message.ts'
import {
  decodeMultisig,
  decodeMultisigV0,
  encodeMultisig,
  encodeMultisigV0,
  multisigCodec,
  multisigV0Codec
} from '../../lib/wire/multisig-codec.ts'
import {
  anyManifest,
  anyMessage,
  anyMultisig,
  anyMultisigV0,
  filled,
  MANIFESTS,
  MESSAGES
} from '../fixtures/wire-messages.ts'

const RANDOM = { seed: 20261120, numRuns: 300 }

const DECODERS: readonly Codec<unknown>[] = [
  ...messageCodecs,
  handshake,
  manifestCodec,
  multisigCodec,
  multisigV0Codec
]

function typeIndex(type: Message['type']): number {
  return MESSAGE_TYPES.indexOf(type)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** An integer as the wire writes it. */
function uint(value: number): number[] {
  if (value <= 0xfc) return [value]
  const bytes = Buffer.alloc(9, 0xff)
  bytes.writeBigUInt64LE(BigInt(value), 1)
  return [...bytes]
}

/** `count` and as many repetitions of `item`. */
function list(count: number, item: readonly number[]): number[] {
  const all = uint(count)
  for (let i = 0; i < count; i++) all.push(...item)
  return all
}

function isRefused(run: () => unknown): boolean {
  try {
    run()
    return false
  } catch (error) {
    if (isSynclineError(error, 'BAD_MESSAGE')) return true
    throw error
  }
}

function refuses(
  t: Assertions,
  type: Message['type'],
  bytes: readonly number[],
  why: string
): void {
  t.ok(
    isRefused(() => decodeMessage(typeIndex(type), Uint8Array.from(bytes))),
    why
  )
}

function accepts(
  t: Assertions,
  type: Message['type'],
  bytes: readonly number[],
  why: string
): void {
  t.is(decodeMessage(typeIndex(type), Uint8Array.from(bytes)).type, type, why)
}

const NODE = [...uint(2), ...uint(10), ...filled(32, 4)]
const SIGNER = [0, ...filled(32, 1), ...filled(32, 2)]

/** A data message with block 0, empty, and these bytes for its nodes. */
function blockWith(nodes: readonly number[]): number[] {
  return [1, 1, 0, 0, 0, ...nodes]
}

function nodeAt(index: number): number[] {
  return [...uint(index), 0, ...filled(32, 1)]
}

/** A data message with block 0 of so many zero bytes. */
function blockOf(size: number): Uint8Array {
  const header = [1, 1, 0, 0, ...uint(size)]
  const bytes = new Uint8Array(header.length + size + 1)
  bytes.set(header)
  return bytes
}

/** A data message with a manifest of quorum 1 and these bytes for its signers. */
function manifestWith(signers: readonly number[]): number[] {
  return [16, 1, 0, 1, 0, 0, 1, ...signers]
}

function manifestLinking(count: number): Uint8Array {
  return Uint8Array.of(2, 4, 0, 0, 0, ...list(count, [...filled(32, 1)]))
}

function manifestWithUserData(byteLength: number): Uint8Array {
  const bytes = new Uint8Array(5 + uint(byteLength).length + byteLength)
  bytes.set([2, 8, 0, 0, 0, ...uint(byteLength)])
  return bytes
}

function signatureOf(proofs: number, nodes: number): Uint8Array {
  return Uint8Array.of(...list(proofs, [0, ...filled(64, 1), 0]), ...list(nodes, NODE))
}

test('messages have the bytes that the protocol documents', (t) => {
  const [sync, , , , request] = MESSAGES
  if (sync === undefined || request === undefined) throw new Error('no cases')
  t.is(hex(encodeMessage(sync)), '07000000')
  t.is(hex(encodeMessage(request)), '3901000000000101')
  t.is(hex(encodeMessage({ type: 'no-data', request: 253, reason: 1 })), 'fdfd000101')
  t.is(hex(encodeMessage({ type: 'range', drop: true, start: 7, length: 1 })), '0307')
  t.is(
    hex(encodeMessage({ type: 'bitfield', start: 32, words: Uint32Array.of(0x80000001) })),
    '200101000080'
  )
  const [manifest] = MANIFESTS
  if (manifest === undefined) throw new Error('no cases')
  t.is(
    hex(encodeManifest(manifest)),
    `010000010100${'41'.repeat(32)}${'01'.repeat(32)}`,
    'default manifest: 70 bytes'
  )
  const proofs = [{ signer: 0, signature: filled(64, 5), patch: 0 }]
  t.is(hex(encodeMultisig({ proofs, nodes: [] })), `0100${'05'.repeat(64)}0000`, '68 bytes')
})

test('what is written is read again', (t) => {
  for (const message of MESSAGES) {
    // A copy, because views of a Buffer are Buffers.
    const bytes = new Uint8Array(encodeMessage(message))
    t.alike(decodeMessage(typeIndex(message.type), bytes), message, message.type)
  }
  for (const manifest of MANIFESTS) {
    t.alike(decodeManifest(new Uint8Array(encodeManifest(manifest))), manifest)
  }
  const everything = fc.property(
    fc.oneof(...MESSAGE_TYPES.map((type) => anyMessage[type])),
    anyManifest,
    anyMultisig,
    anyMultisigV0,
    (message, manifest, multisig, multisigV0) => {
      const bytes = encodeMessage(message)
      const again = encodeMessage(decodeMessage(typeIndex(message.type), bytes))
      const pairs = [
        [bytes, again],
        [encodeManifest(manifest), encodeManifest(decodeManifest(encodeManifest(manifest)))],
        [encodeMultisig(multisig), encodeMultisig(decodeMultisig(encodeMultisig(multisig)))],
        [
          encodeMultisigV0(multisigV0),
          encodeMultisigV0(decodeMultisigV0(encodeMultisigV0(multisigV0)))
        ]
      ] as const
      return pairs.every(([first, second]) => hex(first) === hex(second))
    }
  )
  t.is(fc.check(everything, RANDOM).failed, false, 'random values')
})

test('a message that is cut anywhere is refused, except before what may be missing', (t) => {
  for (const message of MESSAGES) {
    const bytes = encodeMessage(message)
    const index = typeIndex(message.type)
    const inside = Uint8Array.of(0, ...bytes)
    const wrong: number[] = []
    for (let end = 0; end < bytes.length; end++) {
      const refused = isRefused(() => decodeMessage(index, bytes.subarray(0, end)))
      // The same cut inside a batch, where other bytes follow in the buffer.
      const state = { start: 1, end: 1 + end, buffer: inside }
      const refusedInside = isRefused(() => messageCodecs[index]?.decode(state))
      if (refused === mayEndAt(message, end) || refusedInside !== refused) wrong.push(end)
    }
    t.alike(wrong, [], `${message.type}, ${bytes.length} bytes`)
  }
})

/** Tells whether the first `end` bytes of `message` are a message too: its tail is optional. */
function mayEndAt(message: Message, end: number): boolean {
  if (message.type === 'no-data') {
    return end === encodeMessage({ type: 'cancel', request: message.request }).length
  }
  if (message.type === 'want' || message.type === 'unwant') {
    return message.any && end === encodeMessage({ ...message, any: false }).length
  }
  if (message.type === 'extension') return end >= 1 + Buffer.byteLength(message.name)
  return false
}

test('a cut manifest, handshake or signature is refused', (t) => {
  const all: [Codec<unknown>, Uint8Array][] = [
    [handshake, Uint8Array.of(1, ...filled(32, 1))],
    [multisigCodec, Uint8Array.of(1, 0, ...filled(64, 1), 0, 1, ...NODE)],
    [multisigV0Codec, Uint8Array.of(1, 1, 0, ...filled(64, 1), 2, 2, 1, 0, 1, ...NODE)]
  ]
  for (const manifest of MANIFESTS) all.push([manifestCodec, encodeManifest(manifest)])
  for (const [codec, bytes] of all) {
    const read: number[] = []
    for (let end = 0; end < bytes.length; end++) {
      if (!isRefused(() => codec.decode({ start: 0, end, buffer: bytes }))) read.push(end)
    }
    t.alike(read, [], `${bytes.length} bytes`)
    const state = { start: 0, end: bytes.length, buffer: bytes }
    codec.decode(state)
    t.is(state.start, bytes.length, 'whole, everything is consumed')
  }
})

test('no bytes whatever make a decoder throw anything but BAD_MESSAGE', (t) => {
  const garbage = fc.property(
    fc.uint8Array({ maxLength: 400 }),
    fc.nat({ max: 40 }),
    fc.nat({ max: 40 }),
    (bytes, skip, spare) => {
      const start = Math.min(skip, bytes.length)
      const end = Math.max(start, bytes.length - spare)
      for (const codec of DECODERS) {
        const state = { start, end, buffer: bytes }
        // A decoder that read on into the next message would be as bad.
        if (!isRefused(() => codec.decode(state)) && state.start > end) return false
      }
      return true
    }
  )
  t.is(fc.check(garbage, { ...RANDOM, numRuns: 3000 }).failed, false, 'random bytes')

  const spoiled = fc.property(
    fc.oneof(...MESSAGE_TYPES.map((type) => anyMessage[type])),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 0xfc, 0xfd, 0xfe, 0xff)), { maxLength: 4 }),
    (message, changes) => {
      const bytes = encodeMessage(message)
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      isRefused(() => decodeMessage(typeIndex(message.type), bytes))
    }
  )
  t.is(fc.check(spoiled, { ...RANDOM, numRuns: 3000 }).failed, false, 'spoiled messages')
})

test('counts are held against their bounds before anything is read', (t) => {
  accepts(t, 'data', blockWith(list(PROOF_NODES_MAX, NODE)), 'as many nodes as a proof may have')
  refuses(t, 'data', blockWith(list(PROOF_NODES_MAX + 1, NODE)), 'one node more')
  refuses(t, 'data', blockWith(uint(Number.MAX_SAFE_INTEGER)), 'a huge count of nodes')
  t.absent(
    isRefused(() => decodeMessage(typeIndex('data'), blockOf(BLOCK_BYTES_MAX))),
    'the largest block'
  )
  t.ok(
    isRefused(() => decodeMessage(typeIndex('data'), blockOf(BLOCK_BYTES_MAX + 1))),
    'a block that is too large'
  )

  accepts(
    t,
    'data',
    manifestWith(list(SIGNERS_MAX, SIGNER)),
    'as many signers as a manifest may have'
  )
  refuses(t, 'data', manifestWith(list(SIGNERS_MAX + 1, SIGNER)), 'one signer more')
  t.is(decodeManifest(manifestLinking(LINKED_FEEDS_MAX)).linked?.length, LINKED_FEEDS_MAX)
  t.ok(
    isRefused(() => decodeManifest(manifestLinking(LINKED_FEEDS_MAX + 1))),
    'one linked feed more'
  )
  const most = MANIFEST_USER_DATA_BYTES_MAX
  t.is(decodeManifest(manifestWithUserData(most)).userData?.byteLength, most)
  t.ok(
    isRefused(() => decodeManifest(manifestWithUserData(most + 1))),
    'one byte of user data more'
  )

  t.is(decodeMultisig(signatureOf(SIGNERS_MAX, 1)).proofs.length, SIGNERS_MAX)
  t.ok(
    isRefused(() => decodeMultisig(signatureOf(SIGNERS_MAX + 1, 0))),
    'more signatures than signers can be'
  )
  t.is(decodeMultisig(signatureOf(1, PROOF_NODES_MAX)).nodes.length, PROOF_NODES_MAX)
  t.ok(
    isRefused(() => decodeMultisig(signatureOf(1, PROOF_NODES_MAX + 1))),
    'one node more'
  )

  const signature = [1, 1, 0, ...filled(64, 1), 0, 0]
  t.is(
    decodeMultisigV0(Uint8Array.of(...signature, ...list(PROOF_NODES_MAX, [0]), 0)).proofs.length,
    1
  )
  t.ok(
    isRefused(() =>
      decodeMultisigV0(Uint8Array.of(...signature, ...list(PROOF_NODES_MAX + 1, [0]), 0))
    ),
    'a patch of too many nodes'
  )

  refuses(t, 'bitfield', [0, ...uint(Number.MAX_SAFE_INTEGER), 1, 2, 3, 4], 'a huge bitfield')
  refuses(t, 'bitfield', [0, 2, 1, 2, 3, 4, 5, 6, 7], 'a bitfield with a part of a word')

  const large = { type: 'extension', name: 'x', message: filled(EXTENSION_BYTES_MAX, 0) } as const
  t.ok(
    isRefused(() => decodeMessage(typeIndex('extension'), encodeMessage(large))),
    'an extension message that is too large'
  )
  refuses(t, 'request', [1, 1, 0, 0, ...uint(PROOF_NODES_MAX + 1)], 'a climb above every root')
})

test('indexes and lengths beyond any feed are refused, the largest are read', (t) => {
  const most = uint(FEED_LENGTH_MAX)
  const over = uint(FEED_LENGTH_MAX + 1)
  accepts(t, 'sync', [0, 0, ...most, ...most], 'sync')
  refuses(t, 'sync', [0, 0, ...over, 0], 'sync length')
  refuses(t, 'sync', [0, 0, 0, ...over], 'sync remote length')
  refuses(t, 'sync', [0, ...filled(9, 0xff), 0, 0], 'an integer above 2^53')
  accepts(t, 'request', [2, 1, 0, ...uint(2 * FEED_LENGTH_MAX), 0], 'tree index')
  refuses(t, 'request', [2, 1, 0, ...uint(2 * FEED_LENGTH_MAX + 1), 0], 'tree index')
  refuses(t, 'request', [1, 1, 0, ...over, 0], 'block index')
  refuses(t, 'data', [1, 1, 0, ...over, 0, 0], 'block index')
  accepts(t, 'data', [2, 1, 0, ...uint(2 * FEED_LENGTH_MAX), 0], 'tree index')
  refuses(t, 'data', [2, 1, 0, ...uint(2 * FEED_LENGTH_MAX + 1), 0], 'tree index')
  accepts(t, 'data', blockWith([1, ...nodeAt(2 * FEED_LENGTH_MAX)]), 'node')
  refuses(t, 'data', blockWith([1, ...nodeAt(2 * FEED_LENGTH_MAX + 1)]), 'node')
  accepts(t, 'data', [8, 1, 0, ...uint(FEED_LENGTH_MAX - 1), 1, 0, 0, 0], 'upgrade')
  refuses(t, 'data', [8, 1, 0, ...uint(FEED_LENGTH_MAX - 1), 2, 0, 0, 0], 'upgrade')
  accepts(t, 'data', [16, 1, 0, 1, 2, 0, 0, 0, ...filled(32, 1), ...most], 'prologue')
  refuses(t, 'data', [16, 1, 0, 1, 2, 0, 0, 0, ...filled(32, 1), ...over], 'prologue')
  const signed = [1, 0, ...filled(64, 1)]
  t.is(decodeMultisig(Uint8Array.of(...signed, ...most, 0)).proofs[0]?.patch, FEED_LENGTH_MAX)
  t.ok(
    isRefused(() => decodeMultisig(Uint8Array.of(...signed, ...over, 0))),
    'patch'
  )
  for (const [type, flags] of [
    ['range', [0]],
    ['want', []],
    ['unwant', []],
    ['request', [8, 1, 0]]
  ] as const) {
    accepts(t, type, [...flags, ...uint(FEED_LENGTH_MAX - 1), 1], `${type} up to the end`)
    refuses(t, type, [...flags, ...uint(FEED_LENGTH_MAX - 1), 2], `${type} beyond the end`)
  }
  refuses(t, 'range', [2, ...over], 'range of one block')
  refuses(t, 'bitfield', [...over, 0], 'bitfield start')
})

test('what a later version may add is ignored, what it may not is refused', (t) => {
  for (const message of MESSAGES) {
    if (message.type === 'extension') continue
    if ((message.type === 'want' || message.type === 'unwant') && !message.any) continue
    const longer = Uint8Array.of(...encodeMessage(message), 0, 7, 7)
    t.alike(decodeMessage(typeIndex(message.type), longer), message, message.type)
  }
  accepts(t, 'sync', [0xe0, 0, 0, 0], 'unknown flags')
  accepts(t, 'no-data', [7], 'the short no-data of old peers')
  refuses(t, 'data', [16, 1, 0, 4, 0, 0, 0, 0], 'manifest of an unknown version')
  refuses(t, 'data', [16, 1, 0, 1, 0, 1, 0, 0], 'manifest with an unknown hash')
  refuses(t, 'data', [16, 1, 0, 0, 0, 3, 0, 0], 'version 0 manifest of an unknown type')
  refuses(t, 'data', [16, 1, 0, 1, 0, 0, 1, 1, 1, ...filled(64, 1)], 'an unknown signature')
  t.ok(
    isRefused(() => decodeMessage(10, Uint8Array.of(0))),
    'a message number that is none'
  )
})

test('byte fields are views of the frame, bitfield words fit any alignment', (t) => {
  const value = filled(50, 3)
  const [, manifest] = MANIFESTS
  if (manifest === undefined) throw new Error('no cases')
  const none = { hash: null, seek: null, upgrade: null }
  const block = { index: 1, value, nodes: [] }
  const frame = encodeMessage({ type: 'data', request: 1, fork: 0, block, ...none, manifest })
  const read = codecs.data.decode({ start: 0, end: frame.length, buffer: frame })
  t.is(read.block?.value.buffer, frame.buffer, 'block')
  t.is(read.manifest?.signers[0]?.publicKey.buffer, frame.buffer, 'public key')

  const words = Uint32Array.of(1, 0xfffffffe, 0x12345678)
  const bytes = encodeMessage({ type: 'bitfield', start: 32, words })
  for (let offset = 0; offset < 4; offset++) {
    const buffer = new Uint8Array(offset + bytes.length)
    buffer.set(bytes, offset)
    const state = { start: offset, end: buffer.length, buffer }
    t.alike(codecs.bitfield.decode(state).words, words, `offset ${offset}`)
  }
})

test('a value that cannot be written is the caller\u2019s fault', async (t) => {
  const [manifest] = MANIFESTS
  if (manifest === undefined) throw new Error('no cases')
  const short = { hash: filled(31, 1), length: 1 }
  await t.exception(() => encodeManifest({ ...manifest, prologue: short }), /BAD_ARGUMENT/)
  await t.exception(() => encodeMessage({ type: 'cancel', request: -1 }), /BAD_ARGUMENT/)
})
