import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { readFile, readlink, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import { Registry } from '../../lib/drive/registry.ts'
import { plant, serve, stage, type Stage } from './drive-stage.ts'
import { start, type Running } from './program.ts'

/** Seconds without anything from peers after which a share that waits in vain is given up. */
const PATIENCE = '3'

/** A clone that goes on until it is interrupted, at the moment in which all is there. */
async function liveClone(
  t: Assertions,
  { key, address }: Served,
  dir: string,
  store: string
): Promise<Running> {
  const net = ['--no-swarm', '--peer', address, '--storage', store]
  const running = start(['clone', key, dir, '--live', '--json', ...net])
  t.teardown(() => running.child.kill('SIGKILL'))
  await running.until(/"event":"updated"/)
  return running
}

interface Served {
  readonly running: Running
  readonly key: string
  readonly address: string
}

/** Starts `share --once` until a peer has all, at the moment in which it serves. */
async function shareUntil(
  t: Assertions,
  { store }: Stage,
  dir: string,
  publicKeys: readonly string[],
  flags: readonly string[] = []
): Promise<Served> {
  const wanted = publicKeys.flatMap((key) => ['--until-peer', key])
  const net = ['--no-swarm', '--listen', '127.0.0.1:0', '--storage', store]
  const running = start(['share', dir, '--once', ...wanted, '--json', ...flags, ...net])
  t.teardown(() => running.child.kill('SIGKILL'))
  const [, key = ''] = await running.until(/"event":"serving","key":"(\w+)"/)
  const [, address = ''] = running.stdout().match(/"address":"([^"]+)"/) ?? []
  return { running, key, address }
}

async function interrupt({ child, ended }: Running): Promise<number | null> {
  child.kill('SIGINT')
  return (await ended).exit
}

/** Where a link leads, or null if there is none. */
function linkAt(root: string, name: string): Promise<string | null> {
  return readlink(path.join(root, name)).catch(() => null)
}

test('keys peer prints a public key that stays, and is readable by its owner only', async (t) => {
  const { store, run } = await stage(t)
  const foreseen = await run('keys', 'peer', '-n')
  t.is(foreseen.exit, 0)
  t.absent(fs.existsSync(store), 'nothing was done')
  const first = await run('keys', 'peer')
  t.is(first.exit, 0, first.stderr)
  t.ok(/^[a-z0-9]{52}$/.test(first.text), first.text)
  t.is((await run('keys', 'peer')).text, first.text)
  t.is((await run('keys', 'peer', '-n')).text, first.text)
  const { publicKey, hex } = JSON.parse((await run('keys', 'peer', '--json')).text)
  t.is(publicKey, first.text)
  t.is(hex.length, 64)
  t.is((await stat(`${store}/peer/key.json`)).mode & 0o777, 0o600)
  t.alike(await readdir(`${store}/peer`), ['key.json'])
  const { secretKey } = JSON.parse(await readFile(`${store}/peer/key.json`, 'utf8'))
  fs.writeFileSync(`${store}/peer/key.json`, JSON.stringify({ publicKey: hex, secretKey: hex }))
  t.is((await run('keys', 'peer')).exit, 5, `no pair: ${secretKey.length}`)
})

