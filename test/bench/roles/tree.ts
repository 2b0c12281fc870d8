/**
 * Trees of files, as all contestants share and receive them.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  utimesSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import path from 'node:path'
import { CHANGE_BYTES, type TreeShape } from '../tree.ts'
import { blockOf } from './block.ts'

/** Bytes of a piece of a long file. */
const PIECE_BYTES: number = 1024 * 1024
/** Age of every file, as its time of modification says. */
const AGE_SECONDS = 60
/** After it nobody suspects any more that a file changed unseen, right after it was looked at. */
const SETTLE_MS = 2500

/** What contestants keep beside the files. */
const STATES: ReadonlySet<string> = new Set(['.syncline', '.stfolder'])

/** Makes the files of a tree, each a minute old, and resolves when the system's own times are not of just now, too. */
export async function makeTree(folder: string, shape: TreeShape): Promise<void> {
  const seconds = Math.floor(Date.now() / 1000) - AGE_SECONDS
  for (let i = 0; i < shape.folders; i++) {
    mkdirSync(path.join(folder, folderName(i)), { recursive: true })
  }
  for (let i = 0; i < shape.files; i++) {
    const file = path.join(folder, folderName(i % shape.folders), `file-${digits(i)}.bin`)
    if (shape.bytes <= PIECE_BYTES) writeFileSync(file, pieceOf(shape, i, 0, shape.bytes))
    else writeLong(file, shape, i)
    utimesSync(file, seconds, seconds)
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

/** Replaces one block in the middle of the first file of a tree, in place. */
export function changeTree(folder: string, shape: TreeShape): void {
  const fd = openSync(path.join(folder, folderName(0), `file-${digits(0)}.bin`), 'r+')
  const middle = Math.floor(shape.bytes / 2 / CHANGE_BYTES) * CHANGE_BYTES
  const length = Math.min(CHANGE_BYTES, shape.bytes - middle)
  writeSync(fd, pieceOf({ ...shape, seed: shape.seed + 1000 }, 0, 0, length), 0, length, middle)
  closeSync(fd)
}

/** Digest of the names and contents below a folder, in hex; what contestants keep there besides is left out. */
export function digestOfTree(folder: string): string {
  const files = (readdirSync(folder, { recursive: true, withFileTypes: true }) ?? [])
    .filter((item) => !item.isDirectory())
    .map((item) => path.relative(folder, path.join(item.parentPath, item.name)))
    .filter((file) => !STATES.has(file.split(path.sep)[0] as string))
  const contents = files.map(
    (file) => [`/${file.split(path.sep).join('/')}`, digestOfFile(path.join(folder, file))] as const
  )
  return digestOfContents(contents)
}

/** Digest of files by their names and the digests of their bytes. */
export function digestOfContents(contents: readonly (readonly [string, string])[]): string {
  const hash = createHash('sha256')
  const sorted = contents.toSorted(([a], [b]) => (a < b ? -1 : 1))
  for (const [name, digest] of sorted) hash.update(`${name}\n${digest}\n`)
  return hash.digest('hex')
}

/** Digest of the bytes of a file, in hex. */
export async function digestOfBytes(parts: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of parts) hash.update(part)
  return hash.digest('hex')
}

const buffer = Buffer.alloc(PIECE_BYTES)

function digestOfFile(file: string): string {
  const hash = createHash('sha256')
  const fd = openSync(file, 'r')
  for (let count = -1; count !== 0;) {
    count = readSync(fd, buffer)
    hash.update(buffer.subarray(0, count))
  }
  closeSync(fd)
  return hash.digest('hex')
}

function writeLong(file: string, shape: TreeShape, index: number): void {
  const fd = openSync(file, 'wx')
  for (let at = 0, piece = 0; at < shape.bytes; at += PIECE_BYTES, piece++) {
    writeSync(fd, pieceOf(shape, index, piece, Math.min(PIECE_BYTES, shape.bytes - at)))
  }
  closeSync(fd)
}

function pieceOf(
  { seed, files }: TreeShape,
  file: number,
  piece: number,
  bytes: number
): Uint8Array {
  return blockOf({ seed, feeds: files, blocks: 0, bytes }, file, piece)
}

function folderName(index: number): string {
  return `folder-${digits(index)}`
}

function digits(index: number): string {
  return String(index).padStart(6, '0')
}
