/** Making everything whole again that can be: markers, keyrings, manifests, chunks, and the catalog's knowledge of them. */
import { isVaultError, VaultError } from '../../errors.ts';
import { keyringObjectName } from '../../format/keyring.ts';
import { encodeMarker, MARKER_NAME } from '../../format/marker.ts';
import { formatRedundancy, isRedundancy } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { checkEach, describeFailure, readMarker, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { readCopy } from '../buckets/spread.ts';
import { refreshKeyring, removeOlder } from '../keys/keyring-store.ts';
import { changeDefaults } from '../manage/buckets.ts';
import { listForRemoval } from '../remove/sweep.ts';
import type { Session } from '../session.ts';
import { repairChunks } from './chunks.ts';
import type { RepairOptions } from './options.ts';
import { repairManifests } from './manifests.ts';

export interface RepairResult {
  /** Chunks made whole, moved or coded anew (with `dryRun`: that would be). */
  readonly chunksRepaired: number;
  /** Chunks that are readable and still lack something: too few buckets can be used. */
  readonly chunksDegraded: number;
  /** Chunks that no k shards give. */
  readonly chunksLost: number;
  readonly shardsStored: number;
  readonly manifestsStored: number;
  readonly keyringsStored: number;
  readonly markersStored: number;
  /** Rows of files in the catalog that were made anew from their manifests. */
  readonly recordsRepaired: number;
  /** Bytes sent to buckets. */
  readonly bytesStored: number;
  /** Objects that were replaced, and go with the next sweep. */
  readonly objectsReplaced: number;
  /** Hashes of files that cannot be read any more, or lack a manifest. */
  readonly filesLost: readonly string[];
  /** URLs of buckets that could not be used. */
  readonly unreachable: readonly string[];
}

/** See `Vault.repair`. */
export async function repairVault(session: Session, options: RepairOptions = {}): Promise<RepairResult> {
  const { signal, redundancy, dryRun = false } = options;
  if (redundancy !== undefined) requireBuckets(session, redundancy, options);
  const markersStored = dryRun ? 0 : await restoreMarkers(session, signal);
  const { failed } = await refreshKeyring(session, signal);
  const { usable, failed: unusable } = await session.buckets.check(session.buckets.all, signal, {
    anew: true,
  });
  if (usable.length === 0)
    throw tooFewBuckets("None of the vault's buckets can be used.", [...unusable, ...failed]);
  for (const failure of unusable) {
    options.onWarning?.({
      kind: 'bucket-down',
      message: describeFailure(failure),
      bucket: failure.bucket.url,
    });
  }
  // New files get it from now on.
  if (redundancy !== undefined && !dryRun) await changeDefaults(session, { redundancy }, options);
  const keyringsStored = dryRun ? 0 : await restoreKeyrings(session, usable, signal);
  const chunks = await repairChunks(session, usable, { ...options, redundancy: redundancy ?? null });
  const manifests = dryRun
    ? { stored: 0, bytes: 0, lost: [] }
    : await repairManifests(session, usable, options);
  if (!dryRun && chunks.damaged.length > 0) await listForRemoval(session, usable, chunks.damaged, signal);
  return {
    chunksRepaired: chunks.repaired,
    chunksDegraded: chunks.degraded,
    chunksLost: chunks.lost,
    shardsStored: chunks.shardsStored,
    manifestsStored: manifests.stored,
    keyringsStored,
    markersStored,
    recordsRepaired: chunks.learned,
    bytesStored: chunks.bytesStored + manifests.bytes,
    objectsReplaced: chunks.damaged.length,
    filesLost: [...new Set([...chunks.filesLost, ...manifests.lost])].toSorted(),
    unreachable: unusable.map(({ bucket }) => bucket.url),
  };
}

function requireBuckets(session: Session, redundancy: Redundancy, { references }: RepairOptions): void {
  if (references !== undefined) {
    throw new VaultError('invalid-input', 'Redundancy is the whole vault’s: name no files with it.');
  }
  const { k, m } = redundancy;
  const active = session.buckets.active.length;
  if (isRedundancy(redundancy) && active >= k + m) return;
  throw new VaultError(
    'invalid-input',
    `Redundancy ${formatRedundancy(redundancy)} needs ${k + m} buckets, and the vault has ${active}. Add some: vault bucket add`,
  );
}

/** Marks buckets of the vault anew that have lost their markers but still show its keyring. @returns how many */
async function restoreMarkers(session: Session, signal: AbortSignal | undefined): Promise<number> {
  let stored = 0;
  await checkEach(session.buckets.all, async (bucket) => {
    const storage = await bucket.open();
    let marker: Awaited<ReturnType<typeof readMarker>> = null;
    let damaged = false;
    try {
      marker = await readMarker(storage, signal);
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
      damaged = true;
    }
    if (marker !== null) return;
    // Only a bucket that shows this very vault's keyring is known to be the one: an empty disk is not.
    const name = keyringObjectName(session.keyring.keyring.epoch);
    const copy = await readCopy(bucket, name, { maxSize: session.keyring.bytes.length, signal }).catch(
      () => null,
    );
    if (copy === null || Buffer.compare(copy, session.keyring.bytes) !== 0) return;
    const bytes = encodeMarker({ vaultId: session.vaultId, bucketId: bucket.id });
    await storage.put(MARKER_NAME, bytes, { signal, replace: damaged });
    stored += 1;
  });
  return stored;
}

/** Gives every bucket the newest keyring, and leaves it no older one. @returns how many got it */
async function restoreKeyrings(
  session: Session,
  usable: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<number> {
  const { keyring, bytes } = session.keyring;
  const name = keyringObjectName(keyring.epoch);
  let stored = 0;
  const { failed } = await checkEach(usable, async (bucket) => {
    const copy = await readCopy(bucket, name, { maxSize: bytes.length, signal }).catch((error: unknown) => {
      if (isVaultError(error, 'damaged')) return null;
      throw error;
    });
    if (copy !== null && Buffer.compare(copy, bytes) === 0) return;
    await (await bucket.checked(signal)).put(name, bytes, { signal, replace: true });
    stored += 1;
  });
  if (failed.length === 0) await removeOlder(session, keyring.epoch, signal);
  return stored;
}
