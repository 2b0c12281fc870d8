import { lstatSync, readdirSync } from 'node:fs'
import path from 'node:path'

/** What files take, by part. */
export interface DiskUse {
  /** Bytes of the files' blocks on the disk. */
  readonly allocated: Readonly<Record<string, number>>
  /** Bytes that the files say they are long. */
  readonly apparent: Readonly<Record<string, number>>
}

/**
 * What the files below a folder take at the moment; folders themselves are not counted, and a file of several names
 * once. Files that come and go meanwhile may be missed.
 *
 * @param partOf - the part that a path relative to the folder belongs to, with `/`.
 */
export function diskUse(folder: string, partOf: (file: string) => string): DiskUse {
  const allocated: Record<string, number> = {}
  const apparent: Record<string, number> = {}
  const seen = new Set<number>()
  const walk = (below: string): void => {
    for (const item of list(path.join(folder, below))) {
      const file = below === '' ? item.name : `${below}/${item.name}`
      if (item.isDirectory()) {
        walk(file)
        continue
      }
      const stats = lstatSync(path.join(folder, file), { throwIfNoEntry: false })
      if (stats === undefined || seen.has(stats.ino)) continue
      seen.add(stats.ino)
      const part = partOf(file)
      allocated[part] = (allocated[part] ?? 0) + stats.blocks * 512
      apparent[part] = (apparent[part] ?? 0) + stats.size
    }
  }
  walk('')
  return { allocated, apparent }
}

/** Sum of all parts, or of some. */
export function sumOf(parts: Readonly<Record<string, number>>, names?: readonly string[]): number {
  return Object.entries(parts).reduce(
    (sum, [name, bytes]) => (names === undefined || names.includes(name) ? sum + bytes : sum),
    0
  )
}

function list(folder: string): { name: string; isDirectory(): boolean }[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}
