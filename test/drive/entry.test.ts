/** Entries, names and keys of a drive: golden values, and what hostile ones become. */
import test from 'brittle'
import * as fc from 'fast-check'
import { createRequire } from 'node:module'
import { blobsKey, blobsManifest, newDriveIdentities } from '../../lib/drive/blobs-key.ts'
import {
  faultOf,
  keyOfName,
  normalFolder,
  normalName,
  partOfKey,
  rangeOfFolder,
  readName,
  resolveLink
} from '../../lib/drive/drive-name.ts'
import { decodeEntry, encodeEntry, readMetadata, writeMetadata } from '../../lib/drive/entry.ts'
import { createManifest, keyOf, singleSignerManifest } from '../../lib/feed/manifest.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import { isSynclineError } from '../../lib/index.ts'

const require = createRequire(import.meta.url)
const blob = (value: string): string => `{"blob":${value}}`
const hex = (bytes: Uint8Array | null): string =>
  bytes === null ? 'null' : Buffer.from(bytes).toString('hex')

test('entry: written in the order of hyperdrive, and read back', (t) => {
  const entry = {
    executable: true,
    linkname: null,
    blob: { blockLength: 2, blockOffset: 1, byteLength: 70000, byteOffset: 5 },
    metadata: { mtime: 1 }
  }
  const golden =
    '{"executable":true,"linkname":null,"blob":{"blockOffset":1,"byteOffset":5,"blockLength":2,"byteLength":70000},"metadata":{"mtime":1}}'
  t.is(Buffer.from(encodeEntry(entry)).toString(), golden)
  t.alike(decodeEntry(encodeEntry(entry)), entry)
  const link = { executable: false, linkname: '../x', blob: null, metadata: null }
  t.is(
    Buffer.from(encodeEntry(link)).toString(),
    '{"executable":false,"linkname":"../x","blob":null,"metadata":null}'
  )
  t.alike(decodeEntry(encodeEntry(link)), link)
  const mapped = { ...entry, blob: { ...entry.blob, blockMap: true as const } }
  t.alike(decodeEntry(encodeEntry(mapped)), mapped)
  t.alike(decodeEntry(Buffer.from('{}')), {
    executable: false,
    linkname: null,
    blob: null,
    metadata: null
  })
})

test('entry: hostile values are refused', async (t) => {
  const values = [
    '',
    'null',
    '[]',
    '7',
    '"text"',
    '{',
    '{"executable":1}',
    '{"linkname":7}',
    blob('7'),
    blob('[]'),
    blob('{}'),
    blob('{"blockOffset":-1,"byteOffset":0,"blockLength":1,"byteLength":1}'),
    blob('{"blockOffset":0.5,"byteOffset":0,"blockLength":1,"byteLength":1}'),
    blob('{"blockOffset":1e300,"byteOffset":0,"blockLength":1,"byteLength":1}'),
    blob('{"blockOffset":9007199254740991,"byteOffset":0,"blockLength":1,"byteLength":1}'),
    blob('{"blockOffset":"0","byteOffset":0,"blockLength":1,"byteLength":1}'),
    blob('{"blockOffset":0,"byteOffset":0,"blockLength":0,"byteLength":1}'),
    blob('{"blockOffset":0,"byteOffset":0,"blockLength":1,"byteLength":1,"blockMap":"yes"}')
  ]
  for (const value of values) {
    await t.exception(() => decodeEntry(Buffer.from(value)), /BAD_MESSAGE/)
  }
  await t.exception(() => decodeEntry(null), /BAD_MESSAGE/)
  await t.exception(() => decodeEntry(Buffer.alloc(2 ** 20 + 1, 0x20)), /TOO_MANY/)
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      try {
        decodeEntry(bytes)
      } catch (error) {
        return isSynclineError(error, 'BAD_MESSAGE')
      }
      return true
    })
  )
})

test('entry: metadata in our shape, and foreign shapes', (t) => {
  const known = { mtimeMs: 1700000000000.25, mode: 0o640 }
  t.alike(readMetadata(writeMetadata(known)), known)
  t.is(writeMetadata({ mtimeMs: null, mode: null }), null)
  t.alike(readMetadata({ mtime: 5, mode: 0o100755, other: true }), { mtimeMs: 5, mode: 0o755 })
  const unknown = { mtimeMs: null, mode: null }
  for (const metadata of [
    null,
    undefined,
    7,
    'text',
    [1],
    {},
    { mtime: '7', mode: '7' },
    { mtime: NaN, mode: -1 },
    { mtime: 1e17, mode: 0.5 },
    { mtime: Infinity, mode: 2 ** 40 }
  ]) {
    t.alike(readMetadata(metadata), unknown)
  }
})

test('name: keys and ranges', (t) => {
  t.is(Buffer.from(keyOfName('/a.txt')).toString(), 'files\0/a.txt')
  t.is(Buffer.from(keyOfName('/empty', 'dirs')).toString(), 'dirs\0/empty')
  t.is(partOfKey(Buffer.from('files\0/a')), 'files')
  t.is(partOfKey(Buffer.from('dirs\0/a')), 'dirs')
  t.is(partOfKey(Buffer.from('file\0/a')), null)
  t.alike(readName(Buffer.from('files\0/ä\ufeff b')), { name: '/ä\ufeff b', fault: null })
  const { gt, lt } = rangeOfFolder('/f')
  t.is(Buffer.from(gt).toString(), 'files\0/f/')
  t.is(Buffer.from(lt).toString(), 'files\0/f0')
  t.is(Buffer.from(rangeOfFolder('/').lt).toString(), 'files\x000')
})

