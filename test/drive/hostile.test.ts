/** Drives whose writer lies: what is good of them arrives, the rest is named, and nothing else is touched. */
import fs from 'node:fs'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import type { BlobRange } from '../../lib/drive/entry.ts'
import { bytesOf, cloneFrom, join, openClone, openNode, RawDrive, treeOf } from './folders.ts'

/** Clones into a folder that has others beside it, and looks that those stay as they are. */
async function cloneGuarded(
  t: Assertions,
  raw: RawDrive,
  { again = true }: { readonly again?: boolean } = {}
): Promise<{ dir: string; skipped: Record<string, string>; files: Record<string, string> }> {
  const above = fs.realpathSync(await t.tmp())
  const dir = `${above}/clone`
  fs.mkdirSync(`${above}/outside`)
  fs.writeFileSync(`${above}/outside/kept`, 'kept')
  const node = await openNode(t)
  const clone = await openClone(t, node, raw.key, dir)
  await join(node, raw.node)
  const report = await clone.update({ signal: AbortSignal.timeout(30_000) })
  t.alike(fs.readdirSync(above).sort(), ['clone', 'outside'], 'nothing came beside')
  t.alike(treeOf(`${above}/outside`, { times: false }), { '/kept': '644 4 "kept"' })
  const skipped = Object.fromEntries(report.skipped.map(({ name, reason }) => [name, reason]))
  const files: Record<string, string> = {}
  for (const [name, text] of Object.entries(treeOf(dir, { times: false }))) {
    files[name] = text.replace(/^\d+ \d+ /, '')
  }
  if (again) {
    const { added, changed, removed, conflicts } = await clone.update({
      signal: AbortSignal.timeout(30_000)
    })
    t.alike(
      { added, changed, removed, conflicts },
      { added: 0, changed: 0, removed: 0, conflicts: [] }
    )
  }
  return { dir, skipped, files }
}

const value = (blob: object | null, linkname: string | null = null): string =>
  JSON.stringify({ executable: false, linkname, blob, metadata: null })

test('hostile: names that lead out, and that are no names', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('evil')
  const names = [
    '/../evil',
    '/a/../../evil',
    '/..',
    '/.',
    '/',
    '',
    'evil',
    '//evil',
    '/a//evil',
    '/evil/',
    '/C:/evil',
    '/c:',
    '/a\\..\\..\\evil',
    '/nul\0evil',
    '/.syncline/config',
    '/.syncline/incoming/evil',
    '/.syncline',
    '/sub/.syncline/config',
    'C:\\evil',
    '~/evil'
  ]
  await raw.put(
    ...names.map((name) => [`files\0${name}`, value(blob)] as const),
    [Buffer.concat([Buffer.from('files\0/bad'), Buffer.from([0xff, 0xfe])]), value(blob)],
    ['dirs\0/../outside/made', '{"metadata":null}'],
    ['dirs\0/.syncline/trash/made', '{"metadata":null}'],
    ['dirs\0/..', '{"metadata":null}'],
    ['dirs\0', '{"metadata":null}'],
    ['other\0/evil', value(blob)],
    ['files', value(blob)]
  )
  await raw.drive.put('/good', 'good')
  await raw.drive.put('/.syncline2', 'good')
  const { files, skipped, dir } = await cloneGuarded(t, raw)
  t.alike(files, { '/.syncline2': '"good"', '/good': '"good"' })
  t.is(Object.keys(skipped).length, names.length + 2, Object.keys(skipped).join(' '))
  t.absent(fs.existsSync(`${dir}/.syncline/incoming/evil`))
})

test('hostile: an entry that becomes unreadable takes no file away', async (t) => {
  const raw = await RawDrive.open(t)
  await raw.drive.put('/doc', 'precious')
  await raw.drive.put('/other', 'other')
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key, { keep: '0' })
  await raw.put(['files\0/doc', '{"executable":false,"linkname":null,"blob":null,"metadata":{}}'])
  await raw.drive.del('/other')
  const { index } = clone
  while (index.length < raw.drive.version) await new Promise((resolve) => setTimeout(resolve, 5))
  const { removed, skipped } = await clone.update({ signal: AbortSignal.timeout(30_000) })
  t.is(removed, 1)
  t.alike(
    skipped.map(({ name }) => name),
    ['/doc']
  )
  t.is(fs.readFileSync(`${dir}/doc`, 'utf8'), 'precious')
  t.absent(fs.existsSync(`${dir}/other`))
})

