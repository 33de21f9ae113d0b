/** What every operation of an opened vault works with. */
import type { Catalog, ReadableCatalog } from '../catalog/catalog.ts';
import type { ManifestOpener, ManifestSealer } from '../crypto/manifest.ts';
import type { VaultKeys } from '../crypto/keys.ts';
import type { Clock } from '../host.ts';
import type { Keyring } from '../format/keyring.ts';
import type { BucketOpener, BucketSet, ReadBucket } from './buckets/bucket-set.ts';
import type { ChunkMemoryPool, Limits } from './chunks/chunk-memory.ts';
import type { ChunkWorkers } from './chunks/chunk-workers.ts';
import type { PutGuard } from './protocol/guarded.ts';

export interface Session {
  readonly vaultId: string;
  /** They change, and the two that are made of them, where this session makes a new root: `takeKeys`. */
  keys: VaultKeys;
  sealer: ManifestSealer;
  /** Null for a writer that can only put. */
  manifests: ManifestOpener | null;
  readonly catalog: Catalog;
  readonly buckets: BucketSet;
  /** Opens further buckets. */
  readonly opener: BucketOpener;
  readonly workers: ChunkWorkers;
  readonly limits: Limits;
  readonly memory: ChunkMemoryPool;
  /** The marker under which this process stores and finds chunks. */
  readonly guard: PutGuard;
  /** The newest keyring seen, and its bytes. */
  keyring: KeyringState;
  /** Where this machine remembers what it has stored of folders; null for nowhere. */
  readonly logFolder: string | null;
  readonly places: LocalPlaces;
  readonly clock: Clock;
}

/** What of the vault lies on disks of this machine; all paths are absolute. */
export interface LocalPlaces {
  /** The catalog's file; null if it is on a server. */
  readonly catalog: string | null;
  /** The session's `logFolder`. */
  readonly log: string | null;
  /** The folder of a bucket; null for one in a cloud. */
  bucketFolder(url: string): string | null;
  /** Names right in such a folder that are neither objects' nor the user's. */
  readonly inBuckets: readonly string[];
}

/** A session for those who only look: nothing in it changes a bucket or the catalog. */
export interface ReadSession extends Omit<Session, 'catalog' | 'buckets' | 'guard' | 'opener'> {
  readonly catalog: ReadableCatalog;
  readonly buckets: Pick<BucketSet, 'check'> & {
    readonly all: readonly ReadBucket[];
    readonly active: readonly ReadBucket[];
    byNumber(number: number): ReadBucket | null;
  };
}

export interface KeyringState {
  readonly keyring: Keyring;
  readonly bytes: Uint8Array;
}
