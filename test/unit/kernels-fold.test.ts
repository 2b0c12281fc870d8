import test from 'brittle'
import {
  fold,
  foldBlocks,
  HELD_LENGTH,
  leafHash,
  leafHashes,
  parentHash,
  treeHash
} from '../../lib/kernels/fold.ts'
import { equal, randomBytes, shuffled } from '../reference/bytes.ts'
import {
  encodeNodes,
  referenceLeaf,
  referenceNodes,
  referenceParent,
  referenceTree
} from '../reference/fold.ts'
import { hypercoreCrypto, sodiumHashParts } from '../reference/libsodium.ts'

// From hypercore-crypto, over the blocks a, b, c, d.
const GOLDEN = {
  leaf: '423177bd3da55c6ac57419beff9c763bab05e12a6d8908b38b7fc14360228d4a',
  parent: '9cac92aaed9e7d11eb629465684582ce39cb496303998de123533b09e16f2f06',
  root: '0f9ccfd59f6c98fd5b6e444a6e57325c91eddcfabceb4c74d92f28c45f310cd3',
  tree: 'b7376d22cec3ccbd0b5e6b7cabcc6a4f0c140b49f82020da6f5d4d8f6fd97d1f'
}

/** Blocks laid one after another in the order given. */
function layOut(blocks: readonly Uint8Array[], order: readonly number[]) {
  const offsets = new Uint32Array(blocks.length)
  const lengths = new Uint32Array(blocks.length)
  let end = 0
  for (const i of order) {
    offsets[i] = end
    lengths[i] = blocks[i]!.byteLength
    end += blocks[i]!.byteLength
  }
  return { bytes: Buffer.concat(order.map((i) => blocks[i]!)), offsets, lengths }
}

function someBlocks(count: number, seed: number, bytesMax = 300): Uint8Array[] {
  const sizes = new Uint16Array(randomBytes(2 * count, seed).buffer)
  return Array.from({ length: count }, (_, i) => randomBytes(sizes[i]! % bytesMax, seed + i))
}

function expectedNodes(blocks: readonly Uint8Array[]): Uint8Array {
  const leaves = blocks.map((block) => referenceLeaf(block, sodiumHashParts))
  return encodeNodes(referenceNodes(leaves, sodiumHashParts))
}

test('leafHash of every length from 0 to 300 equals the slow twin and hypercore', (t) => {
  const blocks = Array.from({ length: 301 }, (_, length) => randomBytes(length, length))
  for (const block of blocks) {
    const expected = referenceLeaf(block).hash
    if (!equal(leafHash(block), expected)) t.fail(`${block.byteLength} bytes`)
    if (!equal(hypercoreCrypto.data(block), expected)) t.fail(`hypercore, ${block.byteLength}`)
  }
  const hashes = Buffer.concat(blocks.map((block) => hypercoreCrypto.data(block)))
  t.ok(equal(leafHashes(blocks), hashes), 'all at once')
})

test('leafHash of a large block equals hypercore', (t) => {
  const block = randomBytes(15 * 1024 * 1024, 1)
  t.ok(equal(leafHash(block), hypercoreCrypto.data(block)), '15 MiB')
  for (const length of [262_135, 262_144, 5_000_000, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1]) {
    const part = block.subarray(3, 3 + length)
    t.ok(equal(leafHash(part), hypercoreCrypto.data(part)), `${length} bytes`)
  }
})

test('parentHash and treeHash equal the slow twin and hypercore', (t) => {
  const left = { index: 0, ...referenceLeaf(randomBytes(200, 2)) }
  const right = { index: 2, ...referenceLeaf(randomBytes(100, 3)) }
  const hash = parentHash(left, right)
  t.ok(equal(hash, referenceParent(left, right).hash))
  t.ok(equal(hash, hypercoreCrypto.parent(left, right)))
  const roots = [
    { index: 1, size: 300, hash },
    { index: 4, size: 2 ** 33 + 5, hash: left.hash },
    { index: 2 ** 40, size: 2 ** 52 + 1, hash: right.hash }
  ]
  for (let count = 0; count <= roots.length; count++) {
    const some = roots.slice(0, count)
    const expected = hypercoreCrypto.tree(some)
    t.ok(equal(treeHash(some), expected), `${count} roots`)
    t.ok(equal(referenceTree(some), expected), `${count} roots by the slow twin`)
  }
  const big = { size: 2 ** 40 + 7, hash }
  t.ok(equal(parentHash(big, big), referenceParent(big, big).hash), 'sizes above 32 bits')
})

test('hashes of a small tree are the known ones', (t) => {
  const blocks = ['a', 'b', 'c', 'd'].map((text) => Buffer.from(text))
  const { bytes, offsets, lengths } = layOut(blocks, [0, 1, 2, 3])
  const nodes = Buffer.from(fold(bytes, offsets, lengths, null))
  const hex = (index: number) => nodes.subarray(40 * index + 8, 40 * index + 40).toString('hex')
  t.is(hex(0), GOLDEN.leaf)
  t.is(hex(1), GOLDEN.parent)
  t.is(hex(3), GOLDEN.root)
  const root = { index: 3, size: 4, hash: nodes.subarray(128, 160) }
  t.is(Buffer.from(treeHash([root])).toString('hex'), GOLDEN.tree)
})

test('fold gives all nodes for every power of two up to 1,024 blocks', (t) => {
  for (let count = 1; count <= 1024; count *= 2) {
    const blocks = someBlocks(count, count)
    const { bytes, offsets, lengths } = layOut(blocks, shuffled(count, count))
    t.ok(equal(fold(bytes, offsets, lengths, null), expectedNodes(blocks)), `${count} blocks`)
  }
})

