// Clones onto a file system to which `A` and `a` are one name: Debian's ntfs-3g makes one.
import fs from 'node:fs'
import { test, type Assertions } from 'brittle'
import type { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import type { CloneReport } from '../../lib/drive/clone.ts'
import type { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { mountFolding } from '../fixtures/file-system.ts'
import { join, openClone, openNode, openShare, UPDATE_MS } from './folders.ts'
import { random } from './hyperbee.ts'

const ROUNDS = 40

interface Pair {
  readonly root: string
  readonly dir: string
  readonly share: SharedFolder
  readonly clone: ClonedFolder
}

/** A share of a folder that folds nothing and its clone on a file system that does; null where there is none. */
async function openPair(t: Assertions, files: Record<string, string>): Promise<Pair | null> {
  const mount = await mountFolding(t)
  if (mount === null) {
    t.comment('no file system that folds names can be mounted here')
    return null
  }
  const root = fs.realpathSync(await t.tmp())
  write(root, files)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  const node = await openNode(t)
  const dir = `${mount}/clone`
  const clone = await openClone(t, node, share.key, dir)
  await join(node, source)
  return { root, dir, share, clone }
}

function write(root: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    const folder = `${root}/${name}`.replace(/\/[^/]*$/, '')
    fs.mkdirSync(folder, { recursive: true })
    fs.writeFileSync(`${root}/${name}`, text)
  }
}

async function follow({ share, clone }: Pair): Promise<CloneReport> {
  await share.import()
  return clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
}

/** Files below a folder, by their paths. */
function filesIn(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('/.syncline'))
    .map((entry) => `${entry.parentPath.slice(root.length)}/${entry.name}`)
    .toSorted()
}

/** What the drive's names hold in the clone, as its catalog says where they stand. */
function contentOf({ clone, dir }: Pair): Record<string, string> {
  const content: Record<string, string> = {}
  for (const [name, { kind, path }] of clone.folder.catalog.rows()) {
    if (kind === 'file') content[name] = fs.readFileSync(`${dir}/${path ?? name.slice(1)}`, 'utf8')
  }
  return content
}

function sourceOf({ root }: Pair): Record<string, string> {
  return Object.fromEntries(
    filesIn(root).map((name) => [name, fs.readFileSync(`${root}${name}`, 'utf8')])
  )
}

test('a second name that folds to one that stands gets another path, whichever comes first', async (t) => {
  const pair = await openPair(t, { 'a.txt': 'small', Zoo: 'large' })
  if (pair === null) return
  await follow(pair)
  write(pair.root, { 'A.txt': 'capital', zoo: 'lower' })
  const report = await follow(pair)
  t.alike([report.conflicts, report.skipped, report.added], [[], [], 2])
  t.alike(contentOf(pair), sourceOf(pair))
  t.is(fs.readFileSync(`${pair.dir}/a.txt`, 'utf8'), 'small', 'who stands there stays')
  t.alike(
    report.renamed.map(({ name }) => name),
    ['/A.txt', '/zoo']
  )
})

test('a name whose letters change case is no conflict, edited or not', async (t) => {
  const pair = await openPair(t, { readme: 'as it was', notes: 'before', 'Docs/one': '1' })
  if (pair === null) return
  await follow(pair)
  fs.renameSync(`${pair.root}/readme`, `${pair.root}/README`)
  fs.rmSync(`${pair.root}/notes`)
  fs.renameSync(`${pair.root}/Docs`, `${pair.root}/docs`)
  write(pair.root, { NOTES: 'after', 'docs/two': '2' })
  const report = await follow(pair)
  t.alike([report.conflicts, report.skipped, report.renamed], [[], [], []])
  t.alike(contentOf(pair), sourceOf(pair))
  t.is(filesIn(pair.dir).length, 4)
  t.is(fs.readFileSync(`${pair.dir}/Notes`, 'utf8'), 'after')
})

test('what the user made of a name whose letters change case is kept', async (t) => {
  const pair = await openPair(t, { readme: 'as it was' })
  if (pair === null) return
  await follow(pair)
  fs.writeFileSync(`${pair.dir}/readme`, 'edited here')
  fs.rmSync(`${pair.root}/readme`)
  write(pair.root, { README: 'another' })
  const report = await follow(pair)
  t.is(report.conflicts.length, 1)
  t.is(fs.readFileSync(`${pair.dir}/${report.conflicts[0]?.path ?? ''}`, 'utf8'), 'edited here')
  t.alike(contentOf(pair), { '/README': 'another' })
})

test('names that fold come and go at random', async (t) => {
  const pair = await openPair(t, { first: 'one' })
  if (pair === null) return
  const next = random(Number(process.env['SEED'] ?? 5))
  const pick = (list: readonly string[]): string => list[next(list.length)] as string
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < 4; i++) {
      const file = pick(['a', 'A', 'b', 'B', 'd/x', 'D/x', 'D/X', 'd/Y', 'D/y'])
      if (next(3) === 0) fs.rmSync(`${pair.root}/${file}`, { force: true })
      else write(pair.root, { [file]: pick(['same', `${round}.${i}`]) })
    }
    const report = await follow(pair)
    t.alike([report.conflicts, report.skipped], [[], []], `round ${round}`)
    t.alike(contentOf(pair), sourceOf(pair), 'each name has its own content')
    t.is(filesIn(pair.dir).length, filesIn(pair.root).length, 'nothing is left over')
  }
})
