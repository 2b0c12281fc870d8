import test from 'brittle'
import {
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  watch as systemWatch,
  writeFileSync,
  type Dirent
} from 'node:fs'
import {
  watchFolder,
  type Watch,
  type WatchEvent,
  type WatchOptions
} from '../../lib/drive/folder/watch.ts'
import { systemReader } from '../../lib/drive/folder/reader.ts'
import type { PathWatch, WatchPath } from '../../lib/drive/folder/watch-target.ts'
import { WATCHED_NAMES_MAX, WATCHES_MAX } from '../../lib/limits.ts'

interface Test {
  tmp(): Promise<string>
  teardown(run: () => unknown, options?: { order?: number }): void
}

/** No rescans unless asked for, and short pauses. */
const QUICK: WatchOptions = { settleMs: 30, rescanMs: Infinity, recursive: false }

/** Watches of which the test says what they see. */
class Source {
  readonly opened: string[] = []
  readonly watchPath: WatchPath = (at, { recursive }, onEvent) => {
    this.opened.push(recursive ? `${at} recursive` : at)
    this.emit = onEvent
    return { on: (_, onError) => (this.fail = onError), close: () => {} }
  }
  /** Of the last watch. */
  emit: (event: string, name: string | null) => void = unopened
  fail: (error: Error) => void = unopened
}

/** `watch`, and `onClose` is called when it is closed. */
function counted(watch: PathWatch, onClose: () => void): PathWatch {
  return {
    on: (event, onError) => watch.on(event, onError),
    close() {
      onClose()
      watch.close()
    }
  }
}

function unopened(): void {
  throw new Error('there is no watch')
}

/** Collects what a watch tells. */
class Listener {
  readonly watch: Watch
  readonly seen = new Set<string>()
  readonly events: WatchEvent[] = []
  readonly #done: Promise<void>
  #wake: () => void = () => {}

  constructor(t: Test, root: string, options: WatchOptions = {}) {
    this.watch = watchFolder(root, { ...QUICK, ...options })
    this.#done = this.#listen()
    t.teardown(() => this.close(), { order: -1 })
  }

  async close(): Promise<void> {
    this.watch.close()
    await this.#done
  }

  /** Waits until all `names` were told, or an event of that type was. */
  async until(...wanted: string[]): Promise<void> {
    const isThere = (name: string): boolean =>
      this.seen.has(name) || this.events.some(({ type }) => type === name)
    while (!wanted.every(isThere)) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  forget(): void {
    this.seen.clear()
    this.events.length = 0
  }

  async #listen(): Promise<void> {
    for await (const event of this.watch) {
      this.events.push(event)
      if (event.type === 'changed') for (const name of event.names) this.seen.add(name)
      this.#wake()
    }
  }
}

async function listen(t: Test, root: string, options?: WatchOptions): Promise<Listener> {
  const listener = new Listener(t, root, options)
  await listener.watch.ready
  return listener
}

test('watch: files that come, change and go are told', async (t) => {
  const root = await t.tmp()
  mkdirSync(`${root}/a/b`, { recursive: true })
  writeFileSync(`${root}/a/b/old`, '')
  writeFileSync(`${root}/gone`, '')
  const listener = await listen(t, root)
  writeFileSync(`${root}/new file`, '')
  writeFileSync(`${root}/a/b/old`, 'x')
  unlinkSync(`${root}/gone`)
  symlinkSync('..', `${root}/a/link`)
  await listener.until('/new file', '/a/b/old', '/gone', '/a/link')
  t.pass()
})

test('watch: new folders are followed, with what was in them before anybody saw them', async (t) => {
  const root = await t.tmp()
  const listener = await listen(t, root)
  mkdirSync(`${root}/x/y/z`, { recursive: true })
  writeFileSync(`${root}/x/y/z/early`, '')
  await listener.until('/x')
  writeFileSync(`${root}/x/y/z/late`, '')
  await listener.until('/x/y/z/late')
  t.pass()
})

test('watch: moved, removed and replaced folders are followed under their new names', async (t) => {
  const root = await t.tmp()
  mkdirSync(`${root}/a/b`, { recursive: true })
  mkdirSync(`${root}/other`)
  let open = 0
  const watchPath: WatchPath = (at, options, onEvent) => {
    open++
    return counted(systemWatch(at, options, onEvent), () => open--)
  }
  const listener = await listen(t, root, { watchPath })
  renameSync(`${root}/a`, `${root}/c`)
  await listener.until('/a', '/c')
  writeFileSync(`${root}/c/b/file`, '')
  await listener.until('/c/b/file')
  rmSync(`${root}/c`, { recursive: true })
  mkdirSync(`${root}/c/b`, { recursive: true })
  listener.forget()
  await listener.until('/c')
  writeFileSync(`${root}/c/b/again`, '')
  await listener.until('/c/b/again')
  rmSync(`${root}/other`, { recursive: true })
  await listener.until('/other')
  t.absent(listener.events.some(({ type }) => type !== 'changed'))
  t.is(open, 3, 'the root, c and c/b')
})

