/**
 * Cleaning up: expired files, what dead puts left, what removals owe, and objects that nothing explains. Safe beside
 * running puts and other sweeps: whatever a put refers to, the catalog keeps; and a generation is never used twice.
 */
import { openManifest } from '../../crypto/seal.ts';
import { isVaultError, throwIfAborted } from '../../errors.ts';
import {
  MANIFEST_PREFIX,
  MAX_MANIFEST_SIZE,
  manifestObjectName,
  parseManifestObjectName,
} from '../../format/manifest.ts';
import { CHUNK_PREFIX, parseShardObjectName } from '../../format/shard.ts';
import type { ShardName } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import { collectGarbage, owedObjectName } from './collect.ts';
import { openFileRow } from '../files/files.ts';
import { LEASE_MS } from '../write/lease.ts';
import { hideFiles } from './remove.ts';
import { requireWholeCatalog, withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import type { CallOptions, FileInfo, SweepResult } from '../vault.ts';

/**
 * How long an object that nothing explains is left alone after it was first seen: it may be on its way into another catalog
 * that shares these buckets.
 */
export const STRAY_GRACE_MS = 24 * 3600 * 1000;

/** Names looked up together. */
const BATCH = 500;
/** Removals under way at once. */
const IN_FLIGHT = 16;

/** See `Vault.sweep`. */
export async function sweep(
  session: Session,
  options: CallOptions & { readonly strayGraceMs?: number } = {},
): Promise<SweepResult> {
  await requireWholeCatalog(session);
  const expired = await hideExpired(session, options);
  const { processes } = session;
  await session.catalog.buryPuts({ leaseMs: LEASE_MS, isGone: (owner) => processes.isGone(owner) });
  const collected = await collectGarbage(session, options);
  const dead = await session.catalog.deadPuts();
  const { usable, failed } = await session.buckets.check(session.buckets.all, options.signal);

  const found: Found = {
    objectsRemoved: 0,
    objectsOwed: 0,
    strays: new Map(),
    spared: new Map(),
    unknownFiles: new Map(),
  };
  const failures: BucketFailure[] = [...failed];
  const listed: VaultBucket[] = [];
  for (const bucket of usable) {
    throwIfAborted(options.signal);
    try {
      await examineBucket(session, bucket, { dead: new Set(dead), found, signal: options.signal });
      listed.push(bucket);
    } catch (error) {
      // A listing that failed says nothing: this bucket's objects stay, and the dead puts stay known.
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      failures.push({ bucket, error });
    }
  }
  await dismissOwed(session, found);
  await dismissRemoved(session, found, options.signal);
  const removedStrays = await removeStrays(session, { found, listed, options });
  if (listed.length === session.buckets.all.length && found.objectsOwed === 0) {
    for (const generation of dead) await session.catalog.forgetPut(generation);
  }
  for (const failure of failures) {
    options.onWarning?.({
      kind: 'bucket-down',
      message: describeFailure(failure),
      bucket: failure.bucket.url,
    });
  }
  const strays = [...found.strays.values()].reduce((sum, names) => sum + names.size, 0);
  return {
    expired,
    objectsRemoved: collected.objectsRemoved + found.objectsRemoved,
    objectsOwed: collected.objectsOwed + found.objectsOwed,
    strays: strays - removedStrays,
    unknownFiles: [...found.unknownFiles.keys()].toSorted(),
    unreachable: [...new Set(failures.map(({ bucket }) => bucket.url))],
  };
}

async function hideExpired(session: Session, options: CallOptions): Promise<FileInfo[]> {
  const expired: FileInfo[] = [];
  for await (const row of session.catalog.expiredFiles(session.now())) {
    throwIfAborted(options.signal);
    // The expiry that counts is the sealed one: a changed column must not make a file vanish.
    expired.push(...(await hideFiles(session, [openFileRow(session, row)])));
  }
  return expired;
}

interface Found {
  objectsRemoved: number;
  objectsOwed: number;
  /** Names that nothing explains, by bucket. */
  readonly strays: Map<VaultBucket, Set<string>>;
  /** Those of them that stay: shards of chunks that lack some, which `recover` and `repair` can use. */
  readonly spared: Map<VaultBucket, Set<string>>;
  /** A bucket that has the manifest, by hash. */
  readonly unknownFiles: Map<string, VaultBucket>;
}

interface Examination {
  /** Generations of dead puts. */
  readonly dead: ReadonlySet<string>;
  readonly found: Found;
  readonly signal: AbortSignal | undefined;
}

/** Lists a bucket, removes what dead puts left in it, and notes what nothing explains. */
async function examineBucket(session: Session, bucket: VaultBucket, examination: Examination): Promise<void> {
  const strays: string[] = [];
  const storage = await bucket.checked(examination.signal);
  const prefixes = [
    [CHUNK_PREFIX, examineShards],
    [MANIFEST_PREFIX, examineManifests],
  ] as const;
  for (const [prefix, examine] of prefixes) {
    let names: string[] = [];
    const flush = async (): Promise<void> => {
      strays.push(...(await examine(session, bucket, { ...examination, names })));
      names = [];
    };
    for await (const { name } of storage.list(prefix, withSignal(examination.signal))) {
      names.push(name);
      if (names.length === BATCH) await flush();
    }
    await flush();
  }
  examination.found.strays.set(bucket, new Set(strays));
}

/** Of listed shards: removes those of dead puts; gives those that nothing explains. */
async function examineShards(
  session: Session,
  bucket: VaultBucket,
  { names, dead, found, signal }: Examination & { readonly names: readonly string[] },
): Promise<string[]> {
  if (names.length === 0) return [];
  // In this order: an upload that was listed belongs to a put that is still pending here, or whose chunks are recorded
  // by the time they are looked up, or that is dead.
  const pending = new Set((await session.catalog.pendingPuts()).map(({ generation }) => generation));
  const shards = names.map((name) => ({ name, shard: parseShardObjectName(name) }));
  const ids = new Set(shards.flatMap(({ shard }) => (shard === null ? [] : [shard.chunkId])));
  const rows = await session.catalog.locateChunks([...ids]);
  const isRecorded = (shard: ShardName): boolean => {
    const row = rows.get(shard.chunkId);
    const place = row?.k === shard.k && row.m === shard.m ? row.shards[shard.index] : null;
    return place?.bucket === bucket.number && place.generation === shard.generation;
  };
  const strays: string[] = [];
  const doomed: string[] = [];
  const spared = found.spared.get(bucket) ?? new Set<string>();
  found.spared.set(bucket, spared);
  for (const { name, shard } of shards) {
    if (shard === null) strays.push(name);
    else if (isRecorded(shard) || pending.has(shard.generation)) continue;
    else if (dead.has(shard.generation)) doomed.push(name);
    else {
      strays.push(name);
      if (rows.get(shard.chunkId)?.shards.includes(null) === true) spared.add(name);
    }
  }
  await removeNames(bucket, doomed, { found, signal });
  return strays;
}

/** Of listed manifests: gives those that nothing explains and notes the files that the catalog does not know. */
async function examineManifests(
  session: Session,
  bucket: VaultBucket,
  { names, found, signal }: Examination & { readonly names: readonly string[] },
): Promise<string[]> {
  if (names.length === 0) return [];
  const hashes = names.map((name) => ({ name, hash: parseManifestObjectName(name) }));
  const known = await session.catalog.knownManifests(hashes.flatMap(({ hash }) => hash ?? []));
  const strays: string[] = [];
  for (const { name, hash } of hashes) {
    if (hash === null) {
      strays.push(name);
    } else if (!known.has(hash)) {
      if (await isOurManifest(session, bucket, { name, hash, signal })) found.unknownFiles.set(hash, bucket);
      else strays.push(name);
    }
  }
  return strays;
}

/** Objects whose removal is owed are in no other row, but they are explained: neither strays nor forgotten files. */
async function dismissOwed(session: Session, { unknownFiles, strays }: Found): Promise<void> {
  if (unknownFiles.size === 0 && [...strays.values()].every((names) => names.size === 0)) return;
  for await (const row of session.catalog.garbage()) {
    if (row.kind === 'manifest') unknownFiles.delete(row.id);
    for (const place of row.places) {
      const bucket = session.buckets.byNumber(place.bucket);
      if (bucket !== null) strays.get(bucket)?.delete(owedObjectName(row, place));
    }
  }
}

/** Files that somebody else removed during the sweep may be owed no longer, and then their manifests have gone. */
async function dismissRemoved(
  session: Session,
  { unknownFiles }: Found,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [hash, bucket] of unknownFiles) {
    try {
      const name = manifestObjectName(hash);
      if (!(await isOurManifest(session, bucket, { name, hash, signal }))) unknownFiles.delete(hash);
    } catch (error) {
      // It was there, and whether it has gone is not known.
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
    }
  }
}

