/** Making everything whole again that can be. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { drawGeneration } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { encodeMarker, keyslotObjectName, MARKER_NAME } from '../../format/keyslot.ts';
import { CHUNK_PREFIX, formatRedundancy, isRedundancy, parseShardObjectName } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { drainingBucket, resolveBucket } from '../manage/bucket-admin.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { collectGarbage } from '../remove/collect.ts';
import { fileChunks, unreadableAs } from '../files/file-chunks.ts';
import { Findings } from '../verify/findings.ts';
import { examineKeyslots } from '../buckets/keyslot-copies.ts';
import { withLease } from '../write/lease.ts';
import { repairManifests } from './manifest-repair.ts';
import { repairRecords } from './record-repair.ts';
import { Rebuild } from './rebuild.ts';
import type { RebuildOptions } from './rebuild.ts';
import { changeSettings, withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import { hashesOf, usableBuckets, Verification } from '../verify/verify.ts';
import type { CallOptions, RepairOptions, RepairResult } from '../vault.ts';

/** Rows looked up together. */
const BATCH = 500;
/** Listed shards by which a bucket that has lost its marker is known. */
const MOST_EVIDENCE = 500;

/** See `Vault.repair`. */
export async function repairVault(session: Session, options: RepairOptions = {}): Promise<RepairResult> {
  const { signal, depth = 'listing', redundancy = null } = options;
  const hashes = await hashesOf(session, options.references);
  if (hashes !== null && (redundancy !== null || options.forgetBucket !== undefined)) {
    throw new VaultError(
      'invalid-input',
      'Redundancy and buckets are the whole vault’s: name no files with them.',
    );
  }
  const gone = options.forgetBucket === undefined ? null : resolveBucket(session, options.forgetBucket);
  checkBuckets(session, redundancy ?? session.settings.redundancy, { gone, isNew: redundancy !== null });
  // New files get it from now on.
  if (redundancy !== null) await changeSettings(session, (settings) => ({ ...settings, redundancy }));
  const leaving = gone === null ? null : { bucket: await drainingBucket(session, gone), gone: true };

  const silent = { ...withSignal(signal) };
  const before = new Findings(session, options, null);
  const markersStored = await restoreMarkers(session, leaving?.bucket ?? null, silent);
  const usable = await usableBuckets(session, before, options);
  const targets = usable.filter(({ state }) => state === 'active');
  const keyslotsStored = await repairKeyslots(session, usable, before, silent);
  await new Verification(session, { ...options, depth, usable, hashes, findings: before }).run();

  const after = new Findings(session, silent, hashes === null ? null : new Set(hashes));
  const rows = hashes === null ? session.catalog.listChunks(silent) : rowsOf(session, hashes, signal);
  const rebuilt = await rebuildChunks(session, { rows, targets, leaving, redundancy, options });
  const manifests = await repairManifests(session, {
    hashes,
    usable,
    targets,
    reads: depth === 'data',
    findings: after,
    signal,
  });
  const recordsRepaired = hashes === null ? await repairRecords(session, silent) : 0;
  const forgotten = leaving === null ? null : await forget(session, leaving.bucket, silent);
  const { objectsOwed } = await collectGarbage(session, silent);

  const stillUsable = await usableBuckets(session, after, silent);
  const look = { ...silent, depth: 'listing', usable: stillUsable, hashes, findings: after } as const;
  await new Verification(session, look).run();
  const { outcome, affected } = await after.result(0);
  const unfinished = forgotten === false || objectsOwed > 0 || after.failedBuckets.length > 0;
  return {
    outcome: outcome === 'whole' && unfinished ? 'degraded' : outcome,
    chunksRepaired: rebuilt.chunksRepaired,
    shardsStored: rebuilt.uploader.shardsStored,
    manifestsStored: manifests.manifestsStored,
    keyslotsStored,
    markersStored,
    recordsRepaired,
    bytesStored: rebuilt.uploader.bytesStored + manifests.bytesStored,
    affected,
    forgotten,
    objectsOwed,
    unreachable: [...new Set([...before.failedBuckets, ...after.failedBuckets])],
  };
}

function checkBuckets(
  session: Session,
  { k, m }: Redundancy,
  { gone, isNew }: { readonly gone: VaultBucket | null; readonly isNew: boolean },
): void {
  const left = session.buckets.all.filter((bucket) => bucket !== gone && bucket.state === 'active').length;
  // A bucket that is gone is gone: then the vault goes on with fewer shards, as long as they are enough to read.
  const needed = isNew ? k + m : k;
  if (isRedundancy({ k, m }) && (left >= needed || (gone === null && !isNew))) return;
  throw new VaultError(
    'invalid-input',
    `Redundancy ${formatRedundancy({ k, m })} needs ${needed} buckets or more, and there are ${left}. Add one first: vault bucket add`,
  );
}

/**
 * Marks buckets again that have lost their marker, or whose marker is damaged, if their shards show which they are. An empty folder
 * where a disk should be mounted shows nothing.
 */
