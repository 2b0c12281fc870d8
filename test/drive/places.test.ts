/** The bytes of a feed in the files of a folder. */
import test, { type Assertions } from 'brittle'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import path from 'node:path'
import type { BlobRange } from '../../lib/drive/entry.ts'
import { Places } from '../../lib/drive/folder/places.ts'
import { wholeNumbers } from '../fixtures/random.ts'

interface Made {
  readonly root: string
  readonly places: Places
}

async function make(t: Assertions): Promise<Made> {
  const root = await t.tmp()
  const state = path.join(root, '.syncline')
  mkdirSync(path.join(state, 'incoming'), { recursive: true })
  mkdirSync(path.join(state, 'blobs'))
  const places = new Places(root, state, path.join(state, 'blobs'))
  t.teardown(() => places.close())
  return { root, places }
}

function range(byteOffset: number, byteLength: number): BlobRange {
  return { blockOffset: byteOffset / 10, blockLength: 1, byteOffset, byteLength }
}

const bytes = (text: string): Uint8Array => Buffer.from(text)
const textOf = async (places: Places, offset: number, length: number): Promise<string> =>
  Buffer.from(await places.read(offset, length)).toString()

test('places: reads go through files, the flat file, and what comes', async (t) => {
  const { root, places } = await make(t)
  writeFileSync(path.join(root, 'one'), '0123456789')
  places.put(range(0, 10), 'one')
  await places.write([bytes('abc'), bytes('defghij')], 10)
  places.expect(range(20, 10))
  await places.write([bytes('ABCDEFGHIJ')], 20)
  t.is(await textOf(places, 0, 30), '0123456789abcdefghijABCDEFGHIJ')
  t.is(await textOf(places, 8, 14), '89abcdefghijAB')
  t.is(readFileSync(places.incomingPath(range(20, 10)), 'utf8'), 'ABCDEFGHIJ')
  t.absent(existsSync(path.join(root, 'two')))
})

test('places: a file of the user is never written', async (t) => {
  const { root, places } = await make(t)
  writeFileSync(path.join(root, 'one'), 'mine, mine')
  places.put(range(0, 10), 'one')
  await places.write([bytes('not yours!')], 0)
  t.is(readFileSync(path.join(root, 'one'), 'utf8'), 'mine, mine')
})

test('places: what is gone, shorter, a link or a pipe reads as zeros', async (t) => {
  const { root, places } = await make(t)
  writeFileSync(path.join(root, 'short'), 'abc')
  symlinkSync('short', path.join(root, 'link'))
  mkdirSync(path.join(root, 'folder'))
  places.put(range(0, 10), 'short')
  places.put(range(10, 10), 'missing')
  places.put(range(20, 10), 'link')
  places.put(range(30, 10), 'folder')
  places.put(range(40, 10), 'folder/below/nothing')
  t.is(await textOf(places, 0, 50), `abc${'\0'.repeat(47)}`)
})

test('places: a whole blob is offered to its keeper first', async (t) => {
  const { places } = await make(t)
  const offered: string[] = []
  places.keeper = {
    whole: async (blobs) => {
      for (const { range: of, bytes: content } of blobs) {
        offered.push(`${of.byteOffset} ${Buffer.from(content).toString()}`)
      }
      return blobs.filter(({ range: of }) => of.byteOffset !== 0)
    }
  }
  places.expect(range(0, 10))
  places.expect(range(10, 10))
  await places.write([bytes('01234'), bytes('567890123456789')], 0)
  t.alike(offered, ['0 0123456789', '10 0123456789'])
  t.absent(existsSync(places.incomingPath(range(0, 10))), 'it was taken')
  t.is(readFileSync(places.incomingPath(range(10, 10)), 'utf8'), '0123456789')
  await places.write([bytes('xx')], 12)
  t.is(offered.length, 2, 'parts are not offered')
})

test('places: a file that is replaced between two reads is read anew', async (t) => {
  const { root, places } = await make(t)
  const large = Buffer.alloc(100_000, 'a')
  writeFileSync(path.join(root, 'one'), large)
  const blob = { blockOffset: 0, blockLength: 2, byteOffset: 0, byteLength: large.byteLength }
  places.put(blob, 'one')
  t.is(await textOf(places, 50_000, 3), 'aaa')
  t.is((await places.read(0, large.byteLength)).byteLength, large.byteLength)
  writeFileSync(path.join(root, 'two'), Buffer.alloc(100_000, 'b'))
  renameSync(path.join(root, 'two'), path.join(root, 'one'))
  places.put(blob, 'one')
  t.is(await textOf(places, 50_000, 3), 'bbb')
})

test('places: a file that moved is found where it is said to be', async (t) => {
  const { root, places } = await make(t)
  writeFileSync(path.join(root, 'one'), '0123456789')
  places.put(range(0, 10), 'one')
  t.is(await textOf(places, 0, 10), '0123456789')
  renameSync(path.join(root, 'one'), path.join(root, 'two'))
  places.put(range(0, 10), 'two')
  t.is(await textOf(places, 0, 10), '0123456789')
  t.is(places.fileOf(range(0, 10)), 'two')
})

test('places: what is dropped is gone, with what came of it', async (t) => {
  const { root, places } = await make(t)
  writeFileSync(path.join(root, 'one'), '0123456789')
  places.put(range(0, 10), 'one')
  places.expect(range(10, 10))
  await places.write([bytes('0123456789')], 10)
  await places.drop(range(0, 10))
  await places.drop(range(10, 10))
  t.absent(existsSync(places.incomingPath(range(10, 10))))
  t.ok(existsSync(path.join(root, 'one')), 'the file of the user stays')
  t.is(await textOf(places, 0, 20), '\0'.repeat(20))
})

test('places: any cut of writes and reads gives the same bytes', async (t) => {
  const random = wholeNumbers(31)
  const { places } = await make(t)
  const all = Buffer.from(Array.from({ length: 500 }, () => random(256)))
  for (let at = 0; at < 500;) {
    const length = Math.min(1 + random(60), 500 - at)
    if (random(3) > 0) {
      places.expect({ blockOffset: at, blockLength: 1, byteOffset: at, byteLength: length })
    }
    at += length
  }
  for (let at = 0; at < 500;) {
    const end = Math.min(at + 1 + random(90), 500)
    const cut = at + random(end - at + 1)
    await places.write([all.subarray(at, cut), all.subarray(cut, end)], at)
    at = end
  }
  for (let round = 0; round < 300; round++) {
    const at = random(500)
    const length = random(500 - at)
    const read = Buffer.from(await places.read(at, length))
    if (!read.equals(all.subarray(at, at + length))) t.fail(`bytes ${at} to ${at + length}`)
  }
  t.pass('300 reads')
})