test('hostile: files through links, and links that lead out', async (t) => {
  const raw = await RawDrive.open(t)
  const { drive } = raw
  await drive.symlink('/a', '../outside')
  await drive.put('/a/evil', 'evil')
  await drive.symlink('/b', 'c')
  await drive.symlink('/c', '../../outside')
  await drive.put('/b/evil', 'evil')
  await drive.symlink('/absolute', '/etc/passwd')
  await drive.symlink('/deep/er/up', '../../../outside')
  await drive.symlink('/deep/er/fine', '../../good')
  await drive.symlink('/loop', 'loop')
  await drive.symlink('/dangling', 'nowhere')
  await drive.symlink('/empty', '')
  await drive.symlink('/state', '.syncline/config')
  await drive.symlink('/d/x/y', '..')
  await drive.symlink('/through', 'd/x/y/../../../outside')
  await drive.put('/good', 'good')
  const { files, skipped } = await cloneGuarded(t, raw)
  t.is(files['/good'], '"good"')
  t.is(files['/deep/er/fine'], '-> ../../good')
  t.is(files['/loop'], '-> loop')
  t.is(files['/dangling'], '-> nowhere')
  for (const name of ['/absolute', '/deep/er/up', '/empty', '/through']) {
    t.ok(skipped[name], `${name}: ${skipped[name]}`)
    t.absent(files[name])
  }
  const evil = Object.entries(files).filter(([, content]) => content === '"evil"')
  t.is(evil.length, 2, 'what stands below a link is put into a folder of its name')
})

test('hostile: a link comes into the place of a folder that is written to', async (t) => {
  const raw = await RawDrive.open(t)
  await raw.drive.put('/a/one', 'one')
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  const outside = await t.tmp()
  fs.rmSync(`${dir}/a`, { recursive: true })
  fs.symlinkSync(outside, `${dir}/a`)
  await raw.drive.put('/a/two', 'two')
  await new Promise((resolve) => setTimeout(resolve, 300))
  await clone.update()
  t.alike(fs.readdirSync(outside), [], 'nothing is written through it')
  t.is(fs.readFileSync(`${dir}/a/two`, 'utf8'), 'two')
})

test('hostile: values that are none', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('fine')
  const values: (string | null)[] = [
    '',
    'null',
    '[]',
    '{',
    '{}',
    'true',
    '"text"',
    value({ ...blob, byteLength: -1 }),
    value({ ...blob, blockOffset: 1.5 }),
    value({ ...blob, blockOffset: '0' }),
    value({ ...blob, blockLength: 0 }),
    value({ ...blob, byteOffset: 2 ** 60 }),
    value({ ...blob, blockMap: 1 }),
    value(null),
    `{"executable":1,"linkname":null,"blob":${JSON.stringify(blob)}}`,
    `{"executable":false,"linkname":7,"blob":${JSON.stringify(blob)}}`,
    `{"executable":false,"linkname":null,"blob":{"__proto__":${JSON.stringify(blob)}}}`,
    'x'.repeat(2_000_000)
  ]
  await raw.put(
    ...values.map((text, i) => [`files\0/bad-${String(i).padStart(2, '0')}`, text] as const)
  )
  const odd = { mtime: 'yesterday', mode: -5 }
  await raw.putEntries({
    '/good': { blob, metadata: { mtime: 1e300, mode: 0o7777, extra: [1] } },
    '/odd': { blob, metadata: odd },
    '/null-time': { blob, metadata: { mtime: null, mode: 0o100644 } },
    '/early': { blob, metadata: { mtime: -5000, mode: 0o600 } }
  })
  await raw.put(['dirs\0/folder', 'nonsense'], ['dirs\0/other', '{"metadata":{"mode":7}}'])
  const { files, skipped, dir } = await cloneGuarded(t, raw)
  t.is(Object.keys(skipped).length, values.length + 1)
  t.alike(Object.keys(files).sort(), ['/early', '/good', '/null-time', '/odd', '/other/'])
  t.is(fs.statSync(`${dir}/good`).mode & 0o7000, 0, 'no special bits')
  t.is(fs.statSync(`${dir}/early`).mtimeMs, -5000)
})

