import b4a from 'b4a'
import z32 from 'z32'
import { SynclineError } from '../errors.ts'

const HEX = /^[0-9a-f]{64}$/i

/** A 32-byte key in z-base-32: 52 characters. */
export function formatKey(key: Uint8Array): string {
  return z32.encode(key)
}

/**
 * Reads a key: 64 hexadecimal digits, 52 characters of z-base-32, either behind `hyper://` or `pear://`.
 * Null if the text is none of these.
 */
export function parseKey(text: string): Uint8Array | null {
  if (HEX.test(text)) return fromHex(text)
  const bare = text.replace(/^(hyper|pear):\/\//, '').replace(/\/+$/, '')
  if (HEX.test(bare)) return fromHex(bare)
  if (!/^[ybndrfg8ejkmcpqxot1uwisza345h769]{52}$/i.test(bare)) return null
  const key = z32.decode(bare.toLowerCase())
  return key.byteLength === 32 ? Uint8Array.from(key) : null
}

/**
 * The bytes of a key given in any form.
 *
 * @throws SynclineError BAD_KEY.
 */
export function toKey(key: Uint8Array | string): Uint8Array {
  const bytes = typeof key === 'string' ? parseKey(key) : key
  if (bytes === null || bytes.byteLength !== 32) {
    const given = typeof key === 'string' ? `"${key}"` : `an array of ${key.byteLength} bytes`
    throw new SynclineError('BAD_KEY', `${given} is no key: 32 bytes, hex or z-base-32`)
  }
  return bytes
}

function fromHex(text: string): Uint8Array {
  // A copy of its own: a Buffer may lie in a pool with others.
  return Uint8Array.from(b4a.from(text, 'hex'))
}
