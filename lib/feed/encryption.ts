/**
 * Block encryption, as hypercore 10 and 11 do it. Feeds store and replicate encrypted blocks as they are.
 *
 * An encrypted block begins with 8 bytes, the blinded fork, which with the index make the nonce. There is
 * no tag: the Merkle tree authenticates what is stored. Source: hypercore 11 `lib/default-encryption.js`.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { hash, keyedHash } from '../kernels/hash.ts'
import { copyBytes, writeUint64 } from './bytes.ts'
import { DEFAULT_ENCRYPTION } from './namespace.ts'
import { streamXor } from './signature.ts'

/** Bytes that encryption puts before each block: the `padding` of a seek. */
export const ENCRYPTION_PADDING = 8

const KEY_BYTES = 32
const NONCE_BYTES = 24

/** Gives blocks back from what is stored of them. */
export interface BlockCipher {
  /** Bytes that stand before each block where it is stored. */
  readonly padding: number
  /** The block behind its stored form: a fresh array. */
  decrypt(index: number, stored: Uint8Array): Uint8Array | Promise<Uint8Array>
}

/** Options of {@link BlockEncryption}. */
export interface EncryptionOptions {
  /** Key of the feed, 32 bytes. */
  readonly feedKey: Uint8Array
  /** The secret that readers share, 32 bytes. */
  readonly encryptionKey: Uint8Array
  /** True if the feed's key is its signer's public key; the keys of blocks are derived differently then. */
  readonly compat: boolean
  /** True if `encryptionKey` is itself the key of the blocks. Default: false. */
  readonly isBlockKey?: boolean
}

/** Encrypts and decrypts the blocks of one feed. */
export class BlockEncryption implements BlockCipher {
  readonly padding: number = ENCRYPTION_PADDING
  readonly #blockKey: Uint8Array
  readonly #blindingKey: Uint8Array

  /** @throws SynclineError BAD_ARGUMENT when a key has not 32 bytes. */
  constructor({ feedKey, encryptionKey, compat, isBlockKey = false }: EncryptionOptions) {
    if (encryptionKey.byteLength !== KEY_BYTES || feedKey.byteLength !== KEY_BYTES) {
      throw new SynclineError('BAD_ARGUMENT', 'keys have 32 bytes')
    }
    if (isBlockKey) this.#blockKey = copyBytes(encryptionKey)
    else if (compat) this.#blockKey = keyedHash(feedKey, encryptionKey)
    else this.#blockKey = hash([DEFAULT_ENCRYPTION, feedKey, encryptionKey])
    this.#blindingKey = hash([this.#blockKey])
  }

  /** The stored form of a block: 8 bytes longer, a fresh array. */
  encrypt(index: number, fork: number, block: Uint8Array): Uint8Array {
    const stored = new Uint8Array(ENCRYPTION_PADDING + block.byteLength)
    const prefix = stored.subarray(0, ENCRYPTION_PADDING)
    writeUint64(prefix, 0, fork)
    streamXor(prefix, nonceOf(index, null), this.#blindingKey)
    const body = stored.subarray(ENCRYPTION_PADDING)
    body.set(block)
    streamXor(body, nonceOf(index, prefix), this.#blockKey)
    return stored
  }

  /**
   * The block behind its stored form: a fresh array. A wrong key gives wrong bytes, not an error.
   *
   * @throws SynclineError ENCRYPTED when the stored block is too short to be an encrypted one.
   */
  decrypt(index: number, stored: Uint8Array): Uint8Array {
    if (stored.byteLength < ENCRYPTION_PADDING) {
      throw new SynclineError('ENCRYPTED', `block ${index} is not an encrypted block`, { index })
    }
    const block = copyBytes(stored.subarray(ENCRYPTION_PADDING))
    streamXor(block, nonceOf(index, stored.subarray(0, ENCRYPTION_PADDING)), this.#blockKey)
    return block
  }
}

function nonceOf(index: number, prefix: Uint8Array | null): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES)
  writeUint64(nonce, 0, index)
  if (prefix !== null) nonce.set(prefix, 8)
  return nonce
}
