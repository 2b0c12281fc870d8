import { createRequire } from 'node:module'

interface Sodium {
  crypto_generichash(output: Uint8Array, input: Uint8Array): void
  crypto_generichash_batch(output: Uint8Array, inputs: readonly Uint8Array[]): void
}

/** libsodium by its native binding: what the roles use of it. */
export const sodium: Sodium = createRequire(import.meta.url)('sodium-universal') as Sodium
