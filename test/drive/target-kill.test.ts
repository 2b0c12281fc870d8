import test from 'brittle'
import fs from 'node:fs'
import { isSynclineError } from '../../lib/errors.ts'
import { EXACT_NAMES, FileNames } from '../../lib/drive/folder/file-names.ts'
import { type SystemCalls, systemCalls } from '../../lib/drive/folder/system-calls.ts'
import { Target } from '../../lib/drive/folder/target.ts'
import { Trash } from '../../lib/drive/folder/trash.ts'

const CHANGING = new Set<string>(['copyFile', 'fchmodSync', 'futimesSync', 'linkSync'])
for (const call of ['lutimesSync', 'mkdirSync', 'openSync', 'renameSync', 'rmdirSync']) {
  CHANGING.add(call)
}
for (const call of ['rmSync', 'symlinkSync', 'unlinkSync', 'writeSync', 'fsync']) CHANGING.add(call)

/** Calls of a process that is killed before its `step`-th change; half of a write is done. */
function killedAt(step: number): { calls: SystemCalls; steps: () => number } {
  let steps = 0
  const calls = Object.fromEntries(
    Object.entries(systemCalls).map(([name, call]) => [
      name,
      (...args: unknown[]): unknown => {
        if (CHANGING.has(name) && steps++ >= step) {
          const [fd, bytes] = args as [number, Uint8Array]
          if (name === 'writeSync' && steps === step + 1) {
            fs.writeSync(fd, bytes, 0, bytes.byteLength >> 1)
          }
          const error = Object.assign(new Error('killed'), { code: 'EIO' })
          if (!['copyFile', 'fsync'].includes(name)) throw error
          return (args.at(-1) as (error: Error) => void)(error)
        }
        if (name === 'renameSync' && isAcross(args as [string, string])) {
          throw Object.assign(new Error('EXDEV'), { code: 'EXDEV' })
        }
        return (call as (...args: unknown[]) => unknown)(...args)
      }
    ])
  )
  return { calls: calls as unknown as SystemCalls, steps: () => steps }
}

/** Folders named `mnt` stand for other file systems. */
function isAcross([from, to]: [string, string]): boolean {
  return from.includes('/mnt/') !== to.includes('/mnt/')
}

function tree(folder: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = `${entry.parentPath}/${entry.name}`
    if (entry.isFile()) found[path.slice(folder.length)] = fs.readFileSync(path, 'utf8')
    if (entry.isSymbolicLink()) found[path.slice(folder.length)] = fs.readlinkSync(path)
  }
  return found
}

for (const folder of ['/d', '/mnt']) {
  test(`killed between any two steps in ${folder}, each file is the old or the new one and nothing is left`, async (t) => {
    let isDone = false
    for (let step = 0; !isDone; step++) {
      const root = fs.realpathSync(await t.tmp())
      fs.mkdirSync(`${root}/.syncline/incoming`, { recursive: true })
      fs.mkdirSync(root + folder)
      for (const name of ['a', 'b', 'c', 'e'])
        fs.writeFileSync(`${root}${folder}/${name}`, `old ${name}`)
      fs.writeFileSync(`${root}/.syncline/incoming/received`, 'new b')
      const { calls, steps } = killedAt(step)
      try {
        const trash = new Trash(`${root}/.syncline/trash`, calls)
        const target = new Target(root, { names: new FileNames(EXACT_NAMES), trash, calls })
        const old = { blob: null, timeMs: 1 }
        await target.write(`${folder}/a`, Buffer.from('new a'), {
          mtimeMs: 5,
          old: { ...old, name: `${folder}/a` }
        })
        await target.place(`${root}/.syncline/incoming/received`, `${folder}/b`, { mode: 0o640 })
        await target.link(`${folder}/c`, 'new c', { mtimeMs: 5 })
        await target.write(`${folder}/n/new`, Buffer.from('new'), { fsync: true })
        await target.remove(`${folder}/e`, { old: { ...old, name: `${folder}/e` } })
        const folders = target.newFolders()
        for (const name of ['m/1', 'm/k/2']) {
          folders.add(`${folder.slice(1)}/${name}`, Buffer.from(`new ${name}`), { mtimeMs: 5 })
        }
        folders.settle()
        await target.remove(`${folder}/n/new`, { mayRemove: (name) => name !== folder })
        isDone = steps() <= step
      } catch (error) {
        if (!isSynclineError(error, 'STORAGE_FAILED')) throw error
      }
      const trash = new Trash(`${root}/.syncline/trash`)
      new Target(root, { names: new FileNames(EXACT_NAMES), trash }).sweep()
      const found = tree(root)
      const kept = trash.list().map(({ name, path }) => [name, fs.readFileSync(path, 'utf8')])
      for (const name of ['a', 'b', 'c', 'e']) {
        const content = found[`${folder}/${name}`]
        const isKept = kept.some(([at, old]) => at === `${folder}/${name}` && old === `old ${name}`)
        const isOld = content === `old ${name}`
        const isNew = content === `new ${name}` && (name !== 'a' || isKept)
        const isGone = name === 'e' && content === undefined && isKept
        if (!isOld && !isNew && !isGone) t.fail(`step ${step}: ${name} is ${content}`)
      }
      const received = found['/.syncline/incoming/received']
      if (received !== 'new b' && found[`${folder}/b`] !== 'new b') t.fail(`step ${step}: lost`)
      const known = new RegExp(
        `^(?:${folder}/([abce]|n/new|m/1|m/k/2)|/\\.syncline/(incoming/received|trash/.*\\.old))$`
      )
      for (const path of Object.keys(found)) if (!known.test(path)) t.fail(`step ${step}: ${path}`)
      if (found[`${folder}/n/new`] !== undefined) t.is(found[`${folder}/n/new`], 'new')
      for (const name of ['m/1', 'm/k/2']) {
        const content = found[`${folder}/${name}`] ?? `new ${name}`
        if (content !== `new ${name}`) t.fail(`step ${step}: ${name} is ${content}`)
      }
      if (isDone) t.ok(step > 20, `${step} steps`)
    }
  })
}

