import test from 'brittle'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import {
  scan,
  type Scan,
  type ScannedEntry,
  type ScanOptions,
  type Skipped
} from '../../lib/drive/folder/scan.ts'
import {
  decodeStamp,
  isRacy,
  sameStamp,
  STAMP_BYTES,
  stampOf
} from '../../lib/drive/folder/stamp.ts'
import { systemReader, type FolderReader } from '../../lib/drive/folder/reader.ts'
import { IGNORE_BYTES_MAX, IGNORE_RULES_MAX } from '../../lib/limits.ts'
import { seeded } from '../fixtures/fault-files.ts'

const posix = process.platform !== 'win32'

/** Makes files with their names as content, links (`NAME -> TARGET`), and folders (with a slash behind). */
function plant(root: string, names: readonly string[]): void {
  for (const name of names) {
    const [at, target] = name.split(' -> ') as [string, string?]
    if (at.endsWith('/')) mkdirSync(root + at, { recursive: true })
    else {
      mkdirSync(path.dirname(root + at), { recursive: true })
      if (target === undefined) writeFileSync(root + at, at)
      else symlinkSync(target, root + at)
    }
  }
}

async function all(found: Scan): Promise<ScannedEntry[]> {
  const entries: ScannedEntry[] = []
  for await (const batch of found) entries.push(...batch)
  return entries
}

/** Names of what is scanned; those of empty folders end in a slash. */
async function names(root: string, options?: ScanOptions): Promise<string[]> {
  const entries = await all(scan(root, options))
  return entries.map(({ name, kind }) => (kind === 'folder' ? `${name}/` : name))
}

/** What is skipped, as `NAME REASON`. */
async function skipped(root: string, options: ScanOptions = {}): Promise<string[]> {
  const met: Skipped[] = []
  await all(scan(root, { ...options, onSkipped: (skip) => met.push(skip) }))
  return met
    .map(({ name, reason, rule, code, folder }) =>
      [name + (folder ? '/' : ''), reason, rule?.pattern, code].filter(Boolean).join(' ')
    )
    .sort()
}

const systemError = (code: string): Error => Object.assign(new Error(code), { code })

test('scan: entries come in the order of the bytes of their names', async (t) => {
  const root = await t.tmp()
  plant(root, [
    '/a/b',
    '/a/c/',
    '/a.txt',
    '/a-/',
    '/a-b/c',
    '/a b/',
    '/a0',
    '/a/b.x',
    '/a!/b/c',
    '/A'
  ])
  t.alike(await names(root), [
    '/A',
    '/a b/',
    '/a!/b/c',
    '/a-/',
    '/a-b/c',
    '/a.txt',
    '/a/b',
    '/a/b.x',
    '/a/c/',
    '/a0'
  ])
})

test('scan: an empty folder comes before those whose names begin like its own', async (t) => {
  const root = await t.tmp()
  plant(root, ['/a/', '/a-/', '/a--/x/', '/b/', '/b-b/', '/b.b/c/'])
  t.alike(await names(root), ['/a/', '/a-/', '/a--/x/', '/b/', '/b-b/', '/b.b/c/'])
})

test('scan: the order holds for random trees', async (t) => {
  const random = seeded(7)
  const parts = [
    'a',
    'a-',
    'a.b',
    'a b',
    'a0',
    'a\n',
    'b',
    '-',
    'é',
    'e\u0301',
    '\ufb01',
    '😀',
    '\uffee',
    '~',
    'Z'
  ]
  const pick = (): string => parts[Math.floor(random() * parts.length)] as string
  const root = await t.tmp()
  for (let count = 0; count < 400; count++) {
    const name = `/${Array.from({ length: 1 + Math.floor(random() * 5) }, pick).join('/')}`
    try {
      if (random() < 0.3) mkdirSync(root + name, { recursive: true })
      else plant(root, [name])
    } catch {
      // A file stands where a folder is asked for, or the other way round.
    }
  }
  const entries = await all(scan(root))
  const found = entries.map(({ name }) => name)
  const sorted = found.toSorted((one, other) =>
    Buffer.compare(Buffer.from(one), Buffer.from(other))
  )
  t.alike(found, sorted)
  t.is(new Set(found).size, found.length)
  const listed = execFileSync(
    'find',
    ['.', '(', '-not', '-type', 'd', '-o', '-empty', ')', '-print0'],
    {
      cwd: root,
      encoding: 'utf8'
    }
  )
  t.alike(
    found.toSorted(),
    listed
      .split('\0')
      .slice(0, -1)
      .map((name) => name.slice(1))
      .toSorted()
  )
})

