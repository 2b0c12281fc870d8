import test from 'brittle'
import { Gate } from '../../lib/synchronizer/gate.ts'

test('a gate lets so many in, and the others in their order', async (t) => {
  const gate = new Gate(2)
  const entered: number[] = []
  const leave: (() => void)[] = []
  const runs = [0, 1, 2, 3, 4].map((number) =>
    gate.run(async () => {
      entered.push(number)
      await new Promise<void>((resolve) => {
        leave[number] = resolve
      })
      return number
    })
  )
  await turn()
  t.alike(entered, [0, 1])
  leave[1]?.()
  await turn()
  t.alike(entered, [0, 1, 2])
  for (const number of [0, 2, 3, 4]) {
    leave[number]?.()
    await turn()
  }
  t.alike(entered, [0, 1, 2, 3, 4])
  t.alike(await Promise.all(runs), [0, 1, 2, 3, 4])
})

test('work that fails leaves its place to others', async (t) => {
  const gate = new Gate(1)
  const runs = await Promise.allSettled([gate.run(fail), gate.run(fail)])
  t.alike(
    runs.map(({ status }) => status),
    ['rejected', 'rejected']
  )
  t.is(await gate.run(async () => 7), 7)
})

async function fail(): Promise<never> {
  throw new Error('no')
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
