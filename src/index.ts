/**
 * The library: what the command `vault` is made of.
 *
 *     import { fileSource, openVault } from 'shardvault';
 *
 *     await using vault = await openVault({ db: 'catalog.db', password: async () => secret, baseFolder: process.cwd() });
 *     const { hash } = await vault.put(fileSource('file.pdf'), { name: 'file.pdf' });
 */
export {
  catalogFacts,
  copyCatalog,
  createVault,
  drillVault,
  openVault,
  prepareBucket,
  recoverVault,
  scrubPlace,
} from './compose.ts';
export type {
  CopyOptions,
  CopyResult,
  DrillReport,
  NewVaultLocation,
  RequestOptions,
  VaultLocation,
  Waiting,
} from './compose.ts';
export { isVaultError, VaultError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export { thisHost } from './host.ts';
export type { Clock, Environment, Host } from './host.ts';
export type { Compression } from './format/keyring.ts';
export type { FileTime } from './format/file-time.ts';
export type { ManifestHead } from './format/manifest.ts';
export { formatRedundancy, parseRedundancy } from './format/shard.ts';
export type { Redundancy } from './format/shard.ts';
export type {
  CallOptions,
  PlannedStep,
  PlanOptions,
  Progress,
  SecretOptions,
  Warning,
} from './vault/call.ts';
export type { FolderEntry } from './format/folder-index.ts';
export type { FileInfo } from './vault/files/records.ts';
export type { FolderSource } from './vault/folders/folder-source.ts';
export { restoreTree } from './vault/folders/restore-tree.ts';
export type { RestoredTree, RestoreTreeOptions, TreeProblem } from './vault/folders/restore-tree.ts';
export type { SelectedEntries, Stored, StoredFolder } from './vault/folders/stored-folder.ts';
export type { Wanted } from './vault/folders/selection.ts';
export { tarStream } from './vault/folders/tar.ts';
export type { VaultDefaults } from './vault/keys/defaults.ts';
export type { BucketInfo, BucketReport } from './vault/manage/buckets.ts';
export type { RemoveBucketOptions, RemoveBucketResult } from './vault/manage/remove-bucket.ts';
export { drawKeyText } from './crypto/keys.ts';
export type { KeyInfo, ListedKey, NewKey, RemoveKeyOptions } from './vault/keys/keys.ts';
export type { PasswordChange } from './vault/keys/password.ts';
export type { SyncResult } from './vault/recover/recover.ts';
export type { DrillFailure, DrillOptions, DrillResult } from './vault/recover/drill.ts';
export type { GetOptions, StoredFile } from './vault/read/get.ts';
export type { ChunkPlacement, FileDetails } from './vault/read/inspect.ts';
export type { ListedFile, ListOptions } from './vault/read/list.ts';
export { restoreFile } from './vault/read/restore.ts';
export type { RestorableFile, RestoreOptions } from './vault/read/restore.ts';
export type { NotedVerb, Run, RunFacts } from './vault/read/runs.ts';
export type { CatalogFacts, VaultStatus } from './vault/read/status.ts';
export type { RecoverResult } from './vault/recover/recover.ts';
export type { PrunedName, PruneOptions } from './vault/remove/prune.ts';
export type { Judgement, KeepReason, RetentionRules } from './vault/remove/retention.ts';
export type { RemoveOptions, RemoveResult, UndeleteResult } from './vault/remove/rm.ts';
export type { SweepOptions, SweepResult } from './vault/remove/sweep-call.ts';
export type { RepairOptions } from './vault/repair/options.ts';
export type { RepairResult } from './vault/repair/repair.ts';
export type { Resealed, ResealOptions, ResealResult } from './vault/roots/reseal.ts';
export type { RotateOptions, Rotation } from './vault/keys/rotate.ts';
export type { Share, SharedContent, ShareOptions } from './vault/share/share.ts';
export type { ListedShare, ListedShares } from './vault/share/shares.ts';
export { Vault } from './vault/vault.ts';
export type { ScrubOptions, ScrubProblem, ScrubResult } from './vault/verify/scrub.ts';
export type { FileSource, OpenSource } from './vault/write/file-source.ts';
export type { PutOptions, PutResult } from './vault/write/put-call.ts';
export { fileSource, streamSource } from './vault/write/source.ts';