test('scan: entries tell what the system knows of them', async (t) => {
  const root = await t.tmp()
  plant(root, ['/file', '/folder/', '/link -> fi\nle'])
  chmodSync(`${root}/file`, 0o640)
  chmodSync(`${root}/folder`, 0o750)
  utimesSync(`${root}/file`, 1, 1234.5)
  const found = scan(root)
  const [file, folder, link] = (await all(found)) as [ScannedEntry, ScannedEntry, ScannedEntry]
  t.alike(
    [file.kind, file.size, file.mode, file.mtimeMs, file.linkname],
    ['file', 5, 0o640, 1234500, null]
  )
  t.alike([folder.kind, folder.size, folder.mode, folder.linkname], ['folder', 0, 0o750, null])
  t.alike([link.kind, link.size, link.linkname], ['link', 0, 'fi\nle'])
  t.is(file.stamp, stampOf(lstatSync(`${root}/file`, { bigint: true })))
  const { files, links, emptyFolders, bytes } = found.counts
  t.alike({ files, links, emptyFolders, bytes }, { files: 1, links: 1, emptyFolders: 1, bytes: 5 })
})

test('scan: names of any kind, deep paths and hidden files', async (t) => {
  const root = await t.tmp()
  const deep = `${'/folder'.repeat(200)}/file`
  const wanted = [
    '/ ',
    '/ a',
    '/a\nb',
    '/a\tb',
    '/.hidden',
    '/.git/config',
    '/-rf',
    '/é',
    '/e\u0301',
    '/日本',
    '/😀',
    '/\ufffd',
    deep
  ]
  plant(root, wanted)
  t.alike((await names(root)).toSorted(), wanted.toSorted())
})

test('scan: ten thousand files in one folder, sparse and empty ones', async (t) => {
  const root = await t.tmp()
  for (let index = 0; index < 10_000; index++) writeFileSync(`${root}/${index}`, '')
  truncateSync(`${root}/5`, 2 ** 33)
  const found = scan(root)
  let batches = 0
  let last = ''
  for await (const batch of found) {
    batches++
    for (const { name } of batch) {
      if (name <= last) t.fail(`${name} after ${last}`)
      last = name
    }
  }
  t.is(found.counts.files, 10_000)
  t.is(found.counts.bytes, 2 ** 33)
  t.ok(batches >= 10, `${batches} batches`)
})

test('scan: links of all kinds are told and never followed', async (t) => {
  const root = await t.tmp()
  plant(root, [
    '/folder/file',
    '/absolute -> /etc/passwd',
    '/dangling -> nowhere',
    '/escaping -> ../..',
    '/folder/loop -> ..',
    '/self -> self',
    '/to-folder -> folder'
  ])
  const entries = await all(scan(root))
  t.alike(
    entries.map(({ name, linkname }) => [name, linkname]),
    [
      ['/absolute', '/etc/passwd'],
      ['/dangling', 'nowhere'],
      ['/escaping', '../..'],
      ['/folder/file', null],
      ['/folder/loop', '..'],
      ['/self', 'self'],
      ['/to-folder', 'folder']
    ]
  )
})

test('scan: hard links are files of their own', async (t) => {
  const root = await t.tmp()
  plant(root, ['/one'])
  linkSync(`${root}/one`, `${root}/two`)
  t.alike(await names(root), ['/one', '/two'])
})

test('scan: FIFOs and sockets are skipped', { skip: !posix }, async (t) => {
  const root = await t.tmp()
  plant(root, ['/file', '/only/'])
  execFileSync('mkfifo', [`${root}/fifo`, `${root}/only/.synclineignore`])
  const server = createServer().listen(`${root}/socket`)
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  t.alike(await names(root), ['/file', '/only/'])
  t.alike(await skipped(root), [
    '/fifo special',
    '/only/.synclineignore special',
    '/socket special'
  ])
})