/** Files that an honest writer put before and after what the liar says. */
async function honest(raw: RawDrive): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {}
  for (let i = 0; i < 6; i++) {
    const name = `/${i}-honest`
    files[name] = bytesOf(i % 2 === 0 ? 300 + i : 150_000 + i, i + 1)
    await raw.drive.put(name, files[name])
  }
  return files
}

async function blobOf(raw: RawDrive, name: string): Promise<BlobRange> {
  return (await raw.drive.entry(name))?.value.blob as BlobRange
}

const LIES: Record<string, (blobs: readonly BlobRange[]) => Record<string, BlobRange>> = {
  'blocks beyond the end': ([a, b]) => ({
    '/0-lie': { ...(a as BlobRange), blockOffset: 1000, byteLength: 5 },
    '/1-lie': { ...(b as BlobRange), blockOffset: 1000 },
    '/lie': { ...(a as BlobRange), blockOffset: 1000, byteOffset: 10_000_000 },
    '/lie-huge': { ...(a as BlobRange), blockLength: 2 ** 50, byteLength: 2 ** 51 }
  }),
  'a huge file': ([a]) => ({ '/lie': { ...(a as BlobRange), byteLength: 2 ** 50 } }),
  'all that fits into the blocks that it names': ([, b]) => ({
    '/0-lie': { ...(b as BlobRange), blockOffset: 0, byteOffset: 0, byteLength: 10_000_000 }
  }),
  'a size that is too small': ([, b]) => ({
    '/0-lie': { ...(b as BlobRange), byteLength: 100_000 },
    '/lie': { ...(b as BlobRange), byteLength: 100 }
  }),
  'a size that is too large': ([a, b]) => ({
    '/0-lie': { ...(a as BlobRange), byteLength: (a as BlobRange).byteLength + 1 },
    '/lie': { ...(b as BlobRange), byteLength: (b as BlobRange).byteLength + 77 }
  }),
  'bytes of another file': ([a, b, c]) => ({
    '/0-lie': { ...(a as BlobRange), byteOffset: (c as BlobRange).byteOffset },
    '/lie': { ...(b as BlobRange), byteOffset: 0 }
  }),
  'bytes that are shifted': ([, b]) => ({
    '/0-lie': { ...(b as BlobRange), byteOffset: (b as BlobRange).byteOffset + 1 },
    '/lie': { ...(b as BlobRange), byteOffset: (b as BlobRange).byteOffset - 1 }
  }),
  'blocks of another file': ([a, , c]) => ({
    '/0-lie': { ...(a as BlobRange), blockOffset: (c as BlobRange).blockOffset },
    '/lie': { ...(c as BlobRange), blockOffset: (a as BlobRange).blockOffset }
  }),
  'more blocks than bytes': ([a, b]) => ({
    '/0-lie': { ...(a as BlobRange), blockLength: 5 },
    '/lie': { ...(b as BlobRange), blockLength: 1 }
  })
}

for (const [what, lie] of Object.entries(LIES)) {
  test(`hostile: entries with ${what}`, { timeout: 60_000 }, async (t) => {
    const raw = await RawDrive.open(t)
    const contents = await honest(raw)
    const blobs = await Promise.all(Object.keys(contents).map((name) => blobOf(raw, name)))
    const lies = lie(blobs)
    await raw.putEntries(
      Object.fromEntries(Object.entries(lies).map(([name, blob]) => [name, { blob }]))
    )
    const again = !what.includes('beyond')
    const { dir, skipped } = await cloneGuarded(t, raw, { again })
    for (const [name, bytes] of Object.entries(contents)) {
      t.ok(fs.readFileSync(path.join(dir, name)).equals(bytes), `${name} is right`)
    }
    for (const name of Object.keys(lies)) {
      t.ok(skipped[name], `${name}: ${skipped[name]}`)
      t.absent(fs.existsSync(path.join(dir, name)), `${name} is not there`)
    }
    t.is(Object.keys(skipped).length, Object.keys(lies).length)
  })
}

