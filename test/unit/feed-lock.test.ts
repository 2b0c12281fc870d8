import test from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { isSynclineError } from '../../lib/errors.ts'
import { lockByPid } from '../../lib/feed/file/feed-lock.ts'

test('without locks of the system, a file with the pid keeps a feed to one process', async (t) => {
  const folder = await t.tmp()
  const script = fileURLToPath(
    new URL(`../fixtures/hold-lock${path.extname(import.meta.url)}`, import.meta.url)
  )
  const child = spawn(process.execPath, [...process.execArgv, script, folder], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
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

test('a lock file whose process is gone, or whose number was given again, is taken over', async (t) => {
  const folder = await t.tmp()
  for (const text of [`${process.pid} 1\n`, `${process.ppid} 1\n`, 'nothing\n', '']) {
    // Where the system does not tell when a process began, a living one counts as the owner.
    if (process.platform !== 'linux' && text.startsWith(`${process.ppid} `)) continue
    await writeFile(path.join(folder, 'lock'), text)
    await (
      await lockByPid(folder)
    )()
    t.alike(await readdir(folder), [])
  }
})