test(
  'scan: names that are not UTF-8 or hold a backslash are skipped',
  { skip: !posix },
  async (t) => {
    const root = await t.tmp()
    plant(root, ['/a\\b', '/x\ufffd', '/fine', '/folder\\/file'])
    for (const bytes of [
      [0x78, 0xff],
      [0x78, 0xfe],
      [0xed, 0xa0, 0x80]
    ]) {
      writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from(bytes)]), '')
    }
    symlinkSync(Buffer.from([0xff]), `${root}/link`)
    t.alike(await names(root), ['/fine', '/x\ufffd'])
    t.alike(await skipped(root), [
      '/a\\b name',
      '/folder\\/ name',
      '/link name',
      '/x\ufffd name',
      '/x\ufffd name',
      '/\ufffd\ufffd\ufffd name'
    ])
  }
)

test('scan: what cannot be read is told with its code', async (t) => {
  const root = await t.tmp()
  plant(root, ['/closed/a', '/file', '/listed/a', '/open/b', '/secret', '/link -> x'])
  chmodSync(`${root}/secret`, 0o000)
  const deny = (names: readonly string[], at: string): void => {
    if (names.includes(at.slice(root.length))) throw systemError('EACCES')
  }
  const reader: FolderReader = {
    ...systemReader,
    list: (at) => (deny(['/closed'], at), systemReader.list(at)),
    lstat: (at) => (deny(['/listed/a'], at), systemReader.lstat(at)),
    readLink: (at) => (deny(['/link'], at), systemReader.readLink(at)),
    checkReadable: (at) => deny(['/secret'], at)
  }
  t.alike(await names(root, { reader }), ['/file', '/open/b'])
  t.alike(await skipped(root, { reader }), [
    '/closed/ unreadable EACCES',
    '/link unreadable EACCES',
    '/listed/a unreadable EACCES',
    '/secret unreadable EACCES'
  ])
})

test(
  'scan: files of others are skipped where the system says so',
  { skip: process.getuid?.() === 0 },
  async (t) => {
    const root = await t.tmp()
    plant(root, ['/closed/a', '/secret'])
    chmodSync(`${root}/secret`, 0)
    chmodSync(`${root}/closed`, 0)
    t.teardown(() => chmodSync(`${root}/closed`, 0o700), { order: -1 })
    t.alike(await skipped(root), ['/closed/ unreadable EACCES', '/secret unreadable EACCES'])
  }
)

test('scan: what vanishes or changes its kind meanwhile is left out', async (t) => {
  const root = await t.tmp()
  plant(root, ['/a/x', '/b', '/c/x', '/d', '/e'])
  const reader: FolderReader = {
    ...systemReader,
    lstat(at) {
      if (at === `${root}/a`) rmSync(at, { recursive: true })
      if (at === `${root}/b`) rmSync(at)
      if (at === `${root}/c`) {
        rmSync(at, { recursive: true })
        symlinkSync('/', at)
      }
      if (at === `${root}/d`) {
        rmSync(at)
        mkdirSync(at)
      }
      return systemReader.lstat(at)
    }
  }
  const met: Skipped[] = []
  t.alike(await names(root, { reader, onSkipped: (skip) => met.push(skip) }), ['/e'])
  t.alike(met, [])
})

test('scan: a root that is missing or no folder is refused', async (t) => {
  const root = await t.tmp()
  plant(root, ['/file'])
  await t.exception(names(`${root}/nowhere`), { code: 'FOLDER_MISSING' })
  await t.exception(names(`${root}/file`), { code: 'FOLDER_MISSING' })
  const reader: FolderReader = {
    ...systemReader,
    list() {
      throw systemError('EIO')
    }
  }
  await t.exception(names(root, { reader }), { code: 'STORAGE_FAILED' })
})

