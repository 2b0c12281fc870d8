import test from 'brittle'
import * as fc from 'fast-check'
import { readdirSync } from 'node:fs'
import {
  EXACT_NAMES,
  FileNames,
  type NameRules,
  refusalOf
} from '../../lib/drive/folder/file-names.ts'
import { badLink, leavingText, leavingWay } from '../../lib/drive/folder/links.ts'
import { probeNames } from '../../lib/drive/folder/name-probe.ts'

const MAC: NameRules = { ...EXACT_NAMES, caseFolds: true, formFolds: true }
const WINDOWS: NameRules = {
  ...EXACT_NAMES,
  caseFolds: true,
  trims: true,
  devices: true,
  refused: '\u0001\n"*:<>?|'
}

/** Paths of a listing, by name. */
function paths(rules: NameRules, names: readonly string[]): Record<string, string | null> {
  const all = new FileNames(rules)
  for (const name of names) all.add(name)
  return Object.fromEntries(names.map((name) => [name, all.pathOf(name)]))
}

test('names that leave the root, or are no names, are refused on every system', (t) => {
  const bad = [
    '',
    '/',
    'a',
    'C:/a',
    'C:\\a',
    '//a',
    '/a//b',
    '/a/',
    '/..',
    '/../a',
    '/a/..',
    '/a/../../b',
    '/.',
    '/a/./b',
    '/a\\b',
    '/..\\b',
    '/a\0',
    '/\ud800',
    '/.syncline',
    '/.syncline/config',
    '/a/.syncline',
    '/a/b/.syncline/config'
  ]
  for (const rules of [EXACT_NAMES, MAC, WINDOWS]) {
    const names = new FileNames(rules)
    for (const name of bad) {
      t.is(typeof names.add(name), 'string', JSON.stringify(name))
      t.is(names.pathOf(name), null)
    }
  }
})

test('names that only look odd stand as they are where the system takes them', (t) => {
  const odd = ['/...', '/..a', '/a..', '/a b ', '/a\nb', '/C:', '/con', '/-', '/é', '/a.syncline']
  for (const name of odd) t.is(paths(EXACT_NAMES, [name])[name], name.slice(1))
})

test('the state folder is refused in every spelling that the file system takes for it', (t) => {
  t.is(refusalOf('/.SYNCLINE/x', EXACT_NAMES), null)
  for (const [name, rules] of [
    ['/.SyncLine/x', MAC],
    ['/.sync\u200cline', MAC],
    ['/.SYNCLINE', WINDOWS],
    ['/.syncline. .', WINDOWS],
    ['/.syncline ', WINDOWS]
  ] as const) {
    t.is(typeof refusalOf(name, rules), 'string', JSON.stringify(name))
  }
  const found = paths(WINDOWS, ['/.syncline::$INDEX_ALLOCATION', '/SYNCLI~1/config', '/a/SYNCLI~1'])
  t.absent(found['/.syncline::$INDEX_ALLOCATION']?.includes(':'))
  t.not(found['/SYNCLI~1/config'], 'SYNCLI~1/config')
  t.not(found['/a/SYNCLI~1'], 'a/SYNCLI~1')
})

