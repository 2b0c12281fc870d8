/**
 * Manifests as bytes.
 *
 * The bytes of a manifest are hashed into the key of the feed, so they are exactly those of
 * hypercore 11 `lib/messages.js`. Whether a manifest makes sense is not judged here.
 *
 * @module
 */
import c from 'compact-encoding'
import { LINKED_FEEDS_MAX, MANIFEST_USER_DATA_BYTES_MAX, SIGNERS_MAX } from '../limits.ts'
import {
  type Codec,
  type CodecState,
  decodeBytes,
  decodeLength,
  decodeList,
  decodeUint,
  decodeValue,
  encodeList,
  encodeValue,
  preencodeList,
  reject,
  strict
} from './field.ts'
import type { Manifest, Prologue, Signer } from './manifest.ts'

const VERSION_MAX = 3

/** Ids of the only hash (BLAKE2b-256) and the only signature (Ed25519) there are. */
const BLAKE2B = 0
const ED25519 = 0

const ALLOW_PATCH = 1
const HAS_PROLOGUE = 2
const HAS_LINKED = 4
const HAS_USER_DATA = 8

/** Body types of version 0. */
const STATIC = 0
const SINGLE = 1
const MULTI = 2

/** Any manifest of version 0 to 3. Views: copy what must outlive the bytes. */
export const manifestCodec: Codec<Manifest> = strict('manifest', {
  preencode(state, manifest) {
    c.uint.preencode(state, manifest.version)
    if (manifest.version === 0) preencodeV0(state, manifest)
    else preencodeV1(state, manifest)
  },
  encode(state, manifest) {
    c.uint.encode(state, manifest.version)
    if (manifest.version === 0) encodeV0(state, manifest)
    else encodeV1(state, manifest)
  },
  decode(state) {
    const version = decodeUint(state, VERSION_MAX, 'version of a manifest')
    return version === 0 ? decodeV0(state) : decodeV1(state, version)
  }
})

/**
 * Encodes a manifest.
 *
 * @throws SynclineError BAD_ARGUMENT when a field has the wrong size.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return encodeValue(manifestCodec, manifest)
}

/**
 * Decodes a manifest from the start of `bytes`, without copying.
 *
 * @throws SynclineError BAD_MESSAGE when the bytes are no manifest of version 0 to 3.
 */
export function decodeManifest(bytes: Uint8Array): Manifest {
  return decodeValue(manifestCodec, bytes)
}

const signer: Codec<Signer> = {
  preencode(state, value) {
    c.uint.preencode(state, ED25519)
    c.fixed32.preencode(state, value.namespace)
    c.fixed32.preencode(state, value.publicKey)
  },
  encode(state, value) {
    c.uint.encode(state, ED25519)
    c.fixed32.encode(state, value.namespace)
    c.fixed32.encode(state, value.publicKey)
  },
  decode(state) {
    const id = c.uint.decode(state)
    if (id !== ED25519) reject(`unknown signature id ${id}`)
    return {
      signature: 'ed25519',
      namespace: c.fixed32.decode(state),
      publicKey: c.fixed32.decode(state)
    }
  }
}

const prologue: Codec<Prologue> = {
  preencode(state, value) {
    c.fixed32.preencode(state, value.hash)
    c.uint.preencode(state, value.length)
  },
  encode(state, value) {
    c.fixed32.encode(state, value.hash)
    c.uint.encode(state, value.length)
  },
  decode(state) {
    return { hash: c.fixed32.decode(state), length: decodeLength(state) }
  }
}

function decodeHash(state: CodecState): 'blake2b' {
  const id = c.uint.decode(state)
  if (id !== BLAKE2B) reject(`unknown hash id ${id}`)
  return 'blake2b'
}

function decodeSigners(state: CodecState): readonly Signer[] {
  return decodeList(state, signer, SIGNERS_MAX, 'count of signers')
}

/** The one signer of a version 0 manifest that is written without flags and quorum, or undefined. */
function soleSigner(manifest: Manifest): Signer | undefined {
  if (manifest.quorum !== 1 || manifest.signers.length !== 1 || manifest.allowPatch)
    return undefined
  return manifest.signers[0]
}

