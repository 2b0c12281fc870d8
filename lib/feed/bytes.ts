/**
 * Small things done with byte arrays.
 *
 * @module
 */

/** Tells whether two arrays hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return false
  return true
}

/** Writes an integer below 2^53 as 8 bytes, little-endian. */
export function writeUint64(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32(bytes, offset, value % 2 ** 32)
  writeUint32(bytes, offset + 4, Math.floor(value / 2 ** 32))
}

/** Reads what {@link writeUint64} wrote; exact below 2^53. */
export function readUint64(bytes: Uint8Array, offset: number): number {
  return readUint32(bytes, offset) + readUint32(bytes, offset + 4) * 2 ** 32
}

// By hand: a DataView for each number takes longer than all the rest.
function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

function readUint32(bytes: Uint8Array, offset: number): number {
  const low = (bytes[offset] as number) | ((bytes[offset + 1] as number) << 8)
  const high = (bytes[offset + 2] as number) | ((bytes[offset + 3] as number) << 8)
  return low + high * 2 ** 16
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** A copy of its own: `slice` of a Buffer would be a view. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
