import test from 'brittle'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { diskFiles, type FileLayer, type OpenFile } from '../../lib/feed/file/file.ts'
import { FilePool, PooledFile } from '../../lib/feed/file/file-pool.ts'

/** Counts the files that are open, and may refuse to open more. */
function counting(limit = Number.POSITIVE_INFINITY): FileLayer & { used: number; most: number } {
  const layer = {
    ...diskFiles,
    used: 0,
    most: 0,
    async open(file: string, access: 'read' | 'write'): Promise<OpenFile> {
      if (layer.used >= limit) throw Object.assign(new Error('too many'), { code: 'EMFILE' })
      layer.used++
      layer.most = Math.max(layer.most, layer.used)
      try {
        const open = await diskFiles.open(file, access)
        const close = async (): Promise<void> => {
          await open.close()
          layer.used--
        }
        return {
          read: (target, position) => open.read(target, position),
          write: (parts, position) => open.write(parts, position),
          truncate: (size) => open.truncate(size),
          size: () => open.size(),
          sync: () => open.sync(),
          punch: (offset, length) => open.punch(offset, length),
          close
        }
      } catch (error) {
        layer.used--
        throw error
      }
    }
  }
  return layer
}

test('many files are used at once with few descriptors', async (t) => {
  const folder = await t.tmp()
  const layer = counting()
  const pool = new FilePool({ max: 5, layer })
  const files = Array.from(
    { length: 100 },
    (_, i) => new PooledFile(pool, path.join(folder, `${i}`))
  )
  await Promise.all(files.map((file, i) => file.write([Buffer.from(`file ${i}`)], 0)))
  const contents = await Promise.all(files.map((file) => file.read(0, 100)))
  t.alike(
    contents.map((bytes) => Buffer.from(bytes ?? []).toString()),
    files.map((_, i) => `file ${i}`)
  )
  t.ok(layer.most <= 5)
  t.is(pool.openFiles, 5)
  await Promise.all(files.map((file) => file.close()))
  t.alike([pool.openFiles, layer.used], [0, 0])
})

test('when the process has no descriptors left, those of cold files are given up', async (t) => {
  const folder = await t.tmp()
  const layer = counting(3)
  const pool = new FilePool({ max: 100, layer })
  const files = Array.from(
    { length: 10 },
    (_, i) => new PooledFile(pool, path.join(folder, `${i}`))
  )
  for (const file of files) await file.write([Buffer.from('x')], 0)
  for (const file of files) t.is((await file.read(0, 1))?.byteLength, 1)
  for (const file of files) await file.close()
  t.is(layer.used, 0)
})

test('a missing file reads as none and is made by the first write only', async (t) => {
  const file = new PooledFile(new FilePool(), path.join(await t.tmp(), 'file'))
  t.alike([await file.read(0, 10), await file.size()], [null, null])
  t.alike([await file.read(0, 10), await file.size()], [null, null])
  await file.write([Buffer.from('ab'), new Uint8Array(0), Buffer.from('cd')], 3)
  t.alike(await readFile(file.path), Buffer.from('\0\0\0abcd'))
  t.alike(await file.read(5, 10), Uint8Array.from(Buffer.from('cd')), 'short at the end')
  await file.truncate(4)
  t.is(await file.size(), 4)
  await file.close()
})

test('writes of many parts arrive whole', async (t) => {
  const file = new PooledFile(new FilePool(), path.join(await t.tmp(), 'file'))
  const parts = Array.from({ length: 5000 }, (_, i) => Uint8Array.of(i & 255, i >> 8))
  await file.write(parts, 0)
  t.alike(await readFile(file.path), Buffer.concat(parts))
  await file.close()
})
