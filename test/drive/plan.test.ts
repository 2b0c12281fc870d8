/** Plans: two listings in, ordered actions out. */
import test from 'brittle'
import { compareNames } from '../../lib/drive/drive-name.ts'
import { holdsBack, plan, type Comparison } from '../../lib/drive/plan.ts'
import { Selection } from '../../lib/drive/selection.ts'
import { wholeNumbers } from '../fixtures/random.ts'

interface Item {
  readonly name: string
  readonly value: number
}

const compare = (a: Item, b: Item): Comparison => (a.value === b.value ? 'same' : 'content')

async function planned(source: readonly Item[], target: readonly Item[]): Promise<string[]> {
  const actions: string[] = []
  for await (const batch of plan(source, target, compare)) {
    for (const { type, name } of batch) actions.push(`${type} ${name}`)
  }
  return actions
}

test('plan: what is new, changed and gone, in the order of names', async (t) => {
  const source = [
    { name: '/a', value: 1 },
    { name: '/b', value: 2 },
    { name: '/d', value: 4 }
  ]
  const target = [
    { name: '/0', value: 0 },
    { name: '/b', value: 0 },
    { name: '/c', value: 0 },
    { name: '/d', value: 4 },
    { name: '/e', value: 0 }
  ]
  const expected = ['remove /0', 'add /a', 'change /b', 'remove /c', 'remove /e']
  t.alike(await planned(source, target), expected)
  t.alike(await planned([], []), [])
})

test('plan: applied to the target it gives the source, whatever they are', async (t) => {
  const random = wholeNumbers(4711)
  const listing = (): Item[] => {
    const names = new Set<string>()
    for (let i = random(30); i > 0; i--) {
      names.add(`/${'a\u{10ffff}/.\ue000'.slice(random(4), 1 + random(6))}${random(9)}`)
    }
    return [...names].sort(compareNames).map((name) => ({ name, value: random(2) }))
  }
  for (let round = 0; round < 200; round++) {
    const source = listing()
    const target = new Map(listing().map((item) => [item.name, item]))
    const before = [...target.values()]
    async function* batches(): AsyncGenerator<Item[]> {
      for (let i = 0; i < source.length; i += 3) yield source.slice(i, i + 3)
    }
    let last = ''
    for await (const batch of plan(batches(), before, compare)) {
      for (const action of batch) {
        if (last !== '' && compareNames(last, action.name) >= 0) t.fail('out of order')
        last = action.name
        if (action.source === null) target.delete(action.name)
        else target.set(action.name, action.source)
      }
    }
    const result = [...target.values()].sort((a, b) => compareNames(a.name, b.name))
    if (JSON.stringify(result) !== JSON.stringify(source)) t.alike(result, source)
  }
  t.pass('200 pairs of listings')
})

test('names are ordered as their UTF-8 bytes', (t) => {
  const names = [
    '/a',
    '/a.txt',
    '/a/b',
    '/a0',
    '/\ue000',
    '/\uffff',
    '/\u{10000}',
    '/\u{10ffff}x',
    '/é'
  ]
  const bytewise = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  t.alike(names.toSorted(compareNames), bytewise)
})

test('deletes look like a mistake when they are many and a large share', (t) => {
  t.absent(holdsBack(10, 10, null), 'ten at most')
  t.ok(holdsBack(11, 40, null), 'more than ten, and more than a quarter')
  t.absent(holdsBack(11, 44, null), 'just a quarter')
  t.absent(holdsBack(11, 11, 11), 'the user allows it')
  t.ok(holdsBack(2, 1000, 1), 'the user allows fewer')
})

test('a selection takes names by patterns', (t) => {
  const pictures = new Selection(['*.jpg', '/docs/*', '!/docs/old/'])
  t.ok(pictures.has('/a/b/c.jpg'))
  t.ok(pictures.has('/docs/x/y.txt'))
  t.absent(pictures.has('/docs/old/y.txt'))
  t.absent(pictures.has('/other/docs/y.txt'))
  t.absent(pictures.has('/a.png'))
  t.ok(new Selection(['/docs/']).has('/docs', true), 'an empty folder is one')
  t.absent(new Selection(['/docs/']).has('/docs'), 'a file is none')
  t.ok(new Selection([]).has('/anything'), 'without patterns everything')
})