test('hostile: entries with ranges that overlap, and are what they say', async (t) => {
  const raw = await RawDrive.open(t)
  const contents = await honest(raw)
  const all = Buffer.concat(Object.values(contents))
  const b = await blobOf(raw, '/1-honest')
  const d = await blobOf(raw, '/3-honest')
  await raw.putEntries({
    '/0-all': {
      blob: { blockOffset: 0, blockLength: 12, byteOffset: 0, byteLength: all.byteLength }
    },
    '/begin': { blob: { ...b, blockLength: 1, byteLength: 65_536 } },
    '/end': {
      blob: {
        blockOffset: d.blockOffset + 1,
        blockLength: 2,
        byteOffset: d.byteOffset + 65_536,
        byteLength: d.byteLength - 65_536
      }
    }
  })
  const { dir, skipped } = await cloneGuarded(t, raw)
  t.alike(skipped, {})
  for (const [name, bytes] of Object.entries(contents)) {
    t.ok(fs.readFileSync(path.join(dir, name)).equals(bytes), `${name} is right`)
  }
  t.ok(fs.readFileSync(path.join(dir, '0-all')).equals(all))
  t.ok(
    fs
      .readFileSync(path.join(dir, 'begin'))
      .equals((contents['/1-honest'] as Buffer).subarray(0, 65_536))
  )
  t.ok(
    fs
      .readFileSync(path.join(dir, 'end'))
      .equals((contents['/3-honest'] as Buffer).subarray(65_536))
  )
})

test('hostile: a file that was extended by its writer, version by version', async (t) => {
  const raw = await RawDrive.open(t)
  const parts = [bytesOf(70_000, 1), bytesOf(5000, 2), bytesOf(90_000, 3)]
  const first = await raw.store(parts[0] as Buffer)
  await raw.putEntries({ '/log': { blob: first } })
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  let { blockLength, byteLength } = first
  for (let i = 1; i < parts.length; i++) {
    const more = await raw.store(parts[i] as Buffer)
    blockLength += more.blockLength
    byteLength += more.byteLength
    const version = raw.drive.version
    await raw.putEntries({ '/log': { blob: { ...first, blockLength, byteLength } } })
    while (clone.index.length <= version) await new Promise((resolve) => setTimeout(resolve, 10))
    const report = await clone.update({ signal: AbortSignal.timeout(20_000) })
    t.alike(report.skipped, [])
    t.alike(report.conflicts, [])
    t.ok(fs.readFileSync(`${dir}/log`).equals(Buffer.concat(parts.slice(0, i + 1))))
  }
})

test('hostile: names of 100,000 parts, and of parts that are too long', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('deep')
  await raw.putEntries({
    [`/${'d/'.repeat(100_000)}f`]: { blob },
    [`/${'long'.repeat(500)}`]: { blob },
    [`/${'d/'.repeat(300)}f`]: { blob },
    '/good': { blob }
  })
  await raw.put([`dirs\0/${'e/'.repeat(50_000)}f`, '{"metadata":null}'])
  const { files, skipped } = await cloneGuarded(t, raw)
  t.is(files['/good'], '"deep"')
  t.is(files[`/${'d/'.repeat(300)}f`], '"deep"')
  t.is(Object.values(files).length, 3, 'a long part gets another name')
  t.is(Object.keys(skipped).length, 2)
})

test('hostile: files and folders that want one place', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('file')
  await raw.putEntries({
    '/a': { blob },
    '/a/b': { blob },
    '/a/b/c': { blob },
    '/d': { blob },
    '/l': { linkname: 'd' },
    '/l/x': { blob }
  })
  const folder = '{"metadata":{"mode":448}}'
  await raw.put(
    ['dirs\0/a', folder],
    ['dirs\0/d', folder],
    ['dirs\0/d/e', folder],
    ['dirs\0/l/y', folder]
  )
  const { files, skipped } = await cloneGuarded(t, raw)
  t.is(Object.values(files).filter((content) => content === '"file"').length, 5)
  t.is(files['/a/b/c'], '"file"')
  t.comment(JSON.stringify({ files, skipped }))
})

test('hostile: an index that is no tree', { timeout: 60_000 }, async (t) => {
  const raw = await RawDrive.open(t)
  await raw.drive.put('/a', 'a')
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  // A node whose child is itself.
  const block = Buffer.from('0a100a0e0a02020212080202020002010201120a66696c6573002f61', 'hex')
  await raw.drive.core.append(block)
  await new Promise((resolve) => setTimeout(resolve, 300))
  await t.exception(clone.update({ signal: AbortSignal.timeout(20_000) }), /BAD_MESSAGE/)
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'a', 'what was there stays')
})
