/**
 * A small folder in two versions, with something of each kind, and of each kind of change.
 *
 * @module
 */
import fs from 'node:fs'
import { age, bytesOf, writeTree } from './folders.ts'

/** Files above this are read, or received, in pieces. */
const LARGE: number = 1_200_000

/** Writes the first version. */
export function plantFirst(root: string): void {
  fs.mkdirSync(root, { recursive: true })
  writeTree(root, {
    'a.txt': 'first a\n',
    'b.txt': 'first b\n',
    empty: '',
    gone: 'first gone\n',
    kind: 'first kind\n',
    large: bytesOf(LARGE, 1),
    moves: bytesOf(3000, 2),
    'run.sh': '#!/bin/sh\n',
    same: bytesOf(2000, 3),
    'sub/middle': bytesOf(150_000, 4),
    'sub/deep/same': bytesOf(2000, 3),
    'sub/deep/d': 'first d\n'
  })
  fs.chmodSync(`${root}/run.sh`, 0o755)
  fs.symlinkSync('a.txt', `${root}/link`)
  fs.mkdirSync(`${root}/nothing`)
  fs.mkdirSync(`${root}/filled`)
  age(root, 60_000)
}

/** Makes the second version of the first. */
export function plantSecond(root: string): void {
  writeTree(root, {
    'b.txt': 'second b, longer\n',
    'filled/inside': 'second inside\n',
    'sub/middle': bytesOf(140_000, 5),
    new: bytesOf(5000, 6)
  })
  const large = fs.openSync(`${root}/large`, 'r+')
  fs.writeSync(large, bytesOf(100, 7), 0, 100, 500_000)
  fs.closeSync(large)
  fs.rmSync(`${root}/gone`)
  fs.rmSync(`${root}/kind`)
  writeTree(root, { 'kind/inside': 'second kind\n' })
  fs.renameSync(`${root}/moves`, `${root}/sub/moved`)
  fs.chmodSync(`${root}/run.sh`, 0o644)
  fs.rmSync(`${root}/link`)
  fs.symlinkSync('b.txt', `${root}/link`)
  fs.rmdirSync(`${root}/nothing`)
  for (const name of ['b.txt', 'filled/inside', 'sub/middle', 'new', 'large', 'kind/inside']) {
    const time = Date.now() / 1000 - 30
    fs.utimesSync(`${root}/${name}`, time, time)
  }
}
