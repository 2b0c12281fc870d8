/**
 * libsodium by its native binding, and the hashes of hypercore's tree with it.
 *
 * @module
 */
import { createRequire } from 'node:module'

interface Sodium {
  crypto_generichash(output: Uint8Array, input: Uint8Array): void
  crypto_generichash_batch(output: Uint8Array, inputs: readonly Uint8Array[]): void
}

export const sodium: Sodium = createRequire(import.meta.url)('sodium-universal') as Sodium

/** Blocks below are copied behind their prefix, since a batch costs libsodium's binding more than that. */
const COPY_BYTES = 2048

const prefix = Buffer.alloc(9)
const copied = Buffer.alloc(9 + COPY_BYTES)
const parent = Buffer.alloc(73)
parent[0] = 1

/** Writes the 40 bytes of a leaf: size, then hash. */
export function leafNode(block: Uint8Array, node: Buffer): void {
  const { byteLength } = block
  if (byteLength < COPY_BYTES) {
    copied.writeUInt32LE(byteLength, 1)
    copied.set(block, 9)
    sodium.crypto_generichash(node.subarray(8), copied.subarray(0, 9 + byteLength))
  } else {
    prefix.writeUInt32LE(byteLength, 1)
    sodium.crypto_generichash_batch(node.subarray(8), [prefix, block])
  }
  node.writeUInt32LE(byteLength, 0)
  node.writeUInt32LE(0, 4)
}

/** Writes the 40 bytes of the parent of two nodes. */
export function parentNode(left: Buffer, right: Buffer, node: Buffer): void {
  const low = left.readUInt32LE(0) + right.readUInt32LE(0)
  const carry = low > 0xffffffff ? 1 : 0
  node.writeUInt32LE(low >>> 0, 0)
  node.writeUInt32LE(left.readUInt32LE(4) + right.readUInt32LE(4) + carry, 4)
  parent.set(node.subarray(0, 8), 1)
  parent.set(left.subarray(8), 9)
  parent.set(right.subarray(8), 41)
  sodium.crypto_generichash(node.subarray(8), parent)
}