test('scan: a root that vanishes or is replaced meanwhile is an error, not an empty folder', async (t) => {
  const tmp = await t.tmp()
  const root = `${tmp}/root`
  plant(root, ['/a/b', '/c'])
  const replacing = (replace: () => void): FolderReader => ({
    ...systemReader,
    list(at) {
      const listed = systemReader.list(at)
      if (at === root) replace()
      return listed
    }
  })
  const away = replacing(() => renameSync(root, `${tmp}/away`))
  await t.exception(names(root, { reader: away }), { code: 'FOLDER_MISSING' })
  mkdirSync(root)
  const other = replacing(() => {
    renameSync(root, `${tmp}/before`)
    mkdirSync(root)
  })
  await t.exception(names(root, { reader: other }), { code: 'FOLDER_MISSING' })
})

test('scan: a root that is a link, or ends in a slash, is its folder', async (t) => {
  const tmp = await t.tmp()
  plant(tmp, ['/folder/a', '/link -> folder'])
  t.alike(await names(`${tmp}/link`), ['/a'])
  t.alike(await names(`${tmp}/folder//`), ['/a'])
})

test('scan: state folders are never entered, whatever rules say', async (t) => {
  const root = await t.tmp()
  plant(root, [
    '/.syncline/index/log',
    '/a/.syncline/config',
    '/b/.syncline/config',
    '/b/file',
    '/.synclinex'
  ])
  writeFileSync(`${root}/.synclineignore`, '!.syncline\n!.syncline/**\n')
  t.alike(await names(root), ['/.synclineignore', '/.synclinex', '/a/', '/b/file'])
  t.alike(await skipped(root), ['/.syncline/ state', '/a/.syncline/ state', '/b/.syncline/ state'])
})

test(
  'scan: stores are never entered, by whatever way they are named',
  { skip: !posix },
  async (t) => {
    const root = await t.tmp()
    const [at, outside] = [`${root}/by link`, await t.tmp()]
    plant(root, ['/a/store/drives/key.json', '/a/store-too', '/b/store/x', '/store', '/x/own/y'])
    symlinkSync(`${root}/a`, at)
    const stores = [`${at}/store`, `${root}/x/own`, `${root}/not yet/there`, outside, root]
    const way = `${outside}/root`
    symlinkSync(root, way)
    for (const from of [root, `${root}/`, way]) {
      t.alike(await names(from, { stores }), [
        '/a/store-too',
        '/b/store/x',
        '/by link',
        '/store',
        '/x/'
      ])
      t.alike(await skipped(from, { stores }), ['/a/store/ store', '/x/own/ store'])
    }
    t.alike(await names(root, { stores, under: '/a/store/drives' }), [])
    t.alike(await names(`${root}/a`, { stores }), ['/store-too'], 'from within, too')
  }
)

test('scan: ignored names are counted by rule, and folders that hold nothing else are empty', async (t) => {
  const root = await t.tmp()
  plant(root, [
    '/a.log',
    '/logs/b.log',
    '/node_modules/x/y',
    '/keep/node_modules/z',
    '/keep/c.log',
    '/d'
  ])
  writeFileSync(`${root}/.synclineignore`, '*.log\nnode_modules/\n')
  writeFileSync(`${root}/keep/.synclineignore`, '!c.log\n')
  const found = scan(root)
  const entries = await all(found)
  t.alike(
    entries.map(({ name, kind }) => `${name} ${kind}`),
    [
      '/.synclineignore file',
      '/d file',
      '/keep/.synclineignore file',
      '/keep/c.log file',
      '/logs folder'
    ]
  )
  t.is(found.counts.ignored, 4)
  t.alike(
    [...found.counts.ignoredBy].map(([rule, count]) => [rule.file, rule.line, rule.pattern, count]),
    [
      ['/.synclineignore', 1, '*.log', 2],
      ['/.synclineignore', 2, 'node_modules/', 2]
    ]
  )
})

test('scan: git rules hold when asked for, below ours, and not inside .git', async (t) => {
  const root = await t.tmp()
  plant(root, [
    '/.git/refs/tags/v1',
    '/tags',
    '/a.o',
    '/b.o',
    '/sub/a.o',
    '/sub/b.tmp',
    '/excluded'
  ])
  writeFileSync(`${root}/.gitignore`, '*.o\ntags\n.*\n')
  writeFileSync(`${root}/.synclineignore`, '!b.o\n')
  mkdirSync(`${root}/.git/info`)
  writeFileSync(`${root}/.git/info/exclude`, 'excluded\n*.tmp\n')
  writeFileSync(`${root}/sub/.gitignore`, '!b.tmp')
  t.ok((await names(root)).includes('/a.o'))
  t.alike(await names(root, { gitignore: true }), [
    '/.git/info/exclude',
    '/.git/refs/tags/v1',
    '/b.o',
    '/sub/b.tmp'
  ])
})

