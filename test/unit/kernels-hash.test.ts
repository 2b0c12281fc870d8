import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'brittle'
import { hash, hashMany, keyedHash, simd } from '../../lib/kernels/hash.ts'
import { referenceHash } from '../reference/hash.ts'
import { hypercoreCrypto, sodiumHash } from '../reference/libsodium.ts'
import { equal, randomBytes, slices } from '../reference/bytes.ts'

const LENGTHS = Array.from({ length: 301 }, (_, length) => length)
// Block boundaries of 128 bytes, alone and after the 9 bytes of a leaf prefix, with their neighbours.
const TAILS = [1, 2, 3, 8].flatMap((blocks) =>
  [-10, -9, -8, -1, 0, 1].map((shift) => 128 * blocks + shift)
)

const skip = process.platform !== 'linux'

test('without room for the memory of the module the scalar twin hashes', { skip }, async (t) => {
  const kernels = JSON.stringify(import.meta.resolve('../../lib/kernels/hash.js'))
  const script = `
    const { hash, simd } = await import(${kernels})
    console.log(simd, [...hash(new Uint8Array(3))].join())`
  const limited = `ulimit -v 8000000; exec "${process.execPath}" --input-type=module -e '${script}'`
  const { stdout } = await promisify(execFile)('/bin/sh', ['-c', limited])
  const [said, digest] = stdout.trim().split(' ')
  t.is(digest, [...hash(new Uint8Array(3))].join())
  // Later ones take what there is, and check the bounds.
  if (process.versions.node.startsWith('20.')) t.is(said, 'false')
})

test('the platforms that we test on run the SIMD kernels', (t) => {
  t.ok(simd)
})

test('hash of every length from 0 to 300 equals the slow twin and libsodium', (t) => {
  for (const length of LENGTHS) {
    const message = randomBytes(length, length)
    const expected = referenceHash([message])
    if (!equal(hash(message), expected)) t.fail(`${length} bytes`)
    if (!equal(sodiumHash(message), expected)) t.fail(`libsodium, ${length} bytes`)
  }
  t.pass('compared')
})

test('hash does not depend on the alignment of its message', (t) => {
  const bytes = randomBytes(1100, 1)
  for (const length of TAILS) {
    for (let shift = 0; shift < 16; shift++) {
      const message = bytes.subarray(shift, shift + length)
      if (!equal(hash(message), sodiumHash(message))) t.fail(`${length} bytes at ${shift}`)
    }
  }
  t.pass('compared')
})

test('hash of parts is the hash of their concatenation', (t) => {
  const message = randomBytes(700_000, 2)
  for (const cuts of [
    [0],
    [1, 127, 128, 129, 300],
    [262_143, 262_144, 262_145],
    [524_288, 524_288]
  ]) {
    t.ok(equal(hash(slices(message, cuts)), sodiumHash(message)), `cut at ${cuts.join(', ')}`)
  }
  t.ok(equal(hash([]), sodiumHash(new Uint8Array(0))), 'no parts')
})

test('hash of a message of exactly one or more pieces is right', (t) => {
  for (const length of [262_143, 262_144, 262_145, 524_288]) {
    const message = randomBytes(length, length)
    t.ok(equal(hash(message), sodiumHash(message)), `${length} bytes`)
  }
  const message = randomBytes(262_144, 3)
  t.ok(equal(hash(message), referenceHash([message])), 'also by the slow twin')
})

test('hashes of large messages equal libsodium', (t) => {
  const message = randomBytes(15 * 1024 * 1024, 4)
  const large = message.subarray(0, 5_000_001)
  t.ok(equal(hash(large), sodiumHash(large)), '5 MB')
  t.ok(equal(hash(message), sodiumHash(message)), '15 MiB')
  const messages = [large, message, large.subarray(1), message.subarray(0, 8 * 1024 * 1024)]
  t.ok(equal(hashMany(messages), Buffer.concat(messages.map((m) => sodiumHash(m)))), 'several')
})

test('hashMany of every length at every alignment equals libsodium', (t) => {
  const bytes = randomBytes(400, 5)
  const messages = LENGTHS.flatMap((length) =>
    Array.from({ length: 16 }, (_, shift) => bytes.subarray(shift, shift + length))
  )
  const expected = Buffer.concat(messages.map((message) => sodiumHash(message)))
  t.ok(equal(hashMany(messages), expected))
  t.ok(equal(hashMany(messages.toReversed()).subarray(-32), expected.subarray(0, 32)), 'reversed')
})

test('hashMany of two messages is right for all pairs of lengths around block boundaries', (t) => {
  const bytes = randomBytes(2100, 6)
  const lengths = [0, 1, 64, ...TAILS, 2048]
  for (const left of lengths) {
    for (const right of lengths) {
      const messages = [bytes.subarray(0, left), bytes.subarray(7, 7 + right)]
      const expected = Buffer.concat(messages.map((message) => sodiumHash(message)))
      if (!equal(hashMany(messages), expected)) t.fail(`${left} and ${right} bytes`)
    }
  }
  t.pass('compared')
})

test('hashMany works for any count, none and one included', (t) => {
  const message = randomBytes(100, 7)
  t.is(hashMany([]).byteLength, 0)
  for (const count of [1, 2, 3, 4095, 4096, 4097, 8193]) {
    const messages = Array.from({ length: count }, (_, i) => message.subarray(i % 50))
    const hashes = hashMany(messages)
    let wrong = hashes.byteLength === 32 * count ? 0 : 1
    messages.forEach((message, i) => {
      if (!equal(hashes.subarray(32 * i, 32 * i + 32), sodiumHash(message))) wrong++
    })
    t.is(wrong, 0, `${count} messages`)
  }
})

test('keyedHash equals the slow twin and libsodium for all lengths of keys', (t) => {
  for (let keyLength = 16; keyLength <= 64; keyLength++) {
    for (const length of [0, 1, 9, 64, 127, 128, 129, 256]) {
      const key = randomBytes(keyLength, keyLength)
      const message = randomBytes(length, length)
      const expected = sodiumHash(message, key)
      if (!equal(keyedHash(key, message), expected)) t.fail(`${keyLength}, ${length}`)
    }
  }
  const key = randomBytes(1, 8)
  t.ok(equal(keyedHash(key, key), referenceHash([key], key)), 'a key of one byte')
  const long = randomBytes(300_000, 9)
  t.ok(equal(keyedHash(long.subarray(0, 64), long), sodiumHash(long, long.subarray(0, 64))), 'long')
})

test('keyedHash gives the discovery key of hypercore', (t) => {
  const key = randomBytes(32, 10)
  t.ok(equal(keyedHash(key, Buffer.from('hypercore')), hypercoreCrypto.discoveryKey(key)))
})

test('keyedHash refuses an empty and a too long key', async (t) => {
  const message = new Uint8Array(1)
  for (const length of [0, 65]) {
    await t.exception(() => keyedHash(new Uint8Array(length), message), /BAD_ARGUMENT/)
  }
})

test("results are the caller's: later calls leave them alone", (t) => {
  const first = randomBytes(10, 11)
  const result = hash(first)
  const many = hashMany([first])
  hash(randomBytes(3_000_000, 12))
  hashMany([randomBytes(200, 13), randomBytes(9_000_000, 14)])
  t.ok(equal(result, sodiumHash(first)))
  t.ok(equal(many, sodiumHash(first)))
  t.is(result.buffer.byteLength, 32, 'no larger buffer is kept alive')
})
