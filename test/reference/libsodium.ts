// The third party of the kernel tests: libsodium, and hypercore's own tree hashes over it.
import { createRequire } from 'node:module'
import type { ReferenceNode } from './fold.ts'

interface Sodium {
  crypto_generichash(out: Uint8Array, message: Uint8Array, key?: Uint8Array): void
}

interface HypercoreCrypto {
  data(block: Uint8Array): Uint8Array
  parent(
    left: ReferenceNode & { index: number },
    right: ReferenceNode & { index: number }
  ): Uint8Array
  tree(roots: readonly (ReferenceNode & { index: number })[]): Uint8Array
  discoveryKey(key: Uint8Array): Uint8Array
}

const require = createRequire(import.meta.url)
const sodium = require('sodium-universal') as Sodium

export const hypercoreCrypto: HypercoreCrypto = require('hypercore-crypto') as HypercoreCrypto

/** BLAKE2b-256 by libsodium, keyed if `key` is given. */
export function sodiumHash(message: Uint8Array, key?: Uint8Array): Uint8Array {
  const out = Buffer.alloc(32)
  if (key === undefined) sodium.crypto_generichash(out, message)
  else sodium.crypto_generichash(out, message, key)
  return out
}

/** BLAKE2b-256 of a concatenation by libsodium. */
export function sodiumHashParts(parts: readonly Uint8Array[]): Uint8Array {
  return sodiumHash(Buffer.concat(parts))
}
