/** Files of a clone that move, give way, or cannot be reached. */
import fs from 'node:fs'
import test from 'brittle'
import { age, asUser, bring, openPair, treeOf } from './folders.ts'

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