async function restoreMarkers(
  session: Session,
  gone: VaultBucket | null,
  { signal }: CallOptions,
): Promise<number> {
  const staying = session.buckets.all.filter((bucket) => bucket !== gone);
  const { failed } = await session.buckets.check(staying, signal, { anew: true });
  let stored = 0;
  for (const { bucket, error } of failed) {
    if (!isVaultError(error, 'bucket-missing', 'bucket-mismatch', 'damaged')) continue;
    try {
      if (!(await isKnownByShards(session, bucket, signal))) continue;
      const marker = encodeMarker({ vaultId: session.vaultId, bucketId: bucket.id });
      await (await bucket.open()).put(MARKER_NAME, marker, { replace: true, ...withSignal(signal) });
      stored += 1;
    } catch (problem) {
      // The bucket stays unusable, and is reported so.
      if (!isVaultError(problem) || problem.code === 'interrupted') throw problem;
    }
  }
  return stored;
}

/** Whether a bucket lists a shard that the catalog records there: its generation was drawn at random. */
async function isKnownByShards(
  session: Session,
  bucket: VaultBucket,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const storage = await bucket.open();
  let left = MOST_EVIDENCE;
  for await (const { name } of storage.list(CHUNK_PREFIX, withSignal(signal))) {
    const shard = parseShardObjectName(name);
    const rows = shard === null ? null : await session.catalog.locateChunks([shard.chunkId]);
    const row = shard === null ? undefined : rows?.get(shard.chunkId);
    const place = shard === null ? null : row?.shards[shard.index];
    if (place?.bucket === bucket.number && place.generation === shard?.generation) return true;
    left -= 1;
    if (left === 0) return false;
  }
  return false;
}

/** Stores keyslots where they are missing or other than they should be; also in the catalog. */
async function repairKeyslots(
  session: Session,
  usable: readonly VaultBucket[],
  findings: Findings,
  { signal }: CallOptions,
): Promise<number> {
  let stored = 0;
  for (const { id, body, wrong, catalogWrong } of await examineKeyslots(session, usable, {
    findings,
    signal,
  })) {
    if (catalogWrong) await session.catalog.putKeyslot({ id, body });
    for (const bucket of wrong) {
      try {
        const storage = await bucket.checked(signal);
        await storage.put(keyslotObjectName(id), body, { replace: true, ...withSignal(signal) });
        stored += 1;
      } catch (error) {
        if (!isVaultError(error) || error.code === 'interrupted') throw error;
        findings.bucketFailed(bucket, error);
      }
    }
  }
  return stored;
}

/** The catalog's rows of given files' chunks, as far as their manifests and tables can be read. */
async function* rowsOf(
  session: Session,
  hashes: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<ChunkRow, void, undefined> {
  for (const hash of hashes) {
    try {
      for await (const { entries } of fileChunks(session, hash, { most: BATCH, signal })) {
        const ids = new Set(entries.map(({ chunkId }) => chunkId));
        yield* (await session.catalog.locateChunks([...ids])).values();
      }
    } catch (error) {
      // Reported by the look at what has become of everything.
      unreadableAs(error, signal);
    }
  }
}

/** Runs a rebuild under a pending put, so that what it leaves when it is killed is swept. */
export async function rebuildChunks(
  session: Session,
  {
    rows,
    options,
    ...rebuildOptions
  }: Pick<RebuildOptions, 'targets' | 'leaving' | 'redundancy'> & {
    readonly rows: AsyncIterable<ChunkRow>;
    readonly options: CallOptions;
  },
): Promise<Rebuild> {
  const generation = drawGeneration();
  await session.catalog.beginPut({ generation, owner: session.processes.self });
  await session.buckets.refresh();
  let doneBytes = 0;
  const rebuild = new Rebuild(session, {
    ...rebuildOptions,
    targets: rebuildOptions.targets.filter((bucket) => session.buckets.byNumber(bucket.number) === bucket),
    generation,
    onWarning: (warning) => options.onWarning?.(warning),
    onRebuilt: (bytes) => {
      doneBytes += bytes;
      options.onProgress?.({ doneBytes, totalBytes: null });
    },
  });
  await withLease(session.catalog, generation, options.signal, (signal) => rebuild.run(rows, signal));
  await rebuild.uploader.oweDoubtful(session.catalog);
  await session.catalog.discardPut(generation);
  return rebuild;
}

/** Whether any chunk is recorded in a bucket. */
export async function isInUse(
  session: Session,
  { number }: VaultBucket,
  call: CallOptions,
): Promise<boolean> {
  for await (const { shards } of session.catalog.listChunks(withSignal(call.signal))) {
    if (shards.some((place) => place?.bucket === number)) return true;
  }
  return false;
}

/** Forgets a bucket that is gone, unless a chunk could not be moved for now. */
async function forget(session: Session, bucket: VaultBucket, call: CallOptions): Promise<boolean> {
  if (await isInUse(session, bucket, call)) return false;
  await session.catalog.removeBucket(bucket.number);
  await session.buckets.drop(bucket.number);
  return true;
}