test('name: what a user gives becomes what hyperdrive makes of it', async (t) => {
  const hyperdrive = require('hyperdrive') as { normalizePath(name: string): string }
  const segment = fc.constantFrom('a', 'b.c', '', '.', '..', 'C:', 'file:', 'hyper:', 'ä', ' ', '~')
  const separator = fc.constantFrom('/', '\\')
  fc.assert(
    fc.property(fc.array(fc.tuple(segment, separator)), (parts) => {
      const name = parts.flat().join('')
      let theirs: string | null = null
      let ours: string | null = null
      try {
        theirs = hyperdrive.normalizePath(name)
      } catch {
        // Both refuse it.
      }
      try {
        ours = normalName(name)
      } catch (error) {
        if (!isSynclineError(error, 'BAD_ARGUMENT')) throw error
      }
      return ours === theirs
    }),
    { numRuns: 2000 }
  )
  t.is(normalFolder(''), '/')
  t.is(normalFolder('/a/b/'), '/a/b')
  t.is(resolveLink('/a/b', 'c'), '/a/c')
  t.is(resolveLink('/a/b', '/c'), '/c')
  t.is(resolveLink('/a/b', '../c'), '/c')
  await t.exception(() => resolveLink('/a/b', '../../c'), /BAD_ARGUMENT/)
  await t.exception(() => normalName('/'), /BAD_ARGUMENT/)
  await t.exception(() => keyOfName('/\ud800'), /BAD_ARGUMENT/)
})

test('name: those of a foreign index are legal or have a fault', (t) => {
  const faults: Record<string, string | null> = {
    '/a': null,
    '/a/b c/..d/e..': null,
    '/...': null,
    '/c:x': null,
    '/a/C:': null,
    '/new\nline': null,
    a: 'no-slash',
    '': 'no-slash',
    '/': 'empty-segment',
    '/a/': 'empty-segment',
    '//a': 'empty-segment',
    '/a//b': 'empty-segment',
    '/..': 'dot-dot',
    '/a/../../b': 'dot-dot',
    '/./a': 'dot',
    '/a\\b': 'backslash',
    '/a\0b': 'nul',
    '/C:': 'drive-letter',
    '/c:/windows': 'drive-letter'
  }
  for (const [name, fault] of Object.entries(faults)) {
    t.is(faultOf(name), fault, JSON.stringify(name))
    t.is(readName(Buffer.from(`files\0${name}`)).fault, fault)
  }
  t.is(readName(Buffer.from([...Buffer.from('files\0/'), 0xff])).fault, 'not-utf8')
  t.is(
    readName(Buffer.from([...Buffer.from('files\0/'), 0xc0, 0xaf])).fault,
    'not-utf8',
    'overlong'
  )
})

test('blobs key: golden values of hyperdrive 13.3.4', (t) => {
  const publicKey = Buffer.from(
    '275200b4a49e03c73debcb13866dc150d86461ee1289d9381ed60b454bda8313',
    'hex'
  )
  const manifest = singleSignerManifest(publicKey)
  const key = keyOf(manifest)
  t.is(hex(key), '9d56810a89a0211db2a242b81ce8eac5265ac648769910177524c82908ab866d')
  t.is(
    hex(blobsKey(key, manifest, null)),
    'afa4ae98a0b1ef96fcf567c133623fc1c938c811b696daa75b749e48968e1178'
  )
  const named = Buffer.alloc(32, 1)
  t.alike(Buffer.from(blobsKey(key, manifest, named) ?? []), named, 'a named feed wins')
  t.is(blobsKey(publicKey, null, null), null, 'compat without a name')
  t.is(blobsKey(publicKey, manifest, null), null, 'compat of which the manifest is known')
  t.is(blobsManifest(key, createManifest({ version: 0, signers: [{ publicKey }] })), null)
})

test('blobs key: several signers, as hyperdrive derives it', (t) => {
  const hyperdrive = require('hyperdrive') as {
    getContentKey(manifest: object, key: Uint8Array): Uint8Array
  }
  const signers = [1, 2, 3].map((byte) => ({
    publicKey: Buffer.alloc(32, byte),
    namespace: Buffer.alloc(32, 9 - byte)
  }))
  for (const options of [{}, { quorum: 3 }, { allowPatch: true }, { version: 2 }]) {
    const manifest = createManifest({ signers, ...options })
    const key = keyOf(manifest)
    t.is(hex(blobsKey(key, manifest, null)), hex(hyperdrive.getContentKey(manifest, key)))
  }
})

test('blobs key: a new drive has two feeds of one writer', (t) => {
  const keyPair = createKeyPair(Buffer.alloc(32, 5))
  const { index, blobs } = newDriveIdentities(keyPair)
  t.alike(blobs.keyPair, keyPair)
  t.alike(index.keyPair, keyPair)
  t.is(hex(blobsKey(index.key, index.manifest, null)), hex(blobs.key))
  t.unlike(newDriveIdentities().index.key, index.key)
})
