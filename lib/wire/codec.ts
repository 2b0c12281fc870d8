/**
 * The messages of a `hypercore/alpha` channel as bytes: byte for byte what hypercore 11 writes.
 *
 * Decoders throw SynclineError BAD_MESSAGE and nothing else. They ignore what follows the fields
 * they know and flags they do not know, because that is how the protocol grows; byte fields are views of
 * the frame. A number beyond the bounds of limits.ts is refused.
 *
 * @module
 */
import c from 'compact-encoding'
import { EXTENSION_BYTES_MAX } from '../limits.ts'
import { data } from './data-codec.ts'
import {
  type Codec,
  decodeLength,
  decodeOptionalFlags,
  decodeSpan,
  decodeValue,
  encodeValue,
  reject,
  strict
} from './field.ts'
import {
  MESSAGE_TYPES,
  type Bitfield,
  type Cancel,
  type Extension,
  type Handshake,
  type Message,
  type NoData,
  type Range,
  type Sync,
  type Want
} from './message.ts'
import { request } from './request-codec.ts'

export type { Codec, CodecState } from './field.ts'

const SEEKS = 1

/** The handshake that travels in the channel's open message. */
export const handshake: Codec<Handshake> = strict('handshake', {
  preencode(state, message) {
    state.end++ // Flags.
    c.fixed32.preencode(state, message.capability)
  },
  encode(state, message) {
    c.uint.encode(state, message.seeks ? SEEKS : 0)
    c.fixed32.encode(state, message.capability)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    return { seeks: (flags & SEEKS) !== 0, capability: c.fixed32.decode(state) }
  }
})

/** Bytes with their length before them: what extension messages are made of by default. */
export const prefixed: Codec<Uint8Array> = strict('bytes', {
  preencode: (state, bytes) => c.buffer.preencode(state, bytes),
  encode: (state, bytes) => c.buffer.encode(state, bytes),
  decode: (state) => c.buffer.decode(state) ?? new Uint8Array(0)
})

const CAN_UPGRADE = 1
const UPLOADING = 2
const DOWNLOADING = 4
const HAS_MANIFEST = 8
const ALLOW_PUSH = 16

const sync: Codec<Sync> = strict('sync', {
  preencode(state, message) {
    state.end++ // Flags.
    c.uint.preencode(state, message.fork)
    c.uint.preencode(state, message.length)
    c.uint.preencode(state, message.remoteLength)
  },
  encode(state, message) {
    const flags =
      (message.canUpgrade ? CAN_UPGRADE : 0) |
      (message.uploading ? UPLOADING : 0) |
      (message.downloading ? DOWNLOADING : 0) |
      (message.hasManifest ? HAS_MANIFEST : 0) |
      (message.allowPush ? ALLOW_PUSH : 0)
    c.uint.encode(state, flags)
    c.uint.encode(state, message.fork)
    c.uint.encode(state, message.length)
    c.uint.encode(state, message.remoteLength)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    return {
      type: 'sync',
      fork: c.uint.decode(state),
      length: decodeLength(state),
      remoteLength: decodeLength(state),
      canUpgrade: (flags & CAN_UPGRADE) !== 0,
      uploading: (flags & UPLOADING) !== 0,
      downloading: (flags & DOWNLOADING) !== 0,
      hasManifest: (flags & HAS_MANIFEST) !== 0,
      allowPush: (flags & ALLOW_PUSH) !== 0
    }
  }
})

const cancel: Codec<Cancel> = strict('cancel', {
  preencode(state, message) {
    c.uint.preencode(state, message.request)
  },
  encode(state, message) {
    c.uint.encode(state, message.request)
  },
  decode(state) {
    return { type: 'cancel', request: c.uint.decode(state) }
  }
})

const HAS_REASON = 1

// Up to hypercore 11.12 there is nothing after the request.
const noData: Codec<NoData> = strict('no-data', {
  preencode(state, message) {
    c.uint.preencode(state, message.request)
    state.end++ // Flags.
    if (message.reason !== 0) c.uint.preencode(state, message.reason)
  },
  encode(state, message) {
    c.uint.encode(state, message.request)
    c.uint.encode(state, message.reason !== 0 ? HAS_REASON : 0)
    if (message.reason !== 0) c.uint.encode(state, message.reason)
  },
  decode(state) {
    const request = c.uint.decode(state)
    const flags = decodeOptionalFlags(state)
    return {
      type: 'no-data',
      request,
      reason: (flags & HAS_REASON) !== 0 ? c.uint.decode(state) : 0
    }
  }
})