test('watch: state folders and what is ignored are neither watched nor told', async (t) => {
  const root = await t.tmp()
  for (const folder of ['.syncline/index', 'node_modules/x', 'kept']) {
    mkdirSync(`${root}/${folder}`, { recursive: true })
  }
  writeFileSync(`${root}/.synclineignore`, 'node_modules/\n*.log\n')
  const watched: string[] = []
  const watchPath: WatchPath = (at, options, onEvent) => {
    watched.push(at.slice(root.length))
    return systemWatch(at, options, onEvent)
  }
  const listener = await listen(t, root, { watchPath })
  t.alike(watched, ['', '/kept'])
  for (const name of [
    '.syncline/index/log',
    '.syncline/config',
    'node_modules/x/y',
    'a.log',
    'kept/b.log'
  ]) {
    writeFileSync(`${root}/${name}`, '')
  }
  mkdirSync(`${root}/kept/node_modules`)
  rmSync(`${root}/a.log`)
  writeFileSync(`${root}/kept/last`, '')
  await listener.until('/kept/last')
  t.alike([...listener.seen], ['/kept/last'])
})

test('watch: stores are neither watched nor told, and one may come later', async (t) => {
  const root = await t.tmp()
  mkdirSync(`${root}/a/store/drives`, { recursive: true })
  const watched: string[] = []
  const watchPath: WatchPath = (at, options, onEvent) => {
    watched.push(at.slice(root.length))
    return systemWatch(at, options, onEvent)
  }
  const stores = [`${root}/a/store`, `${root}/later`]
  const listener = await listen(t, root, { watchPath, stores })
  t.alike(watched, ['', '/a'])
  writeFileSync(`${root}/a/store/drives/key.json`, '')
  mkdirSync(`${root}/a/store/cores`)
  mkdirSync(`${root}/later/drives`, { recursive: true })
  writeFileSync(`${root}/a/last`, '')
  await listener.until('/a/last')
  t.alike([...listener.seen], ['/a/last'])
  t.alike(watched, ['', '/a'])
})

test('watch: everything may have changed with the rules', async (t) => {
  const root = await t.tmp()
  mkdirSync(`${root}/build`)
  writeFileSync(`${root}/.synclineignore`, 'build\n')
  const listener = await listen(t, root)
  writeFileSync(`${root}/.synclineignore`, '')
  await listener.until('everything')
  writeFileSync(`${root}/build/file`, '')
  await listener.until('/build/file')
  t.pass()
})

test('watch: more changes than can be told apart are told as everything', async (t) => {
  const root = await t.tmp()
  const source = new Source()
  const listener = await listen(t, root, { watchPath: source.watchPath })
  for (let index = 0; index <= WATCHED_NAMES_MAX; index++) source.emit('change', `file-${index}`)
  await listener.until('everything')
  t.is(listener.seen.size, 0)
  listener.forget()
  source.emit('change', null)
  await listener.until('everything')
  t.is(listener.seen.size, 0)
})

test('watch: changes without an end are told all the same', async (t) => {
  const root = await t.tmp()
  const source = new Source()
  const listener = await listen(t, root, { watchPath: source.watchPath, settleMs: 1000 })
  const timer = setInterval(() => source.emit('change', 'busy'), 100)
  t.teardown(() => clearInterval(timer))
  await listener.until('/busy')
  t.pass()
})

test('watch: a root that goes away is told, and seen again when it is back', async (t) => {
  const root = `${await t.tmp()}/root`
  mkdirSync(root)
  const listener = await listen(t, root, { rescanMs: 200 })
  renameSync(root, `${root}-away`)
  await listener.until('everything')
  mkdirSync(root)
  listener.forget()
  await listener.until('everything')
  listener.forget()
  writeFileSync(`${root}/file`, '')
  await listener.until('/file')
  t.pass()
})

