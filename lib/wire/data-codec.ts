/**
 * The data message: a proof as bytes.
 *
 * @module
 */
import c from 'compact-encoding'
import { BLOCK_BYTES_MAX } from '../limits.ts'
import {
  type Codec,
  decodeBytes,
  decodeLength,
  decodeSpan,
  decodeTreeIndex,
  strict,
  treeNodes
} from './field.ts'
import { manifestCodec } from './manifest-codec.ts'
import type { BlockProof, Data, HashProof, SeekProof, UpgradeProof } from './message.ts'

const HAS_BLOCK = 1
const HAS_HASH = 2
const HAS_SEEK = 4
const HAS_UPGRADE = 8
const HAS_MANIFEST = 16

const block: Codec<BlockProof> = {
  preencode(state, value) {
    c.uint.preencode(state, value.index)
    c.buffer.preencode(state, value.value)
    treeNodes.preencode(state, value.nodes)
  },
  encode(state, value) {
    c.uint.encode(state, value.index)
    c.buffer.encode(state, value.value)
    treeNodes.encode(state, value.nodes)
  },
  decode(state) {
    return {
      index: decodeLength(state),
      value: decodeBytes(state, BLOCK_BYTES_MAX, 'size of a block'),
      nodes: treeNodes.decode(state)
    }
  }
}

const hash: Codec<HashProof> = {
  preencode(state, value) {
    c.uint.preencode(state, value.index)
    treeNodes.preencode(state, value.nodes)
  },
  encode(state, value) {
    c.uint.encode(state, value.index)
    treeNodes.encode(state, value.nodes)
  },
  decode(state) {
    return { index: decodeTreeIndex(state), nodes: treeNodes.decode(state) }
  }
}

const seek: Codec<SeekProof> = {
  preencode(state, value) {
    c.uint.preencode(state, value.bytes)
    treeNodes.preencode(state, value.nodes)
  },
  encode(state, value) {
    c.uint.encode(state, value.bytes)
    treeNodes.encode(state, value.nodes)
  },
  decode(state) {
    return { bytes: c.uint.decode(state), nodes: treeNodes.decode(state) }
  }
}

const upgrade: Codec<UpgradeProof> = {
  preencode(state, value) {
    c.uint.preencode(state, value.start)
    c.uint.preencode(state, value.length)
    treeNodes.preencode(state, value.nodes)
    treeNodes.preencode(state, value.additionalNodes)
    c.buffer.preencode(state, value.signature)
  },
  encode(state, value) {
    c.uint.encode(state, value.start)
    c.uint.encode(state, value.length)
    treeNodes.encode(state, value.nodes)
    treeNodes.encode(state, value.additionalNodes)
    c.buffer.encode(state, value.signature)
  },
  decode(state) {
    const { start, length } = decodeSpan(state)
    return {
      start,
      length,
      nodes: treeNodes.decode(state),
      additionalNodes: treeNodes.decode(state),
      // Empty where hypercore reads none: feeds that need no signature.
      signature: c.buffer.decode(state)
    }
  }
}

/** Message 3. `value` and `signature` are views of the frame. */
export const data: Codec<Data> = strict('data', {
  preencode(state, message) {
    state.end++ // Flags.
    c.uint.preencode(state, message.request)
    c.uint.preencode(state, message.fork)
    if (message.block !== null) block.preencode(state, message.block)
    if (message.hash !== null) hash.preencode(state, message.hash)
    if (message.seek !== null) seek.preencode(state, message.seek)
    if (message.upgrade !== null) upgrade.preencode(state, message.upgrade)
    if (message.manifest !== null) manifestCodec.preencode(state, message.manifest)
  },
  encode(state, message) {
    const flags =
      (message.block !== null ? HAS_BLOCK : 0) |
      (message.hash !== null ? HAS_HASH : 0) |
      (message.seek !== null ? HAS_SEEK : 0) |
      (message.upgrade !== null ? HAS_UPGRADE : 0) |
      (message.manifest !== null ? HAS_MANIFEST : 0)
    c.uint.encode(state, flags)
    c.uint.encode(state, message.request)
    c.uint.encode(state, message.fork)
    if (message.block !== null) block.encode(state, message.block)
    if (message.hash !== null) hash.encode(state, message.hash)
    if (message.seek !== null) seek.encode(state, message.seek)
    if (message.upgrade !== null) upgrade.encode(state, message.upgrade)
    if (message.manifest !== null) manifestCodec.encode(state, message.manifest)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    return {
      type: 'data',
      request: c.uint.decode(state),
      fork: c.uint.decode(state),
      block: (flags & HAS_BLOCK) !== 0 ? block.decode(state) : null,
      hash: (flags & HAS_HASH) !== 0 ? hash.decode(state) : null,
      seek: (flags & HAS_SEEK) !== 0 ? seek.decode(state) : null,
      upgrade: (flags & HAS_UPGRADE) !== 0 ? upgrade.decode(state) : null,
      manifest: (flags & HAS_MANIFEST) !== 0 ? manifestCodec.decode(state) : null
    }
  }
})
