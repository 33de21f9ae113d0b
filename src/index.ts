/**
 * The library: what the command `vault` is made of.
 *
 *     import { fileSource, openVault } from 'shardvault';
 *
 *     await using vault = await openVault({ db: 'catalog.db', password: async () => secret, baseFolder: process.cwd() });
 *     const { hash } = await vault.put(fileSource('file.pdf'), { name: 'file.pdf' });
 */
export { copyCatalog, createVault, openVault, prepareBucket, recoverVault, scrubPlace } from './compose.ts';
export type {
  CopyOptions,
  CopyResult,
  NewVaultLocation,
  RequestOptions,
  VaultLocation,
  Waiting,
} from './compose.ts';
export { isVaultError, VaultError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export { formatRedundancy, parseRedundancy } from './format/shard.ts';
export type { FileTime } from './format/file-time.ts';
export type { Redundancy } from './format/shard.ts';
export { fileSource, streamSource } from './vault/write/source.ts';
export { restoreFile } from './vault/read/restore.ts';
export type { RestorableFile, RestoreOptions } from './vault/read/restore.ts';
export type { ScrubOptions, ScrubProblem, ScrubResult } from './vault/verify/scrub.ts';
export type { RecoverResult } from './vault/recover/recover.ts';
export type * from './vault/vault.ts';