test(
  'share --until-peer ends when that very peer has all; nobody else counts',
  { timeout: 120_000 },
  async (t) => {
    const place = await stage(t)
    const { tmp, run } = place
    const dir = path.join(tmp, 'photos')
    await plant(dir, { 'a.txt': 'one\n', 'sub/b.bin': randomBytes(300_000), empty: null })
    const stores = { wanted: `${tmp}/wanted`, other: `${tmp}/other` }
    const { text: wanted } = await run('keys', 'peer', '--storage', stores.wanted)
    const { text: other } = await run('keys', 'peer', '--storage', stores.other)
    t.not(wanted, other)

    // Others have all, and stay: it goes on until it is given up.
    const vain = await shareUntil(t, place, dir, [wanted], ['--timeout', PATIENCE])
    const stranger = await liveClone(t, vain, `${tmp}/strange`, `${tmp}/stranger`)
    const known = await liveClone(t, vain, `${tmp}/known`, stores.other)
    t.is(vain.running.child.exitCode, null, 'two peers have all')
    const { exit, stderr } = await vain.running.ended
    t.is(exit, 4, stderr)
    t.ok(stderr.includes('code: TIMEOUT'), stderr)
    t.absent(vain.running.stdout().includes('"event":"synced"'))
    t.is(await interrupt(stranger), 130)
    t.is(await interrupt(known), 130)

    const served = await shareUntil(t, place, dir, [wanted])
    const again = await liveClone(t, served, `${tmp}/known`, stores.other)
    t.is(served.running.child.exitCode, null)
    const copy = await liveClone(t, served, `${tmp}/copy`, stores.wanted)
    t.is((await served.running.ended).exit, 0)
    t.ok(served.running.stdout().includes('"event":"synced"'))
    t.is(await readFile(`${tmp}/copy/a.txt`, 'utf8'), 'one\n')

    // Both, in a later process of each: the keys are still theirs.
    t.is(await interrupt(again), 130)
    const both = await shareUntil(t, place, dir, [wanted, other])
    const net = ['--no-swarm', '--peer', both.address]
    t.is(await interrupt(copy), 130)
    const second = await liveClone(t, both, `${tmp}/copy`, stores.wanted)
    t.is(both.running.child.exitCode, null, 'one of two is missing')
    // A second process of a store is another peer, and says so.
    const more = start(['sync', both.key, ...net, '--json', '--storage', stores.wanted])
    t.teardown(() => more.child.kill('SIGKILL'))
    await more.until(/another process is known to peers by the public key/)
    const last = await liveClone(t, both, `${tmp}/known`, stores.other)
    t.is((await both.running.ended).exit, 0)
    for (const one of [second, more, last]) t.is(await interrupt(one), 130)
  }
)