function preencodeV0(state: CodecState, manifest: Manifest): void {
  c.uint.preencode(state, BLAKE2B)
  state.end++ // Type.
  if (manifest.prologue !== null && manifest.signers.length === 0) {
    c.fixed32.preencode(state, manifest.prologue.hash)
    return
  }
  const sole = soleSigner(manifest)
  if (sole !== undefined) {
    signer.preencode(state, sole)
    return
  }
  state.end++ // Flags.
  c.uint.preencode(state, manifest.quorum)
  preencodeList(state, signer, manifest.signers)
}

function encodeV0(state: CodecState, manifest: Manifest): void {
  c.uint.encode(state, BLAKE2B)
  if (manifest.prologue !== null && manifest.signers.length === 0) {
    c.uint.encode(state, STATIC)
    c.fixed32.encode(state, manifest.prologue.hash)
    return
  }
  const sole = soleSigner(manifest)
  if (sole !== undefined) {
    c.uint.encode(state, SINGLE)
    signer.encode(state, sole)
    return
  }
  c.uint.encode(state, MULTI)
  c.uint.encode(state, manifest.allowPatch ? ALLOW_PATCH : 0)
  c.uint.encode(state, manifest.quorum)
  encodeList(state, signer, manifest.signers)
}

function decodeV0(state: CodecState): Manifest {
  const hash = decodeHash(state)
  const none = { version: 0, hash, linked: null, userData: null }
  const type = decodeUint(state, MULTI, 'type of a manifest')
  if (type === STATIC) {
    const prologue = { hash: c.fixed32.decode(state), length: 0 }
    return { ...none, allowPatch: false, quorum: 0, signers: [], prologue }
  }
  if (type === SINGLE) {
    const signers = [signer.decode(state)]
    return { ...none, allowPatch: false, quorum: 1, signers, prologue: null }
  }
  const allowPatch = (c.uint.decode(state) & ALLOW_PATCH) !== 0
  const quorum = c.uint.decode(state)
  return { ...none, allowPatch, quorum, signers: decodeSigners(state), prologue: null }
}

function preencodeV1(state: CodecState, manifest: Manifest): void {
  state.end++ // Flags.
  c.uint.preencode(state, BLAKE2B)
  c.uint.preencode(state, manifest.quorum)
  preencodeList(state, signer, manifest.signers)
  if (manifest.prologue !== null) prologue.preencode(state, manifest.prologue)
  if (manifest.linked !== null) preencodeList(state, c.fixed32, manifest.linked)
  if (manifest.userData !== null) c.buffer.preencode(state, manifest.userData)
}

function encodeV1(state: CodecState, manifest: Manifest): void {
  const flags =
    (manifest.allowPatch ? ALLOW_PATCH : 0) |
    (manifest.prologue !== null ? HAS_PROLOGUE : 0) |
    (manifest.linked !== null ? HAS_LINKED : 0) |
    (manifest.userData !== null ? HAS_USER_DATA : 0)
  c.uint.encode(state, flags)
  c.uint.encode(state, BLAKE2B)
  c.uint.encode(state, manifest.quorum)
  encodeList(state, signer, manifest.signers)
  if (manifest.prologue !== null) prologue.encode(state, manifest.prologue)
  if (manifest.linked !== null) encodeList(state, c.fixed32, manifest.linked)
  if (manifest.userData !== null) c.buffer.encode(state, manifest.userData)
}

function decodeV1(state: CodecState, version: number): Manifest {
  const flags = c.uint.decode(state)
  return {
    version,
    hash: decodeHash(state),
    allowPatch: (flags & ALLOW_PATCH) !== 0,
    quorum: c.uint.decode(state),
    signers: decodeSigners(state),
    prologue: (flags & HAS_PROLOGUE) !== 0 ? prologue.decode(state) : null,
    linked:
      (flags & HAS_LINKED) !== 0
        ? decodeList(state, c.fixed32, LINKED_FEEDS_MAX, 'count of linked feeds')
        : null,
    userData:
      (flags & HAS_USER_DATA) !== 0
        ? decodeBytes(state, MANIFEST_USER_DATA_BYTES_MAX, 'size of user data')
        : null
  }
}
