/**
 * The 32-byte constants that keep hypercore's hashes and signatures apart.
 *
 * `ns(i) = hash(hash('hypercore') || byte i)`. Source: hypercore 11 `lib/caps.js`.
 *
 * @module
 */
import { hash, keyedHash } from '../kernels/hash.ts'

const HYPERCORE = Uint8Array.from('hypercore', (letter) => letter.charCodeAt(0))
const HYPERCORE_HASH = hash([HYPERCORE])

function namespace(number: number): Uint8Array {
  return hash([HYPERCORE_HASH, Uint8Array.of(number)])
}

/** Begins every signed tree. */
export const TREE: Uint8Array = namespace(0)
/** Begins what is hashed into the key of a feed. */
export const MANIFEST: Uint8Array = namespace(3)
/** Namespace of a signer that names none. */
export const DEFAULT_NAMESPACE: Uint8Array = namespace(4)
/** Begins what is hashed into the key of encrypted blocks. */
export const DEFAULT_ENCRYPTION: Uint8Array = namespace(5)

/** The discovery key of a feed: tells who knows the key what it is about, and others nothing. */
export function discoveryKeyOf(key: Uint8Array): Uint8Array {
  return keyedHash(key, HYPERCORE)
}
