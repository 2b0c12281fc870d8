/** Files beyond 4 GiB, through a share and a clone. */
import fs from 'node:fs'
import { statfs } from 'node:fs/promises'
import test from 'brittle'
import { age, bytesOf, cloneFrom, openNode, openShare, until } from '../drive/folders.ts'

const GIB = 2 ** 30
const BYTES = 4 * GIB + 77_777

/** Bytes of a file. */
function readAt(file: string, position: number, byteLength: number): Buffer {
  const bytes = Buffer.alloc(byteLength)
  const fd = fs.openSync(file, 'r')
  try {
    fs.readSync(fd, bytes, 0, byteLength, position)
  } finally {
    fs.closeSync(fd)
  }
  return bytes
}

/** Position of the first difference of two files, or -1. */
function differenceOf(one: string, other: string): number {
  const piece = 16 * 2 ** 20
  for (let at = 0; at < BYTES; at += piece) {
    const [a, b] = [readAt(one, at, piece), readAt(other, at, piece)]
    if (!a.equals(b)) return at
  }
  return -1
}

test('long: a file of more than 4 GiB', { timeout: 900_000 }, async (t) => {
  const { bavail, bsize } = await statfs(await t.tmp())
  if (bavail * bsize < 12 * GIB) return t.comment('there is no room for it here')
  const root = fs.realpathSync(await t.tmp())
  const file = `${root}/large`
  const fd = fs.openSync(file, 'w')
  // Most of it is a hole; what is not lies around the limits of 31 and 32 bits.
  for (const [i, at] of [0, 2 * GIB - 100_000, 4 * GIB - 100_000].entries()) {
    fs.writeSync(fd, bytesOf(170_000, i), 0, 170_000, at)
  }
  fs.ftruncateSync(fd, BYTES)
  fs.closeSync(fd)
  fs.writeFileSync(`${root}/small`, 'after')
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  t.is((await share.import()).changes, 2)
  const { dir, clone } = await cloneFrom(t, source, share.key, {}, 600_000)
  t.is(fs.statSync(`${dir}/large`).size, BYTES)
  t.is(differenceOf(file, `${dir}/large`), -1)
  const change = fs.openSync(file, 'r+')
  fs.writeSync(change, 'changed', 4 * GIB + 70_000)
  fs.closeSync(change)
  age(root, 30_000)
  t.is((await share.import()).changes, 2, 'one changed, one was touched')
  await until(() => clone.index.length === share.folder.index.version, 'the index came')
  const report = await clone.update()
  t.is(report.adopted, Math.ceil(BYTES / 65_536) - 1, 'all blocks but one were here')
  t.is(differenceOf(file, `${dir}/large`), -1)
})
