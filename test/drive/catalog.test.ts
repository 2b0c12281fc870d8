/** What is remembered of the files of a folder. */
import test from 'brittle'
import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Catalog, type Known } from '../../lib/drive/folder/catalog.ts'
import { stampOf } from '../../lib/drive/folder/stamp.ts'
import { wholeNumbers } from '../fixtures/random.ts'

const stamp = stampOf(statSync(import.meta.filename, { bigint: true }))

function file(number: number, change: Partial<Known> = {}): Known {
  const blob = { blockOffset: number, blockLength: 1, byteOffset: 7 * number, byteLength: 7 }
  const metadata = { mtime: 1_700_000_000_123.456, mode: 0o644 }
  const entry = { executable: number % 2 === 1, linkname: null, blob, metadata }
  return { kind: 'file', entry, stamp, digest: 2 ** 47 + number, ...change }
}

const rowsOf = (catalog: Catalog): Record<string, Known> => Object.fromEntries(catalog.rows())

test('catalog: rows of all kinds come back as they were', async (t) => {
  const place = path.join(await t.tmp(), 'catalog')
  const catalog = await Catalog.open(place)
  const rows: Record<string, Known> = {
    '/a': file(1),
    '/b/foreign': file(2, {
      entry: { executable: false, linkname: null, blob: null, metadata: { any: ['thing'] } },
      stamp: null
    }),
    '/b/map': file(3, {
      entry: {
        ...file(3).entry,
        blob: { blockOffset: 1, blockLength: 1, byteOffset: 2, byteLength: 3, blockMap: true }
      }
    }),
    '/folder': {
      kind: 'folder',
      entry: { executable: false, linkname: null, blob: null, metadata: { mtime: 1, mode: 0o700 } },
      stamp: null,
      digest: 0
    },
    '/line\nbreak "and" \u{1f600}': file(4, { path: 'else~12345678' }),
    '/link': {
      kind: 'link',
      entry: { executable: false, linkname: '../x', blob: null, metadata: null },
      stamp,
      digest: 0
    }
  }
  for (const [name, known] of Object.entries(rows)) catalog.set(name, known)
  catalog.version = 17
  t.alike(rowsOf(catalog), rows, 'in memory')
  await catalog.save()
  const again = await Catalog.open(place)
  t.alike(rowsOf(again), rows, 'from the file')
  t.is(again.version, 17)
})

test('catalog: changes are appended, and the file is written anew when it has grown', async (t) => {
  const random = wholeNumbers(99)
  const place = path.join(await t.tmp(), 'catalog')
  let catalog = await Catalog.open(place)
  const expected = new Map<string, Known>()
  let largest = 0
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 100; i++) {
      const name = `/${random(150)}`
      if (random(3) === 0) {
        catalog.delete(name)
        expected.delete(name)
      } else {
        const known = file(random(1e6))
        catalog.set(name, known)
        expected.set(name, known)
      }
    }
    await catalog.save()
    largest = Math.max(largest, readFileSync(place, 'utf8').split('\n').length)
    if (round % 7 === 0) catalog = await Catalog.open(place)
    t.is(catalog.size, expected.size)
  }
  t.alike(rowsOf(catalog), rowsOf(await Catalog.open(place)))
  for (const [name, known] of expected) t.alike(catalog.get(name), known)
  t.ok(largest < 2000, `${largest} lines at most`)
})

test('catalog: a torn end costs its line only, and another format all', async (t) => {
  const place = path.join(await t.tmp(), 'catalog')
  const catalog = await Catalog.open(place)
  catalog.set('/a', file(1))
  await catalog.save()
  appendFileSync(place, '["f","/b",0,nul')
  t.alike(Object.keys(rowsOf(await Catalog.open(place))), ['/a'])
  appendFileSync(place, '\n["f","/c",0,null,[1,-1,0,0,0],null,null,0]\n[]\n7\n["-","/nothing"]\n')
  t.alike(Object.keys(rowsOf(await Catalog.open(place))), ['/a'])
  writeFileSync(place, readFileSync(place, 'utf8').replace('catalog 1', 'catalog 9'))
  t.is((await Catalog.open(place)).size, 0)
})

test('catalog: what could not be written is written the next time, as it is then', async (t) => {
  const folder = await t.tmp()
  const place = path.join(folder, 'missing', 'catalog')
  const catalog = await Catalog.open(place)
  catalog.set('/a', file(1))
  catalog.set('/b', file(2))
  catalog.version = 5
  await t.exception(catalog.save(), /STORAGE_FAILED/)
  catalog.set('/a', file(3))
  catalog.delete('/b')
  mkdirSync(path.dirname(place))
  await catalog.save()
  const again = await Catalog.open(place)
  t.alike(rowsOf(again), { '/a': file(3) })
  t.is(again.version, 5)
  await catalog.save()
  t.is(readFileSync(place, 'utf8').split('\n').length, 4, 'and once')
})
