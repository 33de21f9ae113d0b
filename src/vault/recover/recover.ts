/**
 * Rebuilding a lost catalog from the buckets and a password: listings and manifests tell everything; no chunk is read, unless
 * it holds a table, and nothing is written to the buckets.
 */
import type { Catalog, ChunkRow } from '../../catalog/catalog.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { isVaultError, messageOf, VaultError } from '../../errors.ts';
import { decodeKeyring } from '../../format/keyring.ts';
import { describeFailure, readMarker } from '../buckets/bucket-set.ts';
import type { BucketFailure, BucketOpener, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { isReadable, rowOfSet, sealedSizeByListing, setsOf } from '../chunks/shard-sets.ts';
import { learnFile } from '../files/catch-up.ts';
import { joinFiles } from '../files/file-join.ts';
import { readKeyrings, refreshKeyring } from '../keys/keyring-store.ts';
import { unlock } from '../keys/unlock.ts';
import type { Unlocked } from '../keys/unlock.ts';
import { sealBucketUrl } from '../manage/create.ts';
import { openSession } from '../open.ts';
import type { OpenVaultParts } from '../open.ts';
import { readDeletion } from '../remove/deletions.ts';
import type { Session } from '../session.ts';

export interface RecoverOptions extends CallOptions {
  readonly catalog: Catalog;
  /** URLs of the buckets, normalised: all that can be had. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Gives the password; asked once, when a bucket has shown that there is a vault. */
  readonly password: () => Promise<string>;
  /** What the vault is opened with afterwards. */
  readonly parts: Omit<OpenVaultParts, 'catalog' | 'opener' | 'password' | 'unlocked'>;
}

export interface RecoverResult {
  readonly vaultId: string;
  /** Files that the catalog knows now and did not know before. */
  readonly learned: number;
  /** Files that it had already. */
  readonly known: number;
  /** Removed files that can still be brought back, among them. */
  readonly hidden: number;
  /** Hashes of manifests that no bucket has intact: files whose names are not known any more. */
  readonly unreadableManifests: readonly string[];
  /** Files that the catalog lists and no bucket has; they are left listed. */
  readonly missing: readonly string[];
  /** Buckets of the vault that were not given or could not be used, by URL or else id, and why. */
  readonly unusable: readonly { readonly url: string; readonly message: string }[];
}

/**
 * Rebuilds the catalog. Repeating it goes on where it was cut short, and finds what has been put by others meanwhile.
 *
 * @throws `no-vault` if no bucket has a marker; `invalid-input` if the buckets belong to different vaults, or the catalog
 *   describes another one; `wrong-password`; `unavailable` if no bucket can be reached
 */
export async function recoverCatalog(options: RecoverOptions): Promise<RecoverResult> {
  const { catalog, signal } = options;
  const unusable: { url: string; message: string }[] = [];
  const found = await findBuckets(options, unusable);
  try {
    const [{ vaultId }] = found;
    const existing = await catalog.setup.vault();
    if (existing !== null && existing.id !== vaultId) {
      throw new VaultError(
        'invalid-input',
        `${catalog.label} describes another vault than these buckets. Name another place with --db.`,
      );
    }
    const unlocked = await unlockFrom(found, vaultId, options);
    await describeVault(options, unlocked, found);
    const session = await openSession({
      ...options.parts,
      catalog,
      opener: options.opener,
      password: () => Promise.reject(new Error('The vault is unlocked already')),
      unlocked,
    });
    try {
      const result = await recoverFiles(session, options, unusable);
      return { vaultId, unusable, ...result };
    } finally {
      await session.workers.close();
      await session.buckets.close();
    }
  } finally {
    await Promise.allSettled(found.map(({ bucket }) => bucket.close()));
  }

  async function unlockFrom(
    buckets: readonly FoundBucket[],
    vaultId: string,
    { password }: RecoverOptions,
  ): Promise<Unlocked> {
    const candidates = await collectKeyrings(buckets, unusable, signal);
    if (candidates.length === 0) {
      throw new VaultError(
        'damaged',
        'No bucket has an intact keyring, without which no password opens the vault. Give more of its buckets.',
      );
    }
    return unlock(candidates, await password(), { vaultId });
  }
}

interface FoundBucket {
  readonly url: string;
  readonly bucket: Bucket;
  readonly vaultId: string;
  readonly bucketId: string;
}

async function findBuckets(
  options: RecoverOptions,
  unusable: { url: string; message: string }[],
): Promise<readonly [FoundBucket, ...FoundBucket[]]> {
  const found: FoundBucket[] = [];
  const errors: VaultError[] = [];
  for (const url of options.urls) {
    try {
      const bucket = await options.opener(url);
      const marker = await readMarker(bucket, options.signal);
      if (marker === null) {
        throw new VaultError(
          'bucket-missing',
          `${url} has no marker of a vault. Is its disk mounted, is the URL right?`,
        );
      }
      found.push({ url, bucket, ...marker });
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      errors.push(error);
      unusable.push({ url, message: error.message });
    }
  }
  const [first, ...others] = found;
  if (first === undefined) {
    const outage = errors.find((error) => error.code !== 'bucket-missing');
    throw new VaultError(
      outage?.code ?? 'no-vault',
      `None of the buckets can be used. ${errors.map(messageOf).join(' ')}`,
      { cause: errors[0] },
    );
  }
  const other = others.find(({ vaultId }) => vaultId !== first.vaultId);
  if (other !== undefined) {
    throw new VaultError('invalid-input', `${first.url} and ${other.url} belong to different vaults.`);
  }
  const twice = others.find(({ bucketId }, i) =>
    found.slice(0, i + 1).some((earlier) => earlier.bucketId === bucketId),
  );
  if (twice !== undefined) {
    throw new VaultError('invalid-input', `${twice.url} is the same bucket as another of those given.`);
  }
  return [first, ...others];
}

/** The keyrings that the buckets have, each once, highest epoch first; of equal epochs what most of them have. */
async function collectKeyrings(
  buckets: readonly FoundBucket[],
  unusable: { url: string; message: string }[],
  signal: AbortSignal | undefined,
): Promise<Uint8Array[]> {
  const copies = new Map<string, { readonly bytes: Uint8Array; readonly epoch: number; votes: number }>();
  for (const { bucket, url } of buckets) {
    try {
      for (const bytes of await readKeyrings(bucket, signal)) {
        const key = Buffer.from(bytes).toString('latin1');
        const known = copies.get(key);
        if (known === undefined) copies.set(key, { bytes, epoch: epochOf(bytes), votes: 1 });
        else known.votes += 1;
      }
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      unusable.push({ url, message: error.message });
    }
  }
  return [...copies.values()]
    .toSorted((a, b) => b.epoch - a.epoch || b.votes - a.votes)
    .map(({ bytes }) => bytes);
}

/** What an unverified keyring says; what makes no sense comes last. */
function epochOf(bytes: Uint8Array): number {
  try {
    return decodeKeyring(bytes).keyring.epoch;
  } catch (error) {
    if (isVaultError(error, 'unsupported')) return Number.MAX_SAFE_INTEGER;
    if (isVaultError(error, 'damaged')) return 0;
    throw error;
  }
}

/** Writes vault and buckets into the catalog, as far as they are not there. */
async function describeVault(
  { catalog }: RecoverOptions,
  { keys, keyring, bytes }: Unlocked,
  found: readonly FoundBucket[],
): Promise<void> {
  const { epoch, vaultId } = keyring;
  await catalog.setup.create({ id: vaultId, epoch, keyring: bytes, writer: keys.writer.id });
  await catalog.setup.putKeyring({ epoch, keyring: bytes });
  const known = new Set((await catalog.setup.buckets()).map(({ id }) => id));
  for (const { bucketId, url } of found) {
    if (known.has(bucketId) || !keyring.buckets.some(({ id }) => id === bucketId)) continue;
    await catalog.setup.putBucket({ id: bucketId, record: sealBucketUrl(keys, bucketId, url) });
  }
}

/** Rows recorded in one transaction. */
const BATCH = 500;

async function recoverFiles(
  session: Session,
  options: CallOptions,
  unusable: { url: string; message: string }[],
): Promise<Omit<RecoverResult, 'vaultId' | 'unusable'>> {
  const { signal } = options;
  await refreshKeyring(session, signal);
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  for (const failure of failed) addUnusable(unusable, failure);
  const listed = new Set(session.buckets.all.map(({ id }) => id));
  for (const { id } of session.keyring.keyring.buckets) {
    if (!listed.has(id)) unusable.push({ url: id, message: `The vault’s bucket ${id} was not given.` });
  }
  const onFailure = (failure: BucketFailure): void => addUnusable(unusable, failure);
  const counts = { learned: 0, known: 0, hidden: 0 };
  const unreadableManifests: string[] = [];
  const missing: string[] = [];
  let total = 0;
  for await (const _ of joinFiles(session, usable, { signal, onFailure })) total += 1;
  let done = 0;
  options.onProgress?.({ doneBytes: 0, totalBytes: total });
  for await (const file of joinFiles(session, usable, { signal, onFailure })) {
    done += 1;
    if (file.holders.length === 0) {
      if (file.row?.hiddenAtMs === null) missing.push(file.hash);
      continue;
    }
    const { record: deletion } = await readDeletion(session, file.hash, { from: usable, signal });
    const known = await learnFile(session, file, { deletion, write: true, signal });
    if (known.kind === 'unreadable') unreadableManifests.push(file.hash);
    else if (known.kind !== 'foreign') counts[known.kind] += 1;
    if (deletion !== null && !deletion.live) counts.hidden += 1;
    options.onProgress?.({ doneBytes: done, totalBytes: total });
  }
  await recoverPlaces(session, usable, { signal, onFailure });
  return { ...counts, unreadableManifests, missing };
}

function addUnusable(unusable: { url: string; message: string }[], failure: BucketFailure): void {
  if (unusable.some(({ url }) => url === failure.bucket.url)) return;
  unusable.push({ url: failure.bucket.url, message: describeFailure(failure) });
}

/** Records where shards lie, so that reading need not look for them. */
async function recoverPlaces(
  session: Session,
  buckets: readonly VaultBucket[],
  options: { readonly signal: AbortSignal | undefined; readonly onFailure: (failure: BucketFailure) => void },
): Promise<void> {
  let rows: ChunkRow[] = [];
  for await (const { shards } of listChunks(buckets, options)) {
    const best = setsOf(shards).find((set) => isReadable(set));
    if (best === undefined) continue;
    rows.push(rowOfSet(best, sealedSizeByListing(best)));
    if (rows.length < BATCH) continue;
    await session.catalog.chunks.put(rows);
    rows = [];
  }
  if (rows.length > 0) await session.catalog.chunks.put(rows);
}
