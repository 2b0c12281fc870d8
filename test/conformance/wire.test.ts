import test, { type Assertions } from 'brittle'
import c from 'compact-encoding'
import * as fc from 'fast-check'
import hypercore from 'hypercore/messages.js'
import hypercore10 from 'hypercore10/lib/messages.js'
import { codecs, handshake, type Codec } from '../../lib/wire/codec.ts'
import { manifestCodec } from '../../lib/wire/manifest-codec.ts'
import { MESSAGE_TYPES, type Message } from '../../lib/wire/message.ts'
import { multisigCodec, multisigV0Codec } from '../../lib/wire/multisig-codec.ts'
import {
  anyHandshake,
  anyManifest,
  anyMessage,
  anyMultisig,
  anyMultisigV0,
  filled,
  MANIFESTS,
  MESSAGES
} from '../fixtures/wire-messages.ts'

const RANDOM = { seed: 20261120, numRuns: 400 }

/** A value with its fields named as hypercore names them. */
function theirShape(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return value
  if (Array.isArray(value)) return value.map(theirShape)
  if (typeof value !== 'object' || value === null) return value
  const shape: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(value)) {
    if (name === 'type') continue
    shape[name] = theirShape(field)
  }
  if ('words' in shape) {
    shape['bitfield'] = shape['words']
    delete shape['words']
  }
  if ('proofs' in shape) {
    shape['patch'] = shape['nodes']
    delete shape['nodes']
  }
  return shape
}

function text(value: unknown): string {
  return JSON.stringify(value, (name, field: unknown) => {
    // JSON has asked toJSON of a Buffer already.
    if (typeof field === 'object' && field !== null && 'data' in field && 'type' in field) {
      return Buffer.from(field.data as number[]).toString('hex')
    }
    if (field instanceof Uint8Array) return Buffer.from(field).toString('hex')
    if (field instanceof Uint32Array) return [...field]
    // Hypercore reads an empty signature of an upgrade as none.
    if (name === 'signature' && field === null) return ''
    if (typeof field === 'object' && field !== null && !Array.isArray(field)) {
      return Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1)))
    }
    return field
  })
}

/** Both sides write the same bytes and read the same values out of them. */
function difference<T>(ours: Codec<T>, theirs: HypercoreEncoding, value: T): string | null {
  const bytes = Buffer.from(c.encode(ours, value))
  const expected = Buffer.from(c.encode(theirs, theirShape(value)))
  if (!bytes.equals(expected))
    return `wrote ${bytes.toString('hex')}, not ${expected.toString('hex')}`
  const read = text(theirShape(c.decode(ours, expected)))
  const wanted = text(c.decode(theirs, bytes))
  return read === wanted ? null : `read ${read}, not ${wanted}`
}

function agree<T>(
  t: Assertions,
  ours: Codec<T>,
  theirs: HypercoreEncoding,
  cases: readonly T[],
  random: fc.Arbitrary<T>
): void {
  for (const value of cases) t.is(difference(ours, theirs, value), null, text(value).slice(0, 60))
  const property = fc.property(random, (value) => {
    const found = difference(ours, theirs, value)
    if (found !== null) throw new Error(found)
  })
  t.is(fc.check(property, RANDOM).failed, false, `${RANDOM.numRuns} random values`)
}

function wireOf(wire: HypercoreWire, type: Message['type']): HypercoreEncoding {
  return type === 'no-data' ? wire.noData : wire[type]
}

for (const type of MESSAGE_TYPES) {
  test(`${type}: the bytes of hypercore 11, both ways`, (t) => {
    const cases = MESSAGES.filter((message) => message.type === type)
    t.ok(cases.length > 0, 'there are cases')
    const codec: Codec<Message> = codecs[type]
    agree(t, codec, wireOf(hypercore.wire, type), cases, anyMessage[type])
  })
}

test('handshake: the bytes of hypercore 11, both ways', (t) => {
  const cases = [
    { seeks: true, capability: filled(32, 1) },
    { seeks: false, capability: filled(32, 2) }
  ]
  agree(t, handshake, hypercore.wire.handshake, cases, anyHandshake)
})

test('manifest: the bytes of hypercore 11 for every version, both ways', (t) => {
  agree(t, manifestCodec, hypercore.manifest, MANIFESTS, anyManifest)
})

test('signatures of version 1 and above: the bytes of hypercore 11, both ways', (t) => {
  const nodes = [{ index: 3, size: 40, hash: filled(32, 3) }]
  const first = { signer: 0, signature: filled(64, 1), patch: 0 }
  const cases = [
    { proofs: [first], nodes: [] },
    { proofs: [first, { signer: 2, signature: filled(64, 2), patch: 300 }], nodes }
  ]
  agree(t, multisigCodec, hypercore.multiSignature, cases, anyMultisig)
})

test('signatures of version 0: the bytes of hypercore 11, both ways', (t) => {
  const nodes = [{ index: 3, size: 40, hash: filled(32, 3) }]
  const first = { signer: 0, signature: filled(64, 1), patch: null }
  const patch = { start: 2, length: 2, nodes: [0] }
  const cases = [
    { proofs: [first], nodes: [] },
    { proofs: [first, { signer: 1, signature: filled(64, 2), patch }], nodes }
  ]
  agree(t, multisigV0Codec, hypercore.multiSignaturev0, cases, anyMultisigV0)
})

test('hypercore 10 reads what we write and we read what it writes', (t) => {
  for (const message of MESSAGES) {
    if (message.type === 'data' && message.manifest !== null && message.manifest.version > 1)
      continue
    const theirs = wireOf(hypercore10.wire, message.type)
    const codec: Codec<Message> = codecs[message.type]
    const old = c.encode(theirs, theirShape(message))
    const again = c.encode(theirs, theirShape(c.decode(codec, old)))
    t.alike(again, old, `read ${message.type}`)
    t.alike(
      c.encode(theirs, c.decode(theirs, c.encode(codec, message))),
      old,
      `write ${message.type}`
    )
  }
})