const ANY = 1

type WantLike<T> = Omit<Want, 'type'> & { readonly type: T }

function wantCodec<T extends 'want' | 'unwant'>(type: T): Codec<WantLike<T>> {
  return strict(type, {
    preencode(state, message) {
      c.uint.preencode(state, message.start)
      c.uint.preencode(state, message.length)
      if (message.any) c.uint.preencode(state, ANY)
    },
    encode(state, message) {
      c.uint.encode(state, message.start)
      c.uint.encode(state, message.length)
      if (message.any) c.uint.encode(state, ANY)
    },
    decode(state) {
      const { start, length } = decodeSpan(state)
      return { type, start, length, any: (decodeOptionalFlags(state) & ANY) !== 0 }
    }
  })
}

const bitfield: Codec<Bitfield> = strict('bitfield', {
  preencode(state, message) {
    c.uint.preencode(state, message.start)
    c.uint32array.preencode(state, message.words)
  },
  encode(state, message) {
    c.uint.encode(state, message.start)
    c.uint32array.encode(state, message.words)
  },
  decode(state) {
    const start = decodeLength(state)
    // The library reads up to the end of the buffer, not of the message: in a batch, into the next.
    const at = state.start
    const count = c.uint.decode(state)
    if (count > (state.end - state.start) / 4) reject(`bitfield of ${count} words is cut short`)
    state.start = at
    return { type: 'bitfield', start, words: c.uint32array.decode(state) }
  }
})

const DROP = 1
const ONE_BLOCK = 2

const range: Codec<Range> = strict('range', {
  preencode(state, message) {
    state.end++ // Flags.
    c.uint.preencode(state, message.start)
    if (message.length !== 1) c.uint.preencode(state, message.length)
  },
  encode(state, message) {
    c.uint.encode(state, (message.drop ? DROP : 0) | (message.length === 1 ? ONE_BLOCK : 0))
    c.uint.encode(state, message.start)
    if (message.length !== 1) c.uint.encode(state, message.length)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    const drop = (flags & DROP) !== 0
    if ((flags & ONE_BLOCK) !== 0) {
      return { type: 'range', drop, start: decodeLength(state), length: 1 }
    }
    return { type: 'range', drop, ...decodeSpan(state) }
  }
})

const extension: Codec<Extension> = strict('extension', {
  preencode(state, message) {
    c.string.preencode(state, message.name)
    c.raw.preencode(state, message.message)
  },
  encode(state, message) {
    c.string.encode(state, message.name)
    c.raw.encode(state, message.message)
  },
  decode(state) {
    const size = state.end - state.start
    if (size > EXTENSION_BYTES_MAX) reject(`extension message of ${size} bytes is too large`)
    return { type: 'extension', name: c.string.decode(state), message: c.raw.decode(state) }
  }
})

/** The codec of each message type: the payload alone, without channel and type number. */
export const codecs: {
  readonly [T in Message['type']]: Codec<Extract<Message, { readonly type: T }>>
} = {
  sync,
  request,
  cancel,
  data,
  'no-data': noData,
  want: wantCodec('want'),
  unwant: wantCodec('unwant'),
  bitfield,
  range,
  extension
}

/** The same codecs in the order of their number on the wire; a codec takes only its own type. */
export const messageCodecs: readonly Codec<Message>[] = MESSAGE_TYPES.map((type) => codecs[type])

/**
 * Encodes the payload of a message.
 *
 * @throws SynclineError BAD_ARGUMENT when a field cannot be written.
 */
export function encodeMessage(message: Message): Uint8Array {
  const codec: Codec<Message> = codecs[message.type]
  return encodeValue(codec, message)
}

/**
 * Decodes the payload of the message with number `typeIndex`, without copying.
 *
 * @throws SynclineError BAD_MESSAGE when there is no such number or the bytes are no such message.
 */
export function decodeMessage(typeIndex: number, bytes: Uint8Array): Message {
  const codec = messageCodecs[typeIndex] ?? reject(`unknown message type ${typeIndex}`)
  return decodeValue(codec, bytes)
}
