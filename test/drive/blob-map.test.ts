import test from 'brittle'
import { BlobMap } from '../../lib/drive/blob-map.ts'
import type { BlobRange } from '../../lib/drive/entry.ts'

function item(
  blockOffset: number,
  blockLength: number,
  byteLength = 10
): { readonly blob: BlobRange } {
  return { blob: { blockOffset, blockLength, byteOffset: 10 * blockOffset, byteLength } }
}

test('blobs are told apart by all that is said of them, also where they begin with one block', (t) => {
  const map = new BlobMap<{ readonly blob: BlobRange }>()
  const first = item(3, 1)
  const second = item(3, 2)
  const third = item(3, 1, 11)
  const fourth = item(4, 1)
  const items = [first, second, third, fourth]
  for (const one of items) {
    t.is(map.get(one.blob), undefined)
    map.add(one)
  }
  for (const one of items) t.is(map.get({ ...one.blob }), one)
  t.alike([...map].length, map.size)
  // One that is not in it any more takes nothing else along.
  map.delete(first)
  map.delete(first)
  t.is(map.get(first.blob), undefined)
  t.is(map.get(second.blob), second)
  map.add(first)
  t.is(map.get(first.blob), first)
  map.delete(third)
  t.is(map.get(third.blob), undefined)
  t.is(map.get(fourth.blob), fourth)
  map.clear()
  t.is(map.size, 0)
})
