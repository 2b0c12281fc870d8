import test from 'brittle'
import * as native from 'fs-native-extensions'
import RandomAccessFile from 'random-access-file'

test('what the ambient types of random-access-file 4.1.2 declare exists', (t) => {
  const file = new RandomAccessFile('none')
  for (const name of ['open', 'del', 'close', '_open', '_close'] as const) {
    t.is(typeof file[name], 'function', name)
  }
  t.alike([file.fd, file.filename], [0, 'none'])
})

test('what the ambient types of fs-native-extensions 1.5.1 declare exists', (t) => {
  t.is(typeof native.tryLock, 'function')
  t.is(typeof native.unlock, 'function')
})
