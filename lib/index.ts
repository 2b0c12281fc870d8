/**
 * syncline keeps append-only feeds in sync with every hypercore peer, and folders through them.
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
export { tuneProcess } from './tuning.ts'
export { memory, type FeedStorage, type StoredFeedInfo } from './synchronizer/storage.ts'
export type {
  AddOptions,
  CreateOptions,
  SwarmOptions,
  SynchronizerOptions
} from './synchronizer/synchronizer.ts'
export type { CloneReport, SkippedEntry } from './drive/clone.ts'
export { CloneSession, type CloneSessionOptions } from './drive/clone-session.ts'
export { ClonedFolder, type CloneChoices } from './drive/cloned-folder.ts'
export { DriveBlobs, type BlobReadOptions, type BlobWaitOptions } from './drive/drive-blobs.ts'
export type { DriveDownload } from './drive/drive-download.ts'
export { DriveSession } from './drive/drive-session.ts'
export {
  Synchronizer,
  type AddCloneOptions,
  type AddDriveOptions,
  type ShareFolderOptions
} from './drive/drive-synchronizer.ts'
export {
  Drive,
  type CreateDriveOptions,
  type DriveChange,
  type DriveDiff,
  type DriveEntry,
  type EntriesRange,
  type EntryOptions,
  type ListOptions,
  type OpenDriveOptions,
  type PutOptions,
  type ReadFileOptions
} from './drive/drive.ts'
export type { BlobRange, Entry } from './drive/entry.ts'
export type { ImportOptions, ImportReport } from './drive/import.ts'
export { ProgressNotes, type DriveProgress, type Phase } from './drive/progress.ts'
export { SharedFolder, type ShareOptions } from './drive/shared-folder.ts'