test('a sweep leaves files that are being received, and looks into no link', async (t) => {
  const root = fs.realpathSync(await t.tmp())
  const outside = fs.realpathSync(await t.tmp())
  const target = new Target(root, { names: new FileNames(EXACT_NAMES) })
  const folder = `${root}/.syncline/incoming`
  fs.symlinkSync(outside, `${root}/out`)
  fs.writeFileSync(`${outside}/.syncline-1-1`, '')
  fs.writeFileSync(`${root}/file`, '')
  fs.writeFileSync(`${folder}/received`, '')
  const notes = ['out/.syncline-1-1', '../.syncline-1-1', 'file', 'missing/.syncline-1-1', '', '/']
  for (const [i, text] of notes.entries()) fs.writeFileSync(`${folder}/note-1-${i}`, text)
  t.is(target.sweep(), notes.length)
  t.alike(fs.readdirSync(folder), ['received'])
  t.alike(fs.readdirSync(outside), ['.syncline-1-1'])
  t.ok(fs.existsSync(`${root}/file`))
})

test('on a full disk the old file stays whole and the temporary one is taken away', async (t) => {
  for (const failing of [
    'openSync',
    'writeSync',
    'renameSync',
    'symlinkSync',
    'mkdirSync'
  ] as const) {
    const root = fs.realpathSync(await t.tmp())
    let isFull = false
    const full = (name: 'openSync' | 'writeSync' | 'renameSync' | 'symlinkSync' | 'mkdirSync') => ({
      [name]: (...args: unknown[]): unknown => {
        if (isFull) {
          if (name === 'writeSync') fs.writeSync(args[0] as number, 'ha')
          throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
        }
        return (systemCalls[name] as (...args: unknown[]) => unknown)(...args)
      }
    })
    const calls = { ...systemCalls, ...full(failing) } as SystemCalls
    const target = new Target(root, { names: new FileNames(EXACT_NAMES), calls })
    const content = Buffer.alloc(100_000, 1)
    await target.write('/a', content)
    const received = `${root}/.syncline/incoming/received`
    fs.writeFileSync(received, 'x')
    isFull = true
    const attempts: Record<typeof failing, () => Promise<unknown>> = {
      openSync: () => target.write('/a', Buffer.from('half')),
      writeSync: () => target.write('/a', Buffer.from('half')),
      renameSync: () => target.place(received, '/a'),
      symlinkSync: () => target.link('/a', 'x'),
      mkdirSync: () => target.write('/d/a', Buffer.from('half'))
    }
    try {
      await attempts[failing]()
      t.fail(failing)
    } catch (error) {
      if (!isSynclineError(error, 'DISK_FULL')) throw error
      t.is(error.details.path, failing === 'mkdirSync' ? `${root}/d` : `${root}/a`)
    }
    t.alike(fs.readFileSync(`${root}/a`), content)
    t.alike(fs.readdirSync(`${root}/.syncline/incoming`), ['received'])
    isFull = false
    t.is((await target.write('/a', Buffer.from('later'))).verdict, 'done')
  }
})

test('a write that the system takes in parts is completed', async (t) => {
  const root = fs.realpathSync(await t.tmp())
  const calls = {
    ...systemCalls,
    writeSync: (fd: number, bytes: Uint8Array, at: number) => fs.writeSync(fd, bytes, at, 1)
  } as SystemCalls
  const target = new Target(root, { names: new FileNames(EXACT_NAMES), calls })
  await target.write('/a', Buffer.from('parts'))
  t.is(fs.readFileSync(`${root}/a`, 'utf8'), 'parts')
})