test('scan: a folder whose rules cannot be known is not shared', async (t) => {
  const root = await t.tmp()
  plant(root, ['/a/secret', '/b/secret', '/c/secret', '/d/file', '/a/.synclineignore -> ../d/file'])
  writeFileSync(`${root}/b/.synclineignore`, 'x\n'.repeat(IGNORE_RULES_MAX + 1))
  writeFileSync(`${root}/c/.synclineignore`, `${'x'.repeat(IGNORE_BYTES_MAX)}\n`)
  symlinkSync('nowhere', `${root}/d/.gitignore`)
  t.alike(await names(root, { gitignore: true }), ['/d/.gitignore', '/d/file'])
  t.alike(await skipped(root, { gitignore: true }), [
    '/a/ unreadable ELOOP',
    '/b/ unreadable TOO_MANY',
    '/c/ unreadable TOO_MANY'
  ])
  writeFileSync(`${root}/.synclineignore`, 'x\n'.repeat(IGNORE_RULES_MAX + 1))
  await t.exception(names(root), { code: 'TOO_MANY' })
})

test('scan: one file or folder alone, under the rules of all folders above', async (t) => {
  const root = await t.tmp()
  plant(root, ['/a/b/c', '/a/b/d.log', '/a/b/e/', '/a/f', '/a-b/c', '/g', '/h/x.log', '/link -> a'])
  writeFileSync(`${root}/.synclineignore`, '*.log')
  t.alike(await names(root, { under: '/a/b' }), ['/a/b/c', '/a/b/e/'])
  t.alike(await names(root, { under: '/a/f' }), ['/a/f'])
  t.alike(await names(root, { under: '/a/gone' }), [])
  t.alike(await names(root, { under: '/h/x.log' }), ['/h/'], 'a folder in which nothing is left')
  t.alike(await names(root, { under: '/link/b' }), ['/link'], 'links are not followed')
  t.is((await names(root, { under: '/' })).length, 8)
  t.alike(await skipped(root, { under: '/a/b' }), ['/a/b/d.log ignored *.log'])
})

test('stamp: tells files apart and survives being stored', async (t) => {
  const root = await t.tmp()
  plant(root, ['/one', '/two'])
  const take = (name: string): string => stampOf(lstatSync(root + name, { bigint: true }))
  const one = take('/one')
  t.ok(sameStamp(one, take('/one')))
  t.absent(sameStamp(one, take('/two')))
  const stored = Buffer.concat([Buffer.from('abc'), Buffer.from(one, 'latin1')])
  t.is(stored.length, 3 + STAMP_BYTES)
  t.ok(sameStamp(decodeStamp(stored, 3), one))
  const { mtimeMs } = lstatSync(`${root}/one`)
  writeFileSync(`${root}/one`, '/eno')
  utimesSync(`${root}/one`, mtimeMs / 1000, mtimeMs / 1000)
  t.absent(sameStamp(one, take('/one')), 'the ctime tells')
})

test('stamp: young and future times are racy', async (t) => {
  const stats = { size: 1n, ino: 2n, dev: 3n, mtimeNs: 5_000_000_000n, ctimeNs: 9_000_000_000n }
  const stamp = stampOf(stats as Parameters<typeof stampOf>[0])
  t.ok(isRacy(stamp, 9_000))
  t.ok(isRacy(stamp, 10_999))
  t.absent(isRacy(stamp, 11_000))
  t.ok(isRacy(stamp, 1_000), 'ahead of the clock')
  const old = stampOf({ ...stats, mtimeNs: -5n, ctimeNs: -5n } as Parameters<typeof stampOf>[0])
  t.absent(isRacy(old, 9_000), 'before 1970')
  t.absent(sameStamp(stamp, old))
})
