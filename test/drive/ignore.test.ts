import test from 'brittle'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { compileGlob, matchesGlob } from '../../lib/drive/ignore/glob.ts'
import {
  rulingOf,
  scopeWith,
  type IgnoreRule,
  type IgnoreScope
} from '../../lib/drive/ignore/rules.ts'
import { seeded } from '../fixtures/fault-files.ts'
import { gitIgnoreCases, TREE } from '../fixtures/git-ignore-cases.ts'

/** Texts of ignore files by the folder they stand in. */
type Texts = Readonly<Record<string, string | Uint8Array>>

interface Assert {
  is(actual: unknown, expected: unknown, message: string): void
}

const SEED = Number(process.env['SEED'] ?? 1)

const git = findGit()

function findGit(): boolean {
  try {
    execFileSync('git', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What decides about `name`, as `git check-ignore -v` prints it. */
function ours(texts: Texts, name: string): string {
  const scopes = new Map<string, IgnoreScope | null>()
  const scopeOf = (folder: string): IgnoreScope | null => {
    const known = scopes.get(folder)
    if (known !== undefined) return known
    const above = folder === '' ? null : scopeOf(folder.slice(0, folder.lastIndexOf('/')))
    const text = texts[folder || '/']
    const file = `${folder}/.gitignore`
    const scope = text === undefined ? above : scopeWith(above, file, folder, Buffer.from(text))
    scopes.set(folder, scope)
    return scope
  }
  const folder = name.endsWith('/')
  return shown(rulingOf(folder ? name.slice(0, -1) : name, folder, scopeOf))
}

function shown(rule: IgnoreRule | null): string {
  return rule === null ? '-' : `${rule.file}:${rule.line}:${rule.pattern}`
}

/** A repository with files and folders (ending in a slash) of the given names. */
class GitTree {
  readonly #folder: string = mkdtempSync(path.join(tmpdir(), 'syncline-ignore-'))
  readonly #names: readonly string[]

  constructor(names: readonly string[]) {
    this.#names = names
    for (const name of names) {
      if (name.endsWith('/')) mkdirSync(this.#folder + name, { recursive: true })
      else {
        mkdirSync(path.dirname(this.#folder + name), { recursive: true })
        writeFileSync(this.#folder + name, '')
      }
    }
    this.#git(['init', '-q'])
    // Git ends with an error when nothing at all is ignored.
    writeFileSync(path.join(this.#folder, '.git/info/exclude'), 'always-ignored')
  }

  /** Compares what decides about each name; returns how many a rule decided about. */
  compare(t: Assert, texts: Texts): number {
    const wanted = this.#ask(texts)
    const found = this.#names.map((name) => ours(texts, name))
    const differing = this.#names.flatMap((name, index) =>
      found[index] === wanted[index] ? [] : [`${name}: ${found[index]}, git ${wanted[index]}`]
    )
    if (differing.length > 0) t.is(differing.join('\n'), '', JSON.stringify(texts))
    return found.filter((rule) => rule !== '-').length
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true })
  }

  #ask(texts: Texts): string[] {
    const files = Object.entries(texts).map(([folder, text]) => {
      const file = path.join(this.#folder + folder, '.gitignore')
      writeFileSync(file, text)
      return file
    })
    const asked = [...this.#names.map((name) => name.replace(/^\/|\/$/g, '')), 'always-ignored']
    const answer = this.#git(
      ['check-ignore', '-v', '-n', '-z', '--no-index', '--stdin'],
      `${asked.join('\0')}\0`
    ).split('\0')
    for (const file of files) rmSync(file)
    return this.#names.map((_, index) => {
      const [file, line, pattern] = answer.slice(index * 4, index * 4 + 3)
      return file === '' ? '-' : `/${file}:${line}:${pattern}`
    })
  }

  #git(args: readonly string[], input = ''): string {
    return execFileSync('git', ['-c', 'core.excludesFile=/dev/null', ...args], {
      cwd: this.#folder,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: this.#folder, GIT_CONFIG_NOSYSTEM: '1' },
      input
    })
  }
}

test('ignore: handpicked patterns decide as git does', { skip: !git, timeout: 120_000 }, (t) => {
  const tree = new GitTree(TREE)
  t.teardown(() => tree.remove())
  let decided = 0
  for (const texts of gitIgnoreCases) decided += tree.compare(t, texts)
  t.ok(
    gitIgnoreCases.length > 300 && decided > 3000,
    `${decided} names, ${gitIgnoreCases.length} cases`
  )
})

test('ignore: generated patterns decide as git does', { skip: !git, timeout: 120_000 }, (t) => {
  const random = seeded(SEED)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const many = <T>(least: number, most: number, make: () => T): T[] =>
    Array.from({ length: least + Math.floor(random() * (most - least + 1)) }, make)

  const parts = [
    'a',
    'b',
    'ab',
    'ba',
    'aab',
    'a.b',
    '.a',
    'b-',
    'a b',
    'A',
    'é',
    '[a]',
    'a*',
    '^',
    '!a',
    '#b',
    'a]'
  ]
  const pieces = [
    'a',
    'a',
    'b',
    'b',
    'ab',
    '.',
    '-',
    ' ',
    'é',
    '*',
    '*',
    '*',
    '**',
    '**/',
    '/**',
    '/**/',
    '***',
    '/',
    '/',
    '/',
    '?',
    '?',
    '\\',
    '\\*',
    '\\a',
    '\\/',
    '\\ ',
    '[ab]',
    '[!a]',
    '[^b-]',
    '[a-b]',
    '[]a]',
    '[a',
    '[',
    ']',
    '[[:alpha:]]',
    '[[:punct:][:upper:]]',
    '[[:foo:]]',
    '[[:a]',
    '[\\]a]',
    '[a\\-z]',
    '[.-a]',
    '[a-]',
    '[/]',
    '[!/]',
    '!',
    '#',
    'A'
  ]
  const line = (): string => {
    const body = many(1, 5, () => pick(pieces)).join('')
    return (
      pick(['', '', '', '!', '/', '!/', '**/']) +
      body +
      pick(['', '', '', '', '/', ' ', '/**', '\r'])
    )
  }
  const text = (): string => many(1, 6, line).join('\n') + pick(['', '\n'])
  let compared = 0
  let decided = 0
  for (let round = 0; round < 200; round++) {
    const folders = new Set([
      '/',
      ...many(2, 6, () => `/${many(1, 4, () => pick(parts)).join('/')}/`)
    ])
    const files = many(10, 30, () => `${pick([...folders])}${pick(parts)}`)
    const names = consistent([...folders, ...files])
    const inside = names.filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1))
    const texts: Record<string, string> = { '/': text() }
    if (inside.length > 0)
      for (const folder of many(0, 2, () => pick(inside))) texts[folder] = text()
    const tree = new GitTree(names)
    compared += names.length
    decided += tree.compare(t, texts)
    tree.remove()
  }
  t.ok(compared > 3000, `${compared} answers, ${decided} of them by a rule (SEED=${SEED})`)
  t.ok(decided > 500)
})

/** Names without `/`, each of them either a file or a folder, with all folders above them. */
function consistent(names: readonly string[]): string[] {
  const folders = new Set<string>()
  for (const name of names) {
    for (let at = name.indexOf('/', 1); at > 0; at = name.indexOf('/', at + 1)) {
      folders.add(name.slice(0, at + 1))
    }
  }
  const files = names.filter((name) => !name.endsWith('/') && !folders.has(`${name}/`))
  return [...folders, ...new Set(files)]
}

test('ignore: the rule says where it stands', (t) => {
  const text = '\ufeff# comment\n\n*.log\r\n!keep.log  \n'
  const scope = scopeWith(null, '/a/.synclineignore', '/a', Buffer.from(text))
  t.alike(
    scope.rules.map(({ file, line, pattern, negated }) => ({ file, line, pattern, negated })),
    [
      { file: '/a/.synclineignore', line: 3, pattern: '*.log', negated: false },
      { file: '/a/.synclineignore', line: 4, pattern: '!keep.log', negated: true }
    ]
  )
})

test('ignore: rules that are not UTF-8 match names byte by byte', (t) => {
  const scope = scopeWith(null, '/.synclineignore', '', Buffer.from([0xff, 0x0a, 0x3f, 0x3f]))
  const scopeOf = (): IgnoreScope => scope
  t.is(rulingOf('/é', false, scopeOf)?.line, 2, 'a question mark is a byte')
  t.is(rulingOf('/e', false, scopeOf), null)
})

test('ignore: the innermost file wins, and of one folder the one that was added last', (t) => {
  const root = scopeWith(
    scopeWith(null, '/.gitignore', '', Buffer.from('*.a')),
    '/.synclineignore',
    '',
    Buffer.from('!*.a')
  )
  const inner = scopeWith(root, '/b/.gitignore', '/b', Buffer.from('*.a'))
  const scopeOf = (folder: string): IgnoreScope => (folder === '' ? root : inner)
  t.is(rulingOf('/x.a', false, scopeOf)?.file, '/.synclineignore')
  t.is(rulingOf('/b/x.a', false, scopeOf)?.file, '/b/.gitignore')
})

test('ignore: the totals of a scope grow with each file', (t) => {
  const outer = scopeWith(null, '/.synclineignore', '', Buffer.from('a\nb\n'))
  const inner = scopeWith(outer, '/a/.synclineignore', '/a', Buffer.from('c\n'))
  t.alike(inner.total, { rules: 3, bytes: 6 })
})

test('ignore: patterns that make other matchers run for ever end at once', (t) => {
  const cases = [
    [`${'a*'.repeat(2000)}b`, 'a'.repeat(4000)],
    [`${'*'.repeat(5000)}b`, 'a'.repeat(4000)],
    [`${'**/a/'.repeat(500)}b`, 'a/'.repeat(2000)],
    [`${'**/*a*'.repeat(300)}b`, 'a/'.repeat(2000)],
    [`${'[a-z]*'.repeat(1000)}0`, 'a'.repeat(4000)],
    [`${'?*'.repeat(1000)}b`, 'a'.repeat(4000)]
  ] as const
  for (const [pattern, text] of cases) {
    const glob = compileGlob(pattern)
    t.is(glob !== null && matchesGlob(glob, text), false, `${pattern.slice(0, 12)}...`)
  }
})
