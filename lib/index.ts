/**
 * syncline keeps append-only feeds in sync with every hypercore peer.
 *
 * Importing this loads neither hyperswarm nor hypercore.
 *
 * @module
 */
export { isSynclineError, SynclineError, type ErrorCode, type ErrorDetails } from './errors.ts'
export type { Direction, Mode, RateLimits } from './engine/input.ts'
export type { PeerProgress } from './engine/engine.ts'
export type { AuditReport, Feed, FeedChange, ProofRequest } from './feed/feed.ts'
export type { NewIdentityOptions } from './feed/identity.ts'
export { createManifest } from './feed/manifest.ts'
export { createKeyPair } from './feed/signature.ts'
export type { KeyPair } from './feed/store.ts'
export type { Manifest, Prologue, Signer } from './wire/manifest.ts'
export type { Proof } from './wire/message.ts'
export type { ExtensionHandlers, FeedExtension } from './synchronizer/extension.ts'
export {
  FeedSession,
  type Download,
  type DownloadRange,
  type GetOptions,
  type Progress,
  type ReadOptions
} from './synchronizer/feed-session.ts'
export { SharedSession } from './synchronizer/shared-session.ts'
export { formatKey, parseKey } from './synchronizer/key.ts'
export { Peer } from './synchronizer/peer.ts'
export { memory, type FeedStorage, type StoredFeedInfo } from './synchronizer/storage.ts'
export {
  Synchronizer,
  type AddOptions,
  type CreateOptions,
  type SwarmOptions,
  type SynchronizerOptions
} from './synchronizer/synchronizer.ts'
