/** What every operation of an opened vault works with. */
import type { Catalog } from '../catalog/catalog.ts';
import { openRecord, sealRecord } from '../crypto/seal.ts';
import type { Subkeys } from '../crypto/keys.ts';
import { VaultError } from '../errors.ts';
import { formatRedundancy, parseRedundancy } from '../format/shard.ts';
import type { Redundancy } from '../format/shard.ts';
import type { BucketOpener, BucketSet } from './bucket-set.ts';
import type { ChunkMemoryPool, Limits } from './chunk-memory.ts';
import type { ChunkWorkers } from './chunk-workers.ts';

export interface Session {
  readonly vaultId: string;
  readonly keys: Subkeys;
  readonly catalog: Catalog;
  readonly buckets: BucketSet;
  /** Opens further buckets. */
  readonly opener: BucketOpener;
  readonly workers: ChunkWorkers;
  readonly limits: Limits;
  readonly memory: ChunkMemoryPool;
  readonly processes: ProcessTable;
  /** What new files are stored with; changes with `updateSettings`. */
  settings: Settings;
  /** Milliseconds since 1970. */
  now(): number;
}

/** How a pending put's process is told alive from gone. */
export interface ProcessTable {
  /** A word for this process, to be recorded with its puts. */
  readonly self: string;
  /** Whether such a word means a process of this machine that has ended; false where that cannot be known. */
  isGone(owner: string): boolean;
}

export interface Settings {
  readonly redundancy: Redundancy;
}

const SETTINGS = 'settings';

export function sealSettings(keys: Subkeys, settings: Settings): Buffer {
  return sealRecord(keys, SETTINGS, { redundancy: formatRedundancy(settings.redundancy) });
}

/** @throws `damaged` if they are not what this vault sealed */
export function openSettings(keys: Subkeys, sealed: Uint8Array): Settings {
  const fields = recordFields(openRecord(keys, SETTINGS, sealed));
  const text = fields.get('redundancy');
  const redundancy = typeof text === 'string' ? parseRedundancy(text) : null;
  if (redundancy === null) throw brokenRecord(SETTINGS);
  return { redundancy };
}

export function sealBucketUrl(keys: Subkeys, bucketId: string, url: string): Buffer {
  return sealRecord(keys, `bucket ${bucketId}`, { url });
}

/** @throws `damaged` if it is not what this vault sealed for this bucket */
export function openBucketUrl(keys: Subkeys, bucketId: string, sealed: Uint8Array): string {
  const url = recordFields(openRecord(keys, `bucket ${bucketId}`, sealed)).get('url');
  if (typeof url !== 'string') throw brokenRecord(`bucket ${bucketId}`);
  return url;
}

/** A record's fields. */
export function recordFields(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
}

export function brokenRecord(purpose: string): VaultError {
  return new VaultError(
    'damaged',
    `The catalog's record of ${purpose} makes no sense. Rebuild the catalog with "vault recover".`,
  );
}

/** The signal as the optional property that contracts take. */
export function withSignal(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