test('clone --links: those that lead out are skipped and named, or made as they are', async (t) => {
  const { tmp, store, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  const outside = path.join(tmp, 'outside')
  await plant(outside, { secret: 'secret' })
  await plant(dir, { 'a.txt': 'one\n', 'sub/b.txt': 'two\n' })
  const inner = { link: 'a.txt', 'sub/up': '../a.txt', dangling: 'nowhere' }
  const outer = {
    absolute: path.join(outside, 'secret'),
    'sub/escaping': '../../outside/secret',
    folder: outside,
    parent: '..'
  }
  for (const [name, to] of Object.entries({ ...inner, ...outer })) {
    await symlink(to, path.join(dir, name))
  }
  const { key, peer } = await serve(t, store, dir)
  const cloned = (to: string, ...flags: string[]) =>
    run('clone', key, to, '--no-swarm', '--peer', peer, '--storage', `${to}-store`, ...flags)

  const careful = path.join(tmp, 'careful')
  for (const command of [() => cloned(careful), () => cloned(careful)]) {
    const { exit, stderr, text } = await command()
    t.is(exit, 1, text)
    t.ok(stderr.includes('4 skipped'), stderr)
    for (const name of Object.keys(outer)) t.ok(stderr.includes(`/${name}: `), name)
    for (const name of Object.keys(inner)) t.absent(stderr.includes(`/${name}: `), name)
  }
  for (const name of Object.keys(outer)) t.is(await linkAt(careful, name), null, name)
  for (const [name, to] of Object.entries(inner)) t.is(await linkAt(careful, name), to, name)
  t.is(await readFile(path.join(careful, 'sub/b.txt'), 'utf8'), 'two\n')

  const all = path.join(tmp, 'all')
  const whole = await cloned(all, '--links', 'all')
  t.is(whole.exit, 0, whole.stderr)
  for (const [name, to] of Object.entries({ ...inner, ...outer })) {
    t.is(await linkAt(all, name), to, name)
  }
  t.alike(await readdir(outside), ['secret'], 'nothing came through a link')
  t.is(await readFile(path.join(outside, 'secret'), 'utf8'), 'secret')

  // It is a choice of the folder: a pull keeps it, and one that is made later is taken up.
  const net = ['--no-swarm', '--peer', peer]
  t.is((await run('pull', all, ...net, '--storage', `${all}-store`)).exit, 0)
  const later = await cloned(careful, '--links', 'all')
  t.is(later.exit, 0, later.stderr)
  for (const [name, to] of Object.entries(outer)) t.is(await linkAt(careful, name), to, name)
})

test('clone --fsync has each file and its folder on the disk; without it none waits', async (t) => {
  const { tmp, store, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  const large = randomBytes(3_000_000)
  const files = { 'a.txt': 'one\n', 'sub/b.bin': 'two\n', 'sub/deep/large.bin': large, nil: '' }
  await plant(dir, files)
  const { key, peer } = await serve(t, store, dir)
  const inodes = new Map<string, string>()
  const synced = await watchSyncs(t)
  for (const flags of [['--fsync'], []]) {
    synced.clear()
    const copy = path.join(tmp, `copy${flags.length}`)
    const net = ['--no-swarm', '--peer', peer, '--storage', `${copy}-store`]
    const { exit, stderr } = await run('clone', key, copy, ...flags, ...net)
    t.is(exit, 0, stderr)
    for (const [name, content] of Object.entries(files)) {
      t.ok((await readFile(path.join(copy, name))).equals(Buffer.from(content)), name)
    }
    for (const name of [...Object.keys(files), '.', 'sub', 'sub/deep']) {
      const { dev, ino } = await stat(path.join(copy, name))
      inodes.set(`${dev}:${ino}`, name)
    }
    const names = [...inodes].filter(([inode]) => synced.has(inode)).map(([, name]) => name)
    const all = [...Object.keys(files), '.', 'sub', 'sub/deep']
    t.alike(names.sort(), flags.length === 0 ? [] : all.sort(), `syncs with ${flags.join()}`)
    inodes.clear()
  }
})

/** Notes whatever is brought to the disk through a descriptor or a handle, as device and inode. */
async function watchSyncs(t: Assertions): Promise<Set<string>> {
  const synced = new Set<string>()
  const note = (fd: number): void => {
    const { dev, ino } = fs.fstatSync(fd)
    synced.add(`${dev}:${ino}`)
  }
  const { fsync, fdatasync } = fs
  const noting = (call: typeof fsync): typeof fsync =>
    ((fd: number, done: fs.NoParamCallback) => {
      note(fd)
      call(fd, done)
    }) as typeof fsync
  Object.assign(fs, { fsync: noting(fsync), fdatasync: noting(fdatasync) })
  // Folders are synced through handles, whose class has no name of its own.
  const handle = await fs.promises.open(import.meta.filename)
  const handles = Object.getPrototypeOf(handle) as fs.promises.FileHandle
  await handle.close()
  const sync: (this: fs.promises.FileHandle) => Promise<void> = Reflect.get(handles, 'sync')
  handles.sync = function (this: fs.promises.FileHandle) {
    note(this.fd)
    return sync.call(this)
  }
  t.teardown(() => {
    Object.assign(fs, { fsync, fdatasync })
    handles.sync = sync
  })
  return synced
}

test('an encryption key that was given once stays, whoever clones the drive again', async (t) => {
  const { tmp, store, run } = await stage(t)
  const secret = '11'.repeat(32)
  const key = Buffer.alloc(32, 0xab)
  const nobody = ['--no-swarm', '--peer', '127.0.0.1:1', '--timeout', '0.3']
  const clone = (dir: string, ...flags: string[]): Promise<{ exit: number }> =>
    run('clone', key.toString('hex'), path.join(tmp, dir), ...flags, ...nobody)
  const stored = async (): Promise<string | null> => {
    const drive = await new Registry(store).get(key)
    return drive?.encryptionKey == null ? null : Buffer.from(drive.encryptionKey).toString('hex')
  }
  t.is((await clone('late')).exit, 4)
  t.is(await stored(), null)
  t.is((await clone('late', '--encryption-key', secret)).exit, 4)
  t.is(await stored(), secret, 'it was missing')
  t.is((await clone('second')).exit, 4)
  t.is(await stored(), secret)
  const empty = await run(
    'ls',
    path.join(tmp, 'second'),
    '--peer',
    '127.0.0.1:1',
    '--timeout',
    '0.3'
  )
  t.is(empty.exit, 4, 'a clone that has nothing yet lists nothing')
})

test('an encryption key stays as long as a folder needs it', { timeout: 60_000 }, async (t) => {
  const { tmp, store, run } = await stage(t)
  const dir = path.join(tmp, 'dir')
  await plant(dir, { file: 'one' })
  const secret = '11'.repeat(32)
  const { shared, key, peer } = await serve(t, path.join(tmp, 'other'), dir, {
    encryptionKey: Buffer.from(secret, 'hex')
  })
  const net = ['--no-swarm', '--peer', peer, '--timeout', '20']
  const [first, second] = [path.join(tmp, 'first'), path.join(tmp, 'second')]
  t.is((await run('clone', key, first, '--encryption-key', secret, ...net)).exit, 0)
  t.is((await run('clone', key, second, ...net)).exit, 0, 'what was given is known')
  t.is((await run('ls', 'first')).text, (await run('ls', 'second')).text, 'both by their names')
  t.is((await run('unshare', second)).exit, 0)
  const pulled = await run('pull', first, ...net)
  t.is(pulled.exit, 0, pulled.stderr)
  t.is((await run('unshare', first)).exit, 0)
  t.is(await new Registry(store).get(shared.key), null, 'with the last one it goes')
})

test('the key pair of a share goes, and what decrypts it stays for a clone', async (t) => {
  const { tmp, store, run } = await stage(t)
  const dir = path.join(tmp, 'dir')
  const copy = path.join(tmp, 'copy')
  await plant(dir, { file: 'one' })
  const { shared, key, peer } = await serve(t, store, dir, { encryptionKey: Buffer.alloc(32, 1) })
  const net = ['--no-swarm', '--peer', peer, '--timeout', '20']
  t.is((await run('clone', key, copy, ...net)).exit, 0)
  await shared.close()
  const done = await run('unshare', dir)
  t.ok(done.text.includes('secret key is gone'), done.text)
  const left = await new Registry(store).get(shared.key)
  t.alike([left?.kind, left?.folder, left?.keyPair], ['clone', copy, null])
  t.is((await run('cat', copy, 'file')).text, 'one')
  t.ok((await run('unshare', copy)).text.includes('no longer a clone'))
  t.alike(await new Registry(store).list(), [])
})

test('a drive is not encrypted anew; the command for the other side holds its key', async (t) => {
  const place = await stage(t)
  const { tmp, run, fails } = place
  const [open, closed] = [path.join(tmp, 'open'), path.join(tmp, 'closed')]
  await plant(open, { file: 'one' })
  await plant(closed, { file: 'two' })
  const secret = '11'.repeat(32)
  t.is((await run('share', open, '--once')).exit, 0)
  const refused = await fails(6, 'share', open, '--once', '--encryption-key', secret)
  t.ok(refused.includes('is not encrypted'), refused)
  t.is((await run('share', closed, '--once', '--encryption-key', secret)).exit, 0)
  const other = await fails(6, 'share', closed, '--once', '--encryption-key', '22'.repeat(32))
  t.ok(other.includes('another key'), other)
  t.is((await run('share', closed, '--once', '--encryption-key', secret)).exit, 0)
  const served = await shareUntil(t, place, closed, ['y'.repeat(51) + 'o'])
  t.ok(served.running.stdout().includes(`--encryption-key ${secret}`), served.running.stdout())
  await interrupt(served.running)

  t.is((await run('mirror', open, 'drive')).exit, 0)
  await fails(6, 'mirror', open, 'drive', '--encryption-key', secret)
})

test('share --copy stores what is there, and takes in what was edited since', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'dir')
  await plant(dir, { 'a.txt': 'one', 'b.txt': 'two' })
  t.is((await run('share', dir, '--once')).exit, 0)
  await writeFile(path.join(dir, 'a.txt'), 'one, edited')
  const copied = await run('share', dir, '--once', '--copy')
  t.is(copied.exit, 0, copied.stderr)
  await rm(path.join(dir, 'b.txt'))
  t.is((await run('cat', dir, 'b.txt')).text, 'two', 'it is in the store')
  t.is((await run('cat', dir, 'a.txt')).text, 'one, edited')
})

test('--trash keeps again what --no-trash stopped keeping', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, { 'a.txt': 'one' })
  const { key, peer } = await serve(t, path.join(tmp, 'other'), dir)
  const copy = path.join(tmp, 'copy')
  const keep = async (...argv: string[]): Promise<unknown> => {
    const result = await run(...argv, '--no-swarm', '--peer', peer, '--timeout', '20')
    t.is(result.exit, 0, result.stderr)
    return JSON.parse(await readFile(path.join(copy, '.syncline/config'), 'utf8')).keep
  }
  t.is(await keep('clone', key, copy, '--keep', '90d'), '90d')
  t.is(await keep('pull', copy, '--trash'), '90d')
  t.is(await keep('pull', copy, '--no-trash'), '0')
  t.is(await keep('pull', copy), '0')
  t.is(await keep('pull', copy, '--trash'), '30d,10%')
})