test('what Windows does not take gets a name that it takes', (t) => {
  const names = [
    '/CON',
    '/con.txt',
    '/dir./a',
    '/a:b',
    '/a<b>.tar',
    '/lpt1 .x',
    '/...',
    '/end ',
    '/x\ny'
  ]
  const found = paths(WINDOWS, names)
  for (const name of names) {
    const path = found[name] as string
    t.ok(/~[0-9a-f]{8}/.test(path), path)
    t.absent(/[<>:"|?*\n]|[. ](\/|$)/.test(path), path)
    t.is(new FileNames(WINDOWS).pathOf(path.replace(/^/, '/')), path, 'and stands as it is')
  }
  t.ok((found['/con.txt'] as string).endsWith('.txt'))
  t.is(new Set(Object.values(found)).size, names.length)
})

test('parts longer than the file system takes are shortened between characters', (t) => {
  const long = `/${'é'.repeat(200)}.jpeg`
  const emoji = `/d/${'😀'.repeat(64)}`
  const other = `/d/${'😀'.repeat(64)}!`
  const found = paths(EXACT_NAMES, [emoji, other, long])
  for (const path of Object.values(found)) {
    const segment = (path as string).split('/').at(-1) as string
    t.ok(Buffer.byteLength(segment) <= 255)
    t.absent(/\p{Cs}/u.test(segment))
  }
  t.ok(found[long]?.endsWith('.jpeg'))
  t.not(found[emoji], found[other])
  t.is(paths(EXACT_NAMES, [`/${'n'.repeat(255)}`])[`/${'n'.repeat(255)}`], 'n'.repeat(255))
})

test('names that fold to one: the first holds it, the others get their own, folders with all they hold', (t) => {
  const found = paths(MAC, ['/A/x', '/README', '/a/x', '/a/y', '/readme', '/\u00e9', '/e\u0301'])
  t.is(found['/A/x'], 'A/x')
  t.is(found['/README'], 'README')
  t.ok(/^readme~[0-9a-f]{8}$/.test(found['/readme'] as string))
  t.ok(/^a~[0-9a-f]{8}\/x$/.test(found['/a/x'] as string))
  t.is((found['/a/y'] as string).split('/')[0], (found['/a/x'] as string).split('/')[0])
  t.is(found['/\u00e9'], '\u00e9')
  t.not((found['/e\u0301'] as string).normalize('NFC'), '\u00e9')
})

test('a file that is a folder too gives way to it, wherever it stands in the listing', (t) => {
  for (const rules of [EXACT_NAMES, MAC, WINDOWS]) {
    const found = paths(rules, ['/a', '/a b', '/a.txt', '/a/b', '/a/b/c', '/ab'])
    t.ok(/^a~[0-9a-f]{8}$/.test(found['/a'] as string))
    t.ok(/^a\/b~[0-9a-f]{8}$/.test(found['/a/b'] as string))
    t.is(found['/a/b/c'], 'a/b/c')
    t.is(found['/a.txt'], 'a.txt')
  }
})

test('a name that another one was given gets a name of its own', (t) => {
  for (const rules of [EXACT_NAMES, MAC]) {
    const [taken] = Object.values(paths(rules, ['/a', '/a/b'])) as [string]
    for (const names of [
      ['/a', '/a/b', `/${taken}`],
      [`/${taken}`, '/a', '/a/b']
    ]) {
      const found = Object.values(paths(rules, names))
      t.is(new Set(found).size, 3, found.join(' '))
    }
  }
})

test('names keep their paths from one listing to the next', (t) => {
  const first = new FileNames(MAC)
  for (const name of ['/b', '/dir/b']) first.add(name)
  const known = ['/b', '/dir/b'].map((name) => ({ name, path: first.pathOf(name) as string }))
  const second = new FileNames(MAC, known)
  for (const name of ['/B', '/DIR/c', '/b', '/dir/b']) second.add(name)
  t.is(second.pathOf('/b'), 'b')
  t.is(second.pathOf('/dir/b'), 'dir/b')
  t.not(second.pathOf('/B'), 'B')
  const third = new FileNames(
    MAC,
    ['/b', '/B', '/DIR/c', '/dir/b'].map((name) => ({ name, path: second.pathOf(name) as string }))
  )
  for (const name of ['/B', '/DIR/c', '/b', '/dir/b']) {
    third.add(name)
    t.is(third.pathOf(name), second.pathOf(name))
  }
  t.alike(
    third
      .renamed()
      .map(({ name }) => name)
      .sort(),
    ['/B', '/DIR/']
  )
  t.is(third.nameOf(third.renamed()[0]?.path as string), '/B')
})

test('any listing has paths that are one to one, stay, and are taken by the file system', (t) => {
  const part = fc.oneof(
    fc.constantFrom(
      'a',
      'A',
      'aux',
      'AUX.c',
      'é',
      'e\u0301',
      'x.',
      'a:b',
      'ß',
      'ss',
      'K',
      '\u212a'
    ),
    fc.constantFrom('.syncline', '..', '...', 'ı', 'I', 'a~1234abcd', 'b'.repeat(300), '.SYNCLINE')
  )
  const name = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join('/')}`)
  for (const rules of [EXACT_NAMES, MAC, WINDOWS]) {
    fc.assert(
      fc.property(fc.uniqueArray(name, { maxLength: 30 }), (names) => {
        names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
        const all = new FileNames(rules)
        const good = names.filter((name) => all.add(name) === null)
        const found = good.map((name) => all.pathOf(name) as string)
        const flat = found.map((path) => {
          const form = rules.formFolds ? path.normalize('NFC') : path
          return rules.caseFolds ? form.toLowerCase() : form
        })
        if (new Set(flat).size !== flat.length) throw new Error(found.join(' '))
        for (const [i, path] of found.entries()) {
          if (all.nameOf(path) !== good[i]) throw new Error(`${path}: ${all.nameOf(path)}`)
          if (refusalOf(`/${path}`, rules) !== null) throw new Error(path)
          // No path goes through another one.
          if (found.some((other) => other.startsWith(`${path}/`))) throw new Error(path)
        }
        const again = new FileNames(rules, all.renamed())
        if (rules.caseFolds) return
        for (const [i, name] of good.entries()) {
          again.add(name)
          if (again.pathOf(name) !== found[i]) throw new Error(name)
        }
      }),
      { seed: 7, numRuns: 500 }
    )
  }
  t.pass('they are')
})

test('a probe finds out what a file system does and leaves nothing', async (t) => {
  const folder = await t.tmp()
  const rules = probeNames(folder)
  if (process.platform === 'linux') t.alike(rules, EXACT_NAMES)
  t.alike(readdirSync(folder), [])
})

test('links may climb to the root and no further, and climb only at their beginning', (t) => {
  const inside = ['b', './b', '../b', '../../b/c', 'b//c', '...', '..a', '.', '..', '../..']
  for (const linkname of inside) t.is(leavingText('x/y/l', linkname, false), null, linkname)
  const leaving = ['/', '/etc/passwd', '../../..', '../../../b', 'b/..', 'b/../../../..', '../b/..']
  for (const linkname of leaving) t.ok(leavingText('x/y/l', linkname, false), linkname)
  t.is(leavingText('l', 'C:b', false), null)
  for (const linkname of ['C:\\b', 'C:b', '..\\b', '\\\\host\\b', 'b\\..\\..']) {
    t.ok(leavingText('l', linkname, true), linkname)
  }
  t.ok(badLink(''))
  t.ok(badLink('a\0b'))
  t.is(badLink('a'), null)
})

test('links that pass the links of a user are followed to the end', (t) => {
  const links: Record<string, string> = {
    out: '/tmp',
    up: '..',
    'd/up': '../..',
    ok: 'd/e',
    loop: 'loop',
    two: 'out/x'
  }
  const read = (path: string): string | null => links[path] ?? null
  for (const linkname of ['ok/x', 'loop', 'loop/x', 'missing/y', 'd']) {
    t.is(leavingWay('l', linkname, read), null, linkname)
  }
  for (const linkname of ['out', 'out/x', 'up', 'd/up/x', 'two']) {
    t.ok(leavingWay('l', linkname, read), linkname)
  }
})

test('paths that lead out of the folder are not taken from anybody', (t) => {
  for (const path of ['../../c', '..', '/b/c', 'b//c', 'b/\0', './c', '.syncline/config', 'b\\c']) {
    const names = new FileNames(EXACT_NAMES, [
      { name: '/b/c', path },
      { name: '/d', path }
    ])
    t.is(names.pathOf('/b/c'), 'b/c', path)
    t.is(names.pathOf('/d'), 'd', path)
  }
})

test('an empty folder keeps its name where names fold, and makes a file give way to nothing', (t) => {
  const names = new FileNames(MAC)
  t.is(names.add('/a', true), null)
  t.is(names.pathOfFolder('/a'), 'a')
  names.add('/A', true)
  t.not(names.pathOfFolder('/A'), 'A')
  t.alike(
    names.renamed().map(({ name }) => name),
    ['/A/']
  )
})

test('the path of a name that goes is free for one that comes', (t) => {
  const stays = { name: '/a', path: 'a' }
  const goes = { name: '/readme', path: 'readme' }
  const names = new FileNames(MAC, [stays], [goes])
  for (const name of ['/A', '/README', '/a']) names.add(name)
  t.is(names.pathOf('/README'), 'README')
  t.is(names.pathOf('/readme'), 'readme')
  t.is(names.leavingAt('README'), '/readme')
  t.ok(names.isTaken('readme', '/readme'))
  t.is(names.pathOf('/a'), 'a')
  t.not(names.pathOf('/A'), 'A')
})
