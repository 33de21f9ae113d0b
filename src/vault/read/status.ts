/**
 * How a vault stands: what it holds, and how much may happen to it. Nothing is downloaded but listings, tables of large
 * files, and manifests that are listed in different sizes.
 */
import { isVaultError, throwIfAborted } from '../../errors.ts';
import type { Catalog, ChunkRow } from '../../catalog/catalog.ts';
import type { CallOptions } from '../call.ts';
import { joinFiles } from '../files/file-join.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { IdSet } from '../chunks/id-set.ts';
import { otherPlaces } from '../chunks/places.ts';
import { goodHolders } from '../files/manifest-holders.ts';
import { openFileRowIfIntact, type FileInfo, type FileRecord } from '../files/records.ts';
import { neededChunks } from '../files/tables.ts';
import { isFuture } from '../protocol/clocks.ts';
import { isDeleted } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';
import { noVault } from '../open.ts';
import { lastRuns, type Run } from './runs.ts';
import { slicesOf } from '../../concurrency/batched.ts';

export interface VaultStatus {
  /** Names under which something is stored. */
  readonly files: number;
  /** Versions of them. */
  readonly versions: number;
  /** Removed files that the catalog still knows. */
  readonly removed: number;
  /** Versions whose size is not known, since they are locked. */
  readonly locked: number;
  /** Versions of which the catalog has not what was written there; they are in none of the other numbers but `versions`. */
  readonly changed: number;
  /** Bytes of all versions, as they were put. */
  readonly logicalBytes: number;
  /** Bytes of the chunks of all versions, each once, compressed and sealed, without redundancy; and of contents that lie in manifests. */
  readonly uniqueBytes: number;
  /** Versions that are dated in the future. */
  readonly future: number;
  /** When the newest of the other versions was stored; null where there is none. */
  readonly newestAtMs: number | null;
  /** Versions by how many of the buckets that answer may be lost without losing them; fewer than none: they cannot be read now. */
  readonly safety: ReadonlyMap<number, number>;
  /** Versions that survive the loss of fewer buckets than they were stored for. */
  readonly degraded: number;
  /** The last run of each verb that the catalog knows of. */
  readonly runs: readonly Run[];
}

/** A version as it was met: for what else is told of all of them. */
export interface MetVersion {
  readonly info: FileInfo;
  readonly removed: boolean;
  /** How many buckets may be lost without losing it; fewer than none for one that cannot be read, or was removed. */
  readonly spare: number;
  /** Buckets that have its manifest. */
  readonly holders: readonly string[];
  /** How its chunks lie, each way once: any k of these buckets. */
  readonly ways: Iterable<Way>;
}

export interface Way {
  readonly holding: ReadonlySet<string>;
  readonly k: number;
}

export interface StatusOptions extends CallOptions {
  readonly onVersion?: ((version: MetVersion) => void) | undefined;
}

/** What a catalog says without the password. */
export interface CatalogFacts extends Pick<VaultStatus, 'versions' | 'removed' | 'future' | 'newestAtMs'> {
  readonly vaultId: string;
}

/** @throws `no-vault` */
export async function factsOf(
  catalog: Catalog,
  { nowMs, signal }: { readonly nowMs: number; readonly signal: AbortSignal | undefined },
): Promise<CatalogFacts> {
  const row = await catalog.setup.vault();
  if (row === null) throw noVault(catalog.label);
  const { files: versions, hidden: removed } = await catalog.files.counts();
  let newestAtMs: number | null = null;
  let future = 0;
  for await (const { createdAtMs } of catalog.files.list({ all: true, signal })) {
    if (!isFuture(createdAtMs, nowMs)) {
      newestAtMs = createdAtMs;
      break;
    }
    future += 1;
  }
  return { vaultId: row.id, versions, removed, future, newestAtMs };
}

/** Identifiers in one question to the catalog. */
const BATCH = 500;
/** Survives nothing, and cannot be read either. */
const UNREADABLE = -1;

