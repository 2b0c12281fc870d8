import test, { type Assertions } from 'brittle'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { isSynclineError } from '../../lib/errors.ts'
import { lockByPid } from '../../lib/feed/file/feed-lock.ts'
import { errorOf } from '../fixtures/error-of.ts'

test('without locks of the system, a file with the pid keeps a feed to one process', async (t) => {
  const folder = await t.tmp()
  const child = holder(t, folder)
  await once(child.stdout, 'data')
  try {
    await lockByPid(folder)
    t.fail('the other process has it')
  } catch (error) {
    if (!isSynclineError(error, 'FEED_LOCKED')) throw error
    t.is(error.details.pid, child.pid)
  }
  child.kill('SIGKILL')
  await once(child, 'exit')
  const release = await lockByPid(folder)
  t.alike(await readdir(folder), ['lock'])
  await release()
  t.alike(await readdir(folder), [])
})

test('a lock file that is just being made is not taken over', async (t) => {
  const folder = await t.tmp()
  await writeFile(path.join(folder, 'lock'), '')
  const error = await errorOf(lockByPid(folder))
  t.is(error?.code, 'FEED_LOCKED')
  t.alike(await readdir(folder), ['lock'])
})

test('of several processes that find the lock of one that is gone, one takes it', async (t) => {
  const folder = await t.tmp()
  await writeFile(path.join(folder, 'lock'), `${process.pid} 1\n`)
  const outcomes = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = holder(t, folder)
      const [outcome] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])
      return String(outcome).trim()
    })
  )
  t.is(outcomes.filter((outcome) => outcome === 'ready').length, 1)
  t.alike(await readdir(folder), ['lock'])
})

test('a lock file whose process is gone, or whose number was given again, is taken over', async (t) => {
  const folder = await t.tmp()
  for (const text of [`${process.pid} 1\n`, `${process.ppid} 1\n`, 'nothing\n', '']) {
    // Where the system does not tell when a process began, a living one counts as the owner.
    if (process.platform !== 'linux' && text.startsWith(`${process.ppid} `)) continue
    const file = path.join(folder, 'lock')
    await writeFile(file, text)
    // Whoever made it without a word had a minute for it.
    const made = Date.now() / 1000 - 60
    await utimes(file, made, made)
    await (
      await lockByPid(folder)
    )()
    t.alike(await readdir(folder), [])
  }
})

/** A process that takes the lock, says so, and stays; or ends. */
function holder(t: Assertions, folder: string): ChildProcessByStdio<null, Readable, null> {
  const script = fileURLToPath(
    new URL(`../fixtures/hold-lock${path.extname(import.meta.url)}`, import.meta.url)
  )
  const child = spawn(process.execPath, [...process.execArgv, script, folder], {
    stdio: ['ignore', 'pipe', 'ignore']
  })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}