for (const code of ['ENOSPC', 'EMFILE']) {
  for (const recursive of [false, true]) {
    test(`watch: ${code} is told once, then only rescans follow (recursive: ${recursive})`, async (t) => {
      const root = await t.tmp()
      for (const folder of ['a', 'b', 'c']) mkdirSync(`${root}/${folder}`)
      let open = 0
      const watchPath: WatchPath = (at, options, onEvent) => {
        if (recursive || open === 2) throw Object.assign(new Error(code), { code })
        open++
        return counted(systemWatch(at, options, onEvent), () => open--)
      }
      const listener = await listen(t, root, { watchPath, recursive, rescanMs: 50 })
      await listener.until('unwatched', 'everything')
      listener.forget()
      writeFileSync(`${root}/file`, '')
      await listener.until('everything')
      t.is(open, 0, 'no watch is kept')
      t.ok(listener.events.every(({ type }) => type === 'everything'))
    })
  }
}

test('watch: watches that run out later are told, and nothing is lost', async (t) => {
  const root = await t.tmp()
  let full = false
  const watchPath: WatchPath = (at, options, onEvent) => {
    if (full) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
    return systemWatch(at, options, onEvent)
  }
  const listener = await listen(t, root, { watchPath })
  full = true
  mkdirSync(`${root}/folder`)
  await listener.until('everything', 'unwatched')
  t.alike(
    listener.events.map(({ type }) => type),
    ['everything', 'unwatched']
  )
})

test('watch: the number of watches is bounded', { timeout: 60_000 }, async (t) => {
  const root = await t.tmp()
  let open = 0
  const folders = Array.from({ length: 200 }, (_, index) => ({
    name: `folder-${index}`,
    isDirectory: () => true
  })) as unknown as Dirent[]
  const listener = await listen(t, root, {
    watchPath() {
      open++
      return { on: () => {}, close: () => open-- }
    },
    // More than there may be, two folders deep.
    reader: {
      ...systemReader,
      list: (at) => (at.slice(root.length).split('/').length < 3 ? folders : [])
    }
  })
  await listener.until('unwatched')
  t.alike(listener.events, [{ type: 'unwatched', code: 'TOO_MANY' }])
  t.ok(folders.length ** 2 > WATCHES_MAX)
  t.is(open, 0)
})

test('watch: where one watch sees a tree, its names are told without what is ignored', async (t) => {
  const root = await t.tmp()
  mkdirSync(`${root}/a/logs`, { recursive: true })
  writeFileSync(`${root}/a/.synclineignore`, 'logs/\n')
  const source = new Source()
  const listener = await listen(t, root, {
    watchPath: source.watchPath,
    recursive: true,
    stores: [`${root}/c/store`]
  })
  t.alike(source.opened, [`${root} recursive`])
  const told = [
    'a/b',
    'a/logs/x',
    '.syncline/config',
    'c/.syncline/x',
    'c/store',
    'c/store/y',
    'c/d'
  ]
  for (const name of told) source.emit('rename', name)
  await listener.until('/c/d')
  t.alike([...listener.seen], ['/a/b', '/c/d'])
  source.emit('change', 'a/.synclineignore')
  await listener.until('everything')
  t.is(source.opened.length, 2)
})

test('watch: a watch that fails is no longer relied on', async (t) => {
  const root = await t.tmp()
  const source = new Source()
  const listener = await listen(t, root, { watchPath: source.watchPath, recursive: true })
  source.fail(Object.assign(new Error('EIO'), { code: 'EIO' }))
  await listener.until('unwatched')
  t.alike(listener.events, [{ type: 'unwatched', code: 'EIO' }])
})

test('watch: many nudges are told as one, and keep back no change', async (t) => {
  const root = await t.tmp()
  const source = new Source()
  const listener = await listen(t, root, { watchPath: source.watchPath })
  for (let i = 0; i < 1000; i++) listener.watch.nudge()
  await listener.until('nudged')
  t.is(listener.events.length, 1)
  source.emit('change', 'file')
  const nudging = setInterval(() => listener.watch.nudge(), 1)
  await listener.until('/file')
  clearInterval(nudging)
  t.pass()
})

test('watch: closing ends the iteration, and ending the iteration closes', async (t) => {
  const root = await t.tmp()
  let open = 0
  let opened = 0
  const watchPath: WatchPath = (at, options, onEvent) => {
    opened++
    open++
    return counted(systemWatch(at, options, onEvent), () => open--)
  }
  const listener = await listen(t, root, { watchPath })
  await listener.close()
  await listener.close()
  t.alike({ open, opened }, { open: 0, opened: 1 })
  const watch = watchFolder(root, { ...QUICK, watchPath, rescanMs: 1 })
  for await (const event of watch) {
    t.is(event.type, 'everything')
    break
  }
  t.is(open, 0)
})