/** Whether a bucket's object is a manifest of this vault, or may be one of a newer version. */
export async function isOurManifest(
  session: Session,
  bucket: VaultBucket,
  {
    name,
    hash,
    signal,
  }: { readonly name: string; readonly hash: string; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  try {
    const storage = await bucket.open();
    openManifest(
      session.keys,
      await storage.get(name, { maxSize: MAX_MANIFEST_SIZE, ...withSignal(signal) }),
      hash,
    );
    return true;
  } catch (error) {
    if (isVaultError(error, 'damaged', 'object-missing')) return false;
    // Written by a newer version: not ours to judge.
    if (isVaultError(error, 'unsupported')) return true;
    throw error;
  }
}

/** Removes strays that an earlier sweep has seen long enough ago. */
async function removeStrays(
  session: Session,
  {
    found,
    listed,
    options,
  }: {
    readonly found: Found;
    readonly listed: readonly VaultBucket[];
    readonly options: CallOptions & { readonly strayGraceMs?: number };
  },
): Promise<number> {
  const graceMs = options.strayGraceMs ?? STRAY_GRACE_MS;
  const now = session.now();
  const before = found.objectsRemoved;
  for (const bucket of listed) {
    const names = [...(found.strays.get(bucket) ?? [])];
    const since = await session.catalog.rememberStrays(bucket.number, names, now);
    // As long as there are files here that the catalog does not know, shards may be theirs.
    if (found.unknownFiles.size > 0) continue;
    const doomed = names.filter(
      (name) => now - (since.get(name) ?? now) >= graceMs && found.spared.get(bucket)?.has(name) !== true,
    );
    await removeNames(bucket, doomed, { found, signal: options.signal });
  }
  return found.objectsRemoved - before;
}

async function removeNames(
  bucket: VaultBucket,
  names: readonly string[],
  { found, signal }: { readonly found: Found; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const storage = await bucket.checked(signal);
  await forEachBounded(
    names,
    async (name, aborted) => {
      try {
        await storage.remove(name, { signal: aborted });
        found.objectsRemoved += 1;
      } catch (error) {
        if (!isVaultError(error) || error.code === 'interrupted') throw error;
        found.objectsOwed += 1;
      }
    },
    { inFlight: IN_FLIGHT, signal },
  );
}
