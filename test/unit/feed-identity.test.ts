/** Key pairs, manifests, identities. That they are hypercore's is tested against hypercore. */
import test from 'brittle'
import { type ErrorCode, isSynclineError } from '../../lib/errors.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { LINKED_FEEDS_MAX, MANIFEST_USER_DATA_BYTES_MAX } from '../../lib/limits.ts'
import { checkManifestFor, createManifest, isCompat, keyOf } from '../../lib/feed/manifest.ts'
import { discoveryKeyOf, TREE } from '../../lib/feed/namespace.ts'
import { createKeyPair, isKeyPair, sign, verify } from '../../lib/feed/signature.ts'

const SEED = new Uint8Array(32).fill(1)

function codeOf(run: () => unknown): ErrorCode | null {
  try {
    run()
  } catch (error) {
    if (isSynclineError(error)) return error.code
    throw error
  }
  return null
}

test('namespaces are hypercore’s', (t) => {
  const hex = Buffer.from(TREE).toString('hex')
  t.is(hex, '9fac70b50ca14efc4e91c833b204e75b8b5aad8b5881bfc0adb5ef38a3275b9c')
})

test('key pairs sign, and seeds repeat them', (t) => {
  const keyPair = createKeyPair(SEED)
  t.alike(createKeyPair(SEED), keyPair)
  t.unlike(createKeyPair(), createKeyPair())
  t.ok(isKeyPair(keyPair))
  t.absent(isKeyPair({ ...keyPair, publicKey: createKeyPair().publicKey }))
  t.absent(isKeyPair({ ...keyPair, secretKey: new Uint8Array(3) }))
  t.is(
    codeOf(() => createKeyPair(new Uint8Array(31))),
    'BAD_ARGUMENT'
  )
  const message = new Uint8Array([1, 2, 3])
  const signature = sign(message, keyPair.secretKey)
  t.ok(verify(message, signature, keyPair.publicKey))
  t.absent(verify(message.subarray(1), signature, keyPair.publicKey))
  t.absent(verify(message, signature.subarray(1), keyPair.publicKey))
  t.absent(verify(message, signature, keyPair.publicKey.subarray(1)))
})

test('manifests get hypercore’s defaults', (t) => {
  const signers = [1, 2, 3].map((n) => ({ publicKey: new Uint8Array(32).fill(n) }))
  const manifest = createManifest({ signers })
  t.alike([manifest.version, manifest.quorum, manifest.allowPatch], [1, 2, false])
  t.is(createManifest({ signers, userData: new Uint8Array(1) }).version, 2)
  t.is(createManifest({ signers, linked: [] }).linked, null)
  t.is(createManifest({ prologue: { hash: SEED, length: 3 } }).quorum, 0)
})

test('manifests that break their own rules are refused', (t) => {
  const signers = [{ publicKey: SEED }]
  for (const options of [
    { signers, quorum: 2 },
    { signers, quorum: -1 },
    { signers, version: 4 },
    { signers, version: 1, userData: new Uint8Array(1) },
    { signers, version: 1, linked: [SEED] },
    { signers, linked: [new Uint8Array(31)] },
    { signers, linked: Array.from({ length: LINKED_FEEDS_MAX + 1 }, () => SEED) },
    { signers, userData: new Uint8Array(MANIFEST_USER_DATA_BYTES_MAX + 1) },
    { signers: [{ publicKey: new Uint8Array(31) }] },
    { signers: [{ publicKey: SEED, namespace: new Uint8Array(31) }] },
    { signers: Array.from({ length: 1000 }, () => ({ publicKey: SEED })) },
    { signers, prologue: { hash: new Uint8Array(31), length: 1 } },
    { signers, prologue: { hash: SEED, length: -1 } }
  ]) {
    t.is(
      codeOf(() => createManifest(options)),
      'INVALID_MANIFEST'
    )
  }
  const manifest = createManifest({ signers })
  t.is(
    codeOf(() => checkManifestFor(keyOf(manifest), manifest)),
    null
  )
  t.is(
    codeOf(() => checkManifestFor(SEED, manifest)),
    null,
    'a compat feed'
  )
  t.is(
    codeOf(() => checkManifestFor(new Uint8Array(32), manifest)),
    'INVALID_MANIFEST'
  )
  const other = { ...manifest, allowPatch: true }
  t.is(
    codeOf(() => checkManifestFor(keyOf(manifest), other)),
    'INVALID_MANIFEST'
  )
})

test('identities of new and of known feeds', (t) => {
  const identity = newIdentity({ seed: SEED })
  t.alike(newIdentity({ seed: SEED }), identity)
  t.alike(identity.key, keyOf(createManifest({ signers: [createKeyPair(SEED)] })))
  const compat = newIdentity({ seed: SEED, compat: true })
  t.alike(compat.key, createKeyPair(SEED).publicKey)
  t.ok(compat.manifest !== null && isCompat(compat.key, compat.manifest))
  t.unlike(newIdentity({ seed: SEED, prologue: { hash: SEED, length: 2 } }).key, identity.key)
  const manifest = createManifest({ signers: [{ publicKey: SEED }] })
  t.is(newIdentity({ manifest }).keyPair, null)
  t.alike(identityFromKey(Buffer.from(SEED)), { key: SEED, manifest: null, keyPair: null })
  t.is(
    codeOf(() => newIdentity({ manifest, seed: SEED })),
    'BAD_ARGUMENT',
    'no signer'
  )
  t.is(
    codeOf(() => newIdentity({ manifest, prologue: { hash: SEED, length: 2 } })),
    'BAD_ARGUMENT'
  )
  t.is(
    codeOf(() => newIdentity({ keyPair: { ...createKeyPair(), publicKey: SEED } })),
    'BAD_ARGUMENT'
  )
  t.is(
    codeOf(() => identityFromKey(new Uint8Array(31))),
    'BAD_KEY'
  )
  t.is(discoveryKeyOf(identity.key).byteLength, 32)
})

test('identities do not share bytes with what they were made from', (t) => {
  const seed = createKeyPair(SEED)
  const keyPair = { publicKey: Buffer.from(seed.publicKey), secretKey: Buffer.from(seed.secretKey) }
  const identity = newIdentity({ keyPair, compat: true })
  keyPair.publicKey.fill(0)
  keyPair.secretKey.fill(0)
  t.alike(identity.keyPair, seed)
  t.alike(identity.key, seed.publicKey)
  t.alike(identity.manifest?.signers[0]?.publicKey, seed.publicKey)
})
