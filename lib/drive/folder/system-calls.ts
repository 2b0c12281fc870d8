import fs from 'node:fs'

/** The calls of the system through which a folder is changed; tests replace them to fail, or to stop half-way. */
export type SystemCalls = Pick<
  typeof fs,
  | 'closeSync'
  | 'copyFile'
  | 'fchmodSync'
  | 'fstatSync'
  | 'fsync'
  | 'futimesSync'
  | 'linkSync'
  | 'lstatSync'
  | 'lutimesSync'
  | 'mkdirSync'
  | 'openSync'
  | 'readFileSync'
  | 'readdirSync'
  | 'readlinkSync'
  | 'renameSync'
  | 'rmSync'
  | 'rmdirSync'
  | 'symlinkSync'
  | 'unlinkSync'
  | 'writeSync'
>

/** The real ones. */
export const systemCalls: SystemCalls = fs
