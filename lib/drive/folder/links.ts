/**
 * Which symbolic links a drive may make: those that stay below the root, whatever they pass on their way.
 *
 * @module
 */

/** Links that are followed one after the other; the systems give up at about as many. */
const LINKS_MAX = 40

/** Why a link can be made nowhere, or null. */
export function badLink(linkname: string): string | null {
  if (linkname === '') return 'the link leads to an empty name'
  return linkname.includes('\0') ? 'the link leads to a name with a NUL' : null
}

/**
 * Why a link might leave the root, or null. By its text alone: `..` may only stand at its beginning, so that it
 * climbs real folders; what it passes then are links that were held against the same rule.
 *
 * @param path - of the link, below the root; its folders are real ones.
 * @param isWindows - `\` separates too and `C:` is a place there.
 */
export function leavingText(path: string, linkname: string, isWindows: boolean): string | null {
  if (linkname.startsWith('/')) return 'the link is absolute'
  if (isWindows && /[\\:]/.test(linkname)) return 'the link holds a backslash or a colon'
  let depth = path.split('/').length - 1
  let hasDescended = false
  for (const part of linkname.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') hasDescended = true
    else if (hasDescended) return 'the link climbs after it descended'
    else if (depth-- === 0) return 'the link leaves the root'
  }
  return null
}

/**
 * Why a link leaves the root as things stand, by links of the user's that it passes, or null. A link that leads
 * nowhere, or in a circle, stays.
 *
 * @param readLink - what the link at a path below the root leads to, or null if there is none.
 */
export function leavingWay(
  path: string,
  linkname: string,
  readLink: (path: string) => string | null
): string | null {
  const at = path.split('/').slice(0, -1)
  const ahead = linkname.split('/')
  for (let links = 0; ahead.length > 0;) {
    const part = ahead.shift() as string
    if (part === '' || part === '.') continue
    if (part === '..') {
      if (at.length === 0) return 'the link passes one that leaves the root'
      at.pop()
      continue
    }
    at.push(part)
    const text = readLink(at.join('/'))
    if (text === null) continue
    if (text.startsWith('/')) return `the link passes ${at.join('/')}, which is absolute`
    if (++links > LINKS_MAX) return null
    at.pop()
    ahead.unshift(...text.split('/'))
  }
  return null
}
