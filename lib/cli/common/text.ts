const STEPS = ['B', 'kB', 'MB', 'GB', 'TB']

/** Bytes for people: `12.3 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1000 && step < STEPS.length - 1) {
    value /= 1000
    step++
  }
  const digits = step === 0 || value >= 100 ? 0 : 1
  return `${value.toFixed(digits)} ${STEPS[step] ?? ''}`
}

/** A time for people: `45 s`, `3 min`. */
export function formatMs(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return `${Math.round(seconds / 3600)} h`
}

/** One or many: `1 block`, `2 blocks`. */
export function count(number: number, noun: string, nouns = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : nouns}`
}

/** What a folder holds, for people: `2 files, 1 link, 3.4 MB`. */
export function contentsText(contents: {
  readonly files: number
  readonly links: number
  readonly emptyFolders: number
  readonly bytes: number
}): string {
  const { files, links, emptyFolders, bytes } = contents
  const parts = [count(files, 'file')]
  if (links > 0) parts.push(count(links, 'link'))
  if (emptyFolders > 0) parts.push(count(emptyFolders, 'empty folder'))
  return [...parts, formatBytes(bytes)].join(', ')
}

/** A word as a shell takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A name on one line: control characters in it are spelled out, so that it moves no cursor and begins no line. */
export function visible(name: string): string {
  return name.replace(/\p{Cc}/gu, (character) => {
    const hex = character.charCodeAt(0).toString(16).padStart(2, '0')
    return ESCAPES[character] ?? `\\x${hex}`
  })
}

/** As {@link visible}, for text of several lines and columns. */
export function visibleLines(text: string): string {
  return text.replace(/(?![\n\t])\p{Cc}/gu, visible)
}
