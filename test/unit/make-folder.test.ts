import fs from 'node:fs'
import path from 'node:path'
import test from 'brittle'
import { makeFolder } from '../../lib/feed/file/make-folder.ts'

test('folders are made with those above them', async (t) => {
  const root = await t.tmp()
  const folder = path.join(root, 'a/b/c')
  t.is(await makeFolder(folder, 0o700), path.join(root, 'a'))
  for (const name of ['a', 'a/b', 'a/b/c']) {
    const { mode } = fs.statSync(path.join(root, name))
    if (process.platform !== 'win32') t.is(mode & 0o777, 0o700)
  }
  t.is(await makeFolder(folder), null)
  t.is(await makeFolder('/'), null)
  const made = await Promise.all([1, 2, 3].map(() => makeFolder(path.join(root, 'x/y/z'))))
  t.ok(made.some((top) => top === path.join(root, 'x')))
})

test('what cannot be a folder is told', async (t) => {
  const root = await t.tmp()
  fs.writeFileSync(path.join(root, 'file'), 'x')
  await t.exception(makeFolder(path.join(root, 'file')), /EEXIST/)
  await t.exception(makeFolder(path.join(root, 'file/below')), /ENOTDIR/)
  if (process.platform !== 'linux') return
  await t.exception(makeFolder('/proc/nothing'), /ENOENT/)
  await t.exception(makeFolder('/proc/nothing/below'), /ENOENT/)
})
