/** What every operation of an opened vault works with. */
import type { Catalog } from '../catalog/catalog.ts';
import { openRecord, sealRecord } from '../crypto/seal.ts';
import type { Subkeys } from '../crypto/keys.ts';
import { VaultError } from '../errors.ts';
import { formatRedundancy, parseRedundancy } from '../format/shard.ts';
import type { Redundancy } from '../format/shard.ts';
import type { BucketOpener, BucketSet } from './buckets/bucket-set.ts';
import type { ChunkMemoryPool, Limits } from './chunks/chunk-memory.ts';
import type { ChunkWorkers } from './chunks/chunk-workers.ts';

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
  /** Set while a recovery that has begun with an empty catalog has not come to its end. */
  readonly rebuilding?: true;
}

const SETTINGS = 'settings';

export function sealSettings(keys: Subkeys, { redundancy, rebuilding }: Settings): Buffer {
  const fields = { redundancy: formatRedundancy(redundancy), ...(rebuilding === true && { rebuilding }) };
  return sealRecord(keys, SETTINGS, fields);
}

/** @throws `damaged` if they are not what this vault sealed */
export function openSettings(keys: Subkeys, sealed: Uint8Array): Settings {
  const fields = recordFields(openRecord(keys, SETTINGS, sealed));
  const text = fields.get('redundancy');
  const redundancy = typeof text === 'string' ? parseRedundancy(text) : null;
  if (redundancy === null) throw brokenRecord(SETTINGS);
  return { redundancy, ...(fields.get('rebuilding') === true && { rebuilding: true }) };
}

/** Changes the vault's settings, whoever else changes them meanwhile. */
export async function changeSettings(
  session: Session,
  change: (settings: Settings) => Settings,
): Promise<void> {
  for (;;) {
    const row = await session.catalog.vault();
    if (row === null)
      throw new VaultError('no-vault', `There is no vault in ${session.catalog.label} any more.`);
    const before = openSettings(session.keys, row.settings);
    const after = change(before);
    const isSame = JSON.stringify(after) === JSON.stringify(before);
    if (isSame || (await session.catalog.updateSettings(row.settings, sealSettings(session.keys, after)))) {
      session.settings = after;
      return;
    }
  }
}

/**
 * Makes sure that the catalog knows every file. As long as it does not, nothing may be removed: what it does not know yet
 * may share chunks with what it knows.
 *
 * @throws `unavailable` while it is being rebuilt
 */
export async function requireWholeCatalog(session: Session): Promise<void> {
  if (session.settings.rebuilding === undefined) return;
  const row = await session.catalog.vault();
  if (row !== null) session.settings = openSettings(session.keys, row.settings);
  if (session.settings.rebuilding === undefined) return;
  throw new VaultError(
    'unavailable',
    `The catalog ${session.catalog.label} is being rebuilt and does not know every file yet. Let "vault recover" come to its end first.`,
  );
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
    `The catalog's record of ${purpose} makes no sense. "vault repair" mends the record of a file, "vault recover" a whole catalog.`,
  );
}

/** The signal as the optional property that contracts take. */
export function withSignal(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