export async function vaultStatus(session: Session, options: StatusOptions = {}): Promise<VaultStatus> {
  const { signal, onVersion } = options;
  const { catalog, buckets } = session;
  const answering = new Set(buckets.all.map(({ id }) => id));
  const onFailure = ({ bucket }: { readonly bucket: { readonly id: string } }): void => {
    answering.delete(bucket.id);
  };
  const total = { versions: 0, removed: 0, locked: 0, changed: 0, future: 0, logicalBytes: 0, degraded: 0 };
  const nowMs = session.clock.now();
  const safety = new Map<number, number>();
  const live = new IdSet();
  const spare = session.keyring.keyring.redundancy.m;
  const listed = listChunks(buckets.all, { signal, onFailure });
  const others = await otherPlaces(catalog, listed, { spare, signal });
  let uniqueBytes = 0;
  let newestAtMs: number | null = null;
  for await (const { row, holders } of joinFiles(session, buckets.all, { signal, onFailure })) {
    throwIfAborted(signal);
    if (row === null) continue;
    // Another machine may have removed what no bucket has.
    const isAbsent = holders.length === 0 && (await isDeleted(session, row.hash, signal));
    const removed = row.hiddenAtMs !== null || isAbsent;
    total[removed ? 'removed' : 'versions'] += 1;
    if (removed && onVersion === undefined) continue;
    const record = openFileRowIfIntact(session, row);
    if (removed) {
      if (record !== null)
        onVersion?.({ info: record.info, removed, spare: UNREADABLE, holders: [], ways: [] });
      continue;
    }
    if (record === null) {
      total.changed += 1;
      continue;
    }
    const { size, chunks, createdAtMs, redundancy } = record.info;
    if (size === null) total.locked += 1;
    total.logicalBytes += size ?? 0;
    if (chunks === 0) uniqueBytes += size ?? 0;
    if (isFuture(createdAtMs, nowMs)) total.future += 1;
    else newestAtMs = Math.max(newestAtMs ?? createdAtMs, createdAtMs);
    const ways = new Map<string, Way>();
    const good = await goodHolders(record.info.hash, holders, { onFailure, signal });
    const survives = Math.min(
      good.length - 1,
      await chunkSpare(session, record, { ...options, answering, others, live, ways }),
    );
    const holding = good.map(({ id }) => id);
    onVersion?.({ info: record.info, removed, spare: survives, holders: holding, ways: ways.values() });
    safety.set(survives, (safety.get(survives) ?? 0) + 1);
    if (survives < redundancy.m) total.degraded += 1;
  }
  for await (const { id, sealedSize } of catalog.chunks.walk({ signal }))
    if (live.has(id) && !others.has(id)) uniqueBytes += sealedSize;
  for (const [id, place] of others) if (live.has(id)) uniqueBytes += place?.sealedSize ?? 0;
  let files = 0;
  for await (const _ of catalog.files.list({ all: false, signal })) files += 1;
  return { files, ...total, uniqueBytes, newestAtMs, safety, runs: await lastRuns(session) };
}

/** How many of the answering buckets may be lost without losing a chunk of a file. */
async function chunkSpare(
  session: Session,
  { ids }: FileRecord,
  options: CallOptions & {
    readonly answering: ReadonlySet<string>;
    /** Chunks that do not lie where the catalog says. */
    readonly others: ReadonlyMap<string, ChunkRow | null>;
    /** Gets the ids of its chunks. */
    readonly live: IdSet;
    /** Gets the ways in which they lie, by what they are. */
    readonly ways: Map<string, Way>;
  },
): Promise<number> {
  let least = Infinity;
  try {
    for await (const run of neededChunks(session, ids, options)) {
      for (const slice of slicesOf(run, BATCH)) {
        const some = [...new Set(slice.map(({ id }) => id))];
        const rows = await session.catalog.chunks.locate(some);
        for (const id of some) {
          options.live.add(id);
          const row = options.others.has(id) ? options.others.get(id) : rows.get(id);
          const places = (row?.shards ?? []).flatMap((place) =>
            place === null ? [] : (session.buckets.byNumber(place.bucket)?.id ?? []),
          );
          const holding = new Set(places.filter((bucket) => options.answering.has(bucket)));
          least = Math.min(least, holding.size - (row?.k ?? Infinity));
          if (row === undefined || row === null) continue;
          options.ways.set(`${row.k} ${[...holding].toSorted().join(' ')}`, { holding, k: row.k });
        }
      }
    }
  } catch (error) {
    // A table of the file cannot be read, and so nor can the file.
    if (!isVaultError(error, 'unavailable', 'damaged', 'denied', 'object-missing')) throw error;
    return UNREADABLE;
  }
  return Math.max(least, UNREADABLE);
}
