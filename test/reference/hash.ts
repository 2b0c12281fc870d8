// The slow, obvious twin of the hash kernel: BLAKE2b over BigInt, as RFC 7693 writes it.

const MASK = 2n ** 64n - 1n

const IV = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n
]

const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0]
]

/** BLAKE2b-256 of the concatenation of `parts`, keyed if `key` is not empty. */
export function referenceHash(
  parts: readonly Uint8Array[],
  key: Uint8Array = new Uint8Array(0)
): Uint8Array {
  const keyBlock = Buffer.concat([
    key,
    Buffer.alloc(key.byteLength === 0 ? 0 : 128 - key.byteLength)
  ])
  const message = Buffer.concat([keyBlock, ...parts])
  const blockCount = Math.max(Math.ceil(message.byteLength / 128), 1)
  const padded = Buffer.concat([message, Buffer.alloc(blockCount * 128 - message.byteLength)])
  const h = [...IV]
  h[0]! ^= 0x01010020n ^ (BigInt(key.byteLength) << 8n)
  for (let i = 0; i < blockCount; i++) {
    const final = i === blockCount - 1
    compress(h, padded.subarray(128 * i), final ? message.byteLength : 128 * (i + 1), final)
  }
  const out = Buffer.alloc(32)
  for (let i = 0; i < 4; i++) out.writeBigUInt64LE(h[i]!, 8 * i)
  return out
}

function compress(h: bigint[], block: Buffer, byteCount: number, final: boolean): void {
  const m = Array.from({ length: 16 }, (_, i) => block.readBigUInt64LE(8 * i))
  const v = [...h, ...IV]
  v[12]! ^= BigInt(byteCount)
  if (final) v[14]! ^= MASK
  const mix = (a: number, b: number, c: number, d: number, x: bigint, y: bigint): void => {
    v[a] = (v[a]! + v[b]! + x) & MASK
    v[d] = rotr(v[d]! ^ v[a], 32n)
    v[c] = (v[c]! + v[d]) & MASK
    v[b] = rotr(v[b]! ^ v[c], 24n)
    v[a] = (v[a] + v[b] + y) & MASK
    v[d] = rotr(v[d] ^ v[a], 16n)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = rotr(v[b] ^ v[c], 63n)
  }
  for (let round = 0; round < 12; round++) {
    const s = SIGMA[round % 10]!.map((word) => m[word]!)
    mix(0, 4, 8, 12, s[0]!, s[1]!)
    mix(1, 5, 9, 13, s[2]!, s[3]!)
    mix(2, 6, 10, 14, s[4]!, s[5]!)
    mix(3, 7, 11, 15, s[6]!, s[7]!)
    mix(0, 5, 10, 15, s[8]!, s[9]!)
    mix(1, 6, 11, 12, s[10]!, s[11]!)
    mix(2, 7, 8, 13, s[12]!, s[13]!)
    mix(3, 4, 9, 14, s[14]!, s[15]!)
  }
  for (let i = 0; i < 8; i++) h[i]! ^= v[i]! ^ v[i + 8]!
}

function rotr(value: bigint, count: bigint): bigint {
  return ((value >> count) | (value << (64n - count))) & MASK
}