test('foldBlocks gives the nodes of fold, and leaves what follows them alone', (t) => {
  const large = [...someBlocks(1, 1), randomBytes(9 * 1024 * 1024, 2)]
  for (const blocks of [large, ...[1, 2, 64, 1024].map((count) => someBlocks(count, count))]) {
    const expected = expectedNodes(blocks)
    const target = new Uint8Array(expected.byteLength + 40).fill(7)
    foldBlocks(blocks, target)
    t.ok(equal(target.subarray(0, expected.byteLength), expected), `${blocks.length} blocks`)
    t.ok(target.subarray(expected.byteLength).every((byte) => byte === 7))
  }
})

test('fold equals the slow twin', (t) => {
  const blocks = someBlocks(16, 4)
  const { bytes, offsets, lengths } = layOut(blocks, shuffled(16, 5))
  const expected = encodeNodes(referenceNodes(blocks.map((block) => referenceLeaf(block))))
  t.ok(equal(fold(bytes, offsets, lengths, null), expected))
})

test('fold takes blocks of no bytes', (t) => {
  for (const count of [1, 2, 8]) {
    const empty = Array.from({ length: count }, () => new Uint8Array(0))
    const { bytes, offsets, lengths } = layOut(empty, shuffled(count, 0))
    t.ok(equal(fold(bytes, offsets, lengths, null), expectedNodes(empty)), `${count} blocks`)
  }
})

test('fold takes held leaves as nodes, and recomputes all parents', (t) => {
  for (const count of [1, 2, 4, 64, 1024]) {
    const blocks = someBlocks(count, count + 7)
    const expected = expectedNodes(blocks)
    for (const share of [0, 1, 2, 3, 4]) {
      const kept = blocks.map((_, i) => (i * 7) % 4 < share)
      const { bytes, offsets, lengths } = layOut(
        blocks.map((block, i) => (kept[i] ? new Uint8Array(0) : block)),
        shuffled(count, share)
      )
      const held = randomBytes(expected.byteLength, share)
      kept.forEach((isHeld, i) => {
        if (!isHeld) return
        lengths[i] = HELD_LENGTH
        held.set(expected.subarray(80 * i, 80 * i + 40), 80 * i)
      })
      const before = held.slice()
      if (!equal(fold(bytes, offsets, lengths, held), expected)) t.fail(`${count}, ${share}/4`)
      if (!equal(held, before)) t.fail('the given nodes were changed')
    }
  }
  t.pass('compared')
})

test('fold keeps sizes above 32 bits', (t) => {
  const hash = randomBytes(32, 8)
  const leaves = [2 ** 32 + 1, 2 ** 40, 5, 2 ** 52].map((size) => ({ size, hash }))
  const expected = encodeNodes(referenceNodes(leaves))
  const lengths = new Uint32Array(4).fill(HELD_LENGTH)
  t.ok(equal(fold(new Uint8Array(0), new Uint32Array(4), lengths, expected), expected))
})

test('fold of more bytes than the arena holds is right', (t) => {
  const big = randomBytes(9 * 1024 * 1024, 9)
  const blocks = [
    big.subarray(0, 1000),
    big,
    big.subarray(5, 3_000_000),
    new Uint8Array(0),
    big.subarray(0, 8 * 1024 * 1024),
    ...someBlocks(3, 10)
  ]
  const { bytes, offsets, lengths } = layOut(blocks, shuffled(8, 11))
  const expected = expectedNodes(blocks)
  t.ok(equal(fold(bytes, offsets, lengths, null), expected))
  lengths[1] = HELD_LENGTH
  t.ok(equal(fold(bytes, offsets, lengths, expected), expected), 'with a held leaf')
})

test('a changed byte changes its leaf and all nodes above it, and no other node', (t) => {
  const blocks = someBlocks(8, 12).map((block) => Buffer.concat([Buffer.of(1), block]))
  const { bytes, offsets, lengths } = layOut(blocks, shuffled(8, 13))
  const before = fold(bytes, offsets, lengths, null)
  bytes[offsets[5]!]! ^= 1
  const after = fold(bytes, offsets, lengths, null)
  const changed: number[] = []
  for (let i = 0; i < 15; i++) {
    if (!equal(before.subarray(40 * i, 40 * i + 40), after.subarray(40 * i, 40 * i + 40))) {
      changed.push(i)
    }
  }
  t.alike(changed, [7, 9, 10, 11])
})

test('fold refuses arguments that do not fit each other', async (t) => {
  const bytes = new Uint8Array(10)
  const cases: [string, () => unknown][] = [
    ['no blocks', () => fold(bytes, new Uint32Array(0), new Uint32Array(0), null)],
    ['three blocks', () => fold(bytes, new Uint32Array(3), new Uint32Array(3), null)],
    ['too many', () => fold(bytes, new Uint32Array(131_072), new Uint32Array(131_072), null)],
    ['three apart', () => foldBlocks([bytes, bytes, bytes], new Uint8Array(200))],
    ['none apart', () => foldBlocks([], new Uint8Array(200))],
    ['offsets', () => fold(bytes, new Uint32Array(1), new Uint32Array(2), null)],
    ['outside', () => fold(bytes, Uint32Array.of(4), Uint32Array.of(7), null)],
    ['far outside', () => fold(bytes, Uint32Array.of(0xfffffff0), Uint32Array.of(32), null)],
    ['held', () => fold(bytes, Uint32Array.of(0), Uint32Array.of(HELD_LENGTH), null)],
    ['nodes', () => fold(bytes, Uint32Array.of(0), Uint32Array.of(1), new Uint8Array(39))],
    ['hash', () => parentHash({ size: 1, hash: bytes }, { size: 1, hash: bytes })]
  ]
  for (const [name, run] of cases) {
    await t.exception(run, /BAD_ARGUMENT/)
    t.comment(name)
  }
})
