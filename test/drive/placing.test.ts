/** Files of a clone that move, give way, or cannot be reached. */
import fs from 'node:fs'
import test from 'brittle'
import { FOLDER_TRUST_MS } from '../../lib/limits.ts'
import { age, asUser, bring, bytesOf, openPair, treeOf, writeTree } from './folders.ts'

/** Folders that were no links are looked at again. */
function pastTrust(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2 * FOLDER_TRUST_MS))
}

test('placing: a file moves into a folder that takes its name', async (t) => {
  await asUser(async () => {
    for (const keep of ['30d', '0']) {
      const pair = await openPair(t, { x: 'c', y: 'other' }, { keep })
      const { dir, root } = pair
      fs.renameSync(`${root}/x`, `${root}/t`)
      fs.mkdirSync(`${root}/x`)
      fs.renameSync(`${root}/t`, `${root}/x/x`)
      const { skipped, conflicts } = await bring(pair)
      t.alike([skipped, conflicts], [[], []])
      t.alike(treeOf(dir), treeOf(root))
      t.is(fs.statSync(`${dir}/x`).mode & 0o700, 0o700)
      fs.writeFileSync(`${root}/x/x`, 'changed')
      fs.writeFileSync(`${root}/x/new`, 'new')
      age(root)
      t.alike((await bring(pair)).skipped, [])
      t.alike(treeOf(dir), treeOf(root))
    }
  })
})

test('placing: a folder that the user moved away and linked to loses nothing', async (t) => {
  const files = { 'd/f': 'inside', 'd/g': 'other', 'd/same': 'twice', 'e/h': 'h' }
  const pair = await openPair(t, files)
  const { dir, root } = pair
  const away = `${dir}/../away`
  fs.renameSync(`${dir}/d`, away)
  fs.symlinkSync(away, `${dir}/d`)
  const before = treeOf(away)
  fs.renameSync(`${root}/d/f`, `${root}/e/f`)
  fs.rmSync(`${root}/d/g`)
  await pastTrust()
  const { skipped, conflicts } = await bring(pair)
  t.alike([skipped, conflicts], [[], []])
  t.is(fs.readFileSync(`${dir}/e/f`, 'utf8'), 'inside')
  t.alike(treeOf(away), before, 'what lies elsewhere is the user’s')
  t.ok(fs.lstatSync(`${dir}/d`).isSymbolicLink())
})

test('placing: what was edited behind a link ends no update, and no repair', async (t) => {
  const pair = await openPair(t, { 'd/f': 'f', 'd/g': 'g', h: 'h' })
  const { dir, root, clone } = pair
  const away = `${dir}/../away`
  fs.renameSync(`${dir}/d`, away)
  fs.symlinkSync(away, `${dir}/d`)
  fs.writeFileSync(`${away}/f`, 'mine')
  fs.writeFileSync(`${away}/g`, 'mine too')
  fs.rmSync(`${root}/d/f`)
  fs.writeFileSync(`${root}/h`, 'changed')
  await pastTrust()
  const { skipped, conflicts, removed } = await bring(pair)
  t.alike([skipped, conflicts, removed], [[], [], 1])
  t.is(fs.readFileSync(`${dir}/h`, 'utf8'), 'changed')
  t.is(await clone.clone.discard('/d/g'), null, 'nothing of the folder stands there')
  t.is((await bring(pair)).conflicts[0]?.name, '/d', 'the link gives way when a file comes again')
  t.alike(treeOf(dir)['/d/g'], treeOf(root)['/d/g'])
  t.is(fs.readFileSync(`${away}/f`, 'utf8'), 'mine')
  t.is(fs.readFileSync(`${away}/g`, 'utf8'), 'mine too')
})

test('placing: a folder that may not be entered keeps out its own files, and no others', async (t) => {
  const ran = await asUser(async () => {
    const files = {
      'd/changed': 'old',
      'd/large': bytesOf(3_000_000, 1),
      'd/moves': 'moves',
      'd/lost': 'lost',
      z: 'z'
    }
    const pair = await openPair(t, files)
    const { dir, root, clone } = pair
    const { feed } = await clone.folder.blobs()
    const lost = clone.folder.catalog.get('/d/lost')?.entry.blob
    if (lost == null) return t.fail('it came')
    await feed.release([[lost.blockOffset, lost.blockOffset + lost.blockLength]])
    fs.renameSync(`${root}/d/moves`, `${root}/moves`)
    writeTree(root, {
      'd/changed': 'new',
      'd/copy': 'z',
      'd/large': bytesOf(3_000_000, 2),
      z: 'new'
    })
    fs.chmodSync(`${dir}/d`, 0)
    try {
      await pastTrust()
      const { skipped, conflicts } = await bring(pair)
      const names = skipped.map(({ name, reason }) => `${name} ${reason}`).sort()
      t.alike(
        names,
        ['changed', 'copy', 'large', 'lost', 'moves'].map((at) => `/d/${at} EACCES`)
      )
      t.alike(conflicts, [])
      t.is(fs.readFileSync(`${dir}/z`, 'utf8'), 'new')
      t.is(fs.readFileSync(`${dir}/moves`, 'utf8'), 'moves')
    } finally {
      fs.chmodSync(`${dir}/d`, 0o755)
    }
    const { skipped, conflicts } = await bring(pair)
    t.alike([skipped, conflicts], [[], []])
    t.alike(treeOf(dir), treeOf(root))
  })
  if (!ran) t.comment('there is no other user here')
})
