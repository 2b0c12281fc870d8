import test from 'brittle'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The sources: from dist as from test, the root is the folder with package.json. */
const root = findRoot(path.dirname(fileURLToPath(import.meta.url)))

function findRoot(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : findRoot(path.dirname(folder))
}

function sources(folder: string, ending = '.ts'): string[] {
  return readdirSync(path.join(root, folder), { recursive: true })
    .map((entry) => path.join(folder, String(entry)))
    .filter((file) => file.endsWith(ending) && !file.endsWith('.d.ts'))
}

const read = (file: string): string => readFileSync(path.join(root, file), 'utf8')

/** Which parts of lib a part may import, beside itself. */
const PARTS: Record<string, readonly string[]> = {
  'index.ts': [
    'drive',
    'engine',
    'errors.ts',
    'feed',
    'synchronizer',
    'transport',
    'tuning.ts',
    'wire'
  ],
  'errors.ts': [],
  'limits.ts': [],
  'tuning.ts': [],
  primitives: ['errors.ts', 'limits.ts'],
  wire: ['errors.ts', 'limits.ts'],
  engine: ['errors.ts', 'limits.ts', 'primitives', 'wire'],
  kernels: ['errors.ts'],
  feed: ['errors.ts', 'limits.ts', 'kernels', 'primitives', 'wire'],
  transport: ['errors.ts', 'limits.ts', 'primitives'],
  synchronizer: [
    'engine',
    'errors.ts',
    'feed',
    'kernels',
    'limits.ts',
    'primitives',
    'transport',
    'wire'
  ],
  drive: ['errors.ts', 'feed', 'kernels', 'limits.ts', 'primitives', 'synchronizer', 'wire'],
  cli: [
    'drive',
    'engine',
    'errors.ts',
    'feed',
    'index.ts',
    'limits.ts',
    'synchronizer',
    'transport',
    'wire'
  ]
}

/** Packages and platform modules, and the only places that may import them. */
const OUTSIDE: Record<string, readonly string[]> = {
  'compact-encoding': ['wire', 'feed', 'drive'],
  b4a: ['wire', 'feed', 'transport', 'synchronizer', 'drive', 'cli'],
  protomux: ['synchronizer'],
  hyperswarm: ['transport'],
  '@hyperswarm/secret-stream': ['transport'],
  'random-access-file': ['feed'],
  'fs-native-extensions': ['feed'],
  'sodium-universal': ['feed'],
  z32: ['synchronizer']
}

/** Platform modules and the parts that may touch the platform at all. */
const PLATFORM = ['feed', 'transport', 'synchronizer', 'drive', 'cli', 'tuning.ts']

/** Untyped packages stand in one file each, so that a change of theirs is met in one place. */
const ONE_FILE = ['protomux', '@hyperswarm/secret-stream', 'hyperswarm', 'random-access-file']

interface Import {
  readonly file: string
  readonly part: string
  readonly to: string
}

function imports(): Import[] {
  const found: Import[] = []
  for (const file of sources('lib')) {
    const part = file.split(path.sep)[1] as string
    const pattern = /(?:^(?:import|export)\b[^;']*?\bfrom\s+|\bimport\(\s*|^import\s+)'([^']+)'/gm
    for (const [, to] of read(file).matchAll(pattern)) found.push({ file, part, to: to as string })
  }
  return found
}

test('tidy: every import stands in the import table', (t) => {
  const all = imports()
  t.ok(all.length > 100, `${all.length} imports were read`)
  const used = new Set<string>()
  for (const { file, part, to } of all) {
    if (to.startsWith('.')) {
      const target = path.relative('lib', path.normalize(path.join(path.dirname(file), to)))
      const other = target.split(path.sep)[0] as string
      if (other !== part && !PARTS[part]?.includes(other)) t.fail(`${file} imports ${target}`)
    } else if (to.startsWith('node:')) {
      if (!PLATFORM.includes(part)) t.fail(`${file} imports ${to}`)
    } else if (OUTSIDE[to]?.includes(part)) used.add(to)
    else t.fail(`${file} imports ${to}`)
  }
  for (const name of Object.keys(OUTSIDE)) {
    if (!used.has(name)) t.fail(`${name} stands in the table and is imported by nobody`)
  }
  t.pass('the table fits')
})

test('tidy: untyped packages stand in one file each', (t) => {
  for (const name of ONE_FILE) {
    const files = new Set(imports().flatMap(({ to, file }) => (to === name ? [file] : [])))
    t.is(files.size, 1, `${name}: ${[...files].join(' ')}`)
  }
})

test('tidy: only timers.ts asks for the time or sets timers in the synchronizer', (t) => {
  for (const file of sources('lib/synchronizer')) {
    if (file.endsWith('timers.ts')) continue
    if (/\b(setTimeout|setInterval|setImmediate|performance|Date)\b[.(]/.test(read(file)))
      t.fail(file)
  }
  t.pass('no other file does')
})

test('tidy: every error code is explained in the README and used somewhere', (t) => {
  const codes = [...read('lib/errors.ts').matchAll(/^ {2}\| '([A-Z0-9_]+)'/gm)].map(
    ([, code]) => code
  )
  t.ok(codes.length > 20)
  const readme = read('README.md')
  const lib = sources('lib')
    .filter((file) => file !== path.join('lib', 'errors.ts'))
    .map(read)
    .join('\n')
  for (const code of codes) {
    if (!readme.includes(`\`${code}\``)) t.fail(`README.md does not explain ${code}`)
    if (!lib.includes(`'${code}'`)) t.fail(`nothing throws ${code}`)
  }
})

test('tidy: every limit is used', (t) => {
  const limits = [...read('lib/limits.ts').matchAll(/^export const (\w+)/gm)].map(
    ([, name]) => name
  )
  const lib = sources('lib')
    .filter((file) => file !== path.join('lib', 'limits.ts'))
    .map(read)
    .join('\n')
  t.ok(limits.length > 20)
  for (const name of limits)
    if (!new RegExp(`\\b${name}\\b`).test(lib)) t.fail(`${name} bounds nothing`)
})

test('tidy: the top level is what was fixed', (t) => {
  const allowed =
    /^(package\.json|package-lock\.json|tsconfig\.json|lib|bin|wasm|test|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md|dist|node_modules|\..*)$/
  const extra = readdirSync(root).filter((name) => !allowed.test(name) && !name.endsWith('.tgz'))
  t.alike(extra, [])
})
