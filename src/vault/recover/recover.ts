/**
 * Rebuilding a lost catalog from the buckets and a password: listings and manifests tell everything; no chunk is read, unless
 * it holds a table, and nothing is written to the buckets.
 */
import type { Catalog } from '../../catalog/catalog.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { openAsking, type PasswordGiver } from '../../crypto/asked-password.ts';
import { openBucketUrl } from '../../crypto/texts.ts';
import { objectDigest } from '../../crypto/signing.ts';
import { invalidInput, isFailure, messageOf, VaultError } from '../../errors.ts';
import { keyringRank } from '../../format/keyring.ts';
import { batchesOf } from '../../concurrency/batched.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { describeFailure, readMarker, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketFailure, BucketOpener, ReadBucket } from '../buckets/bucket-set.ts';
import { doing, telling, type Take } from '../buckets/steps.ts';
import type { CallOptions } from '../call.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { isComplete, isReadable, objectNameOf, rowOfSet, setsOf } from '../chunks/shard-sets.ts';
import { learn, noteLook } from '../files/catch-up.ts';
import { joinFiles } from '../files/file-join.ts';
import { absences } from '../files/removed-elsewhere.ts';
import { putPlace } from '../keys/bucket-places.ts';
import { noteKeyring, readKeyrings } from '../keys/keyring-copies.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import { unlock, type Candidate, type Unlocked } from '../keys/unlock.ts';
import { openSession, type OpenVaultParts } from '../open.ts';
import { listDeletions } from '../protocol/deletions.ts';
import { readSweepLists } from '../protocol/put-guard.ts';
import { sealedSizeOf } from '../repair/census.ts';
import { warnOfEpoch } from '../repair/files.ts';
import type { ReadSession, Session } from '../session.ts';

export interface RecoverOptions extends CallOptions {
  readonly catalog: Catalog;
  /** An empty one, if nothing is to be written: it takes what a session has to know of the vault and its buckets. */
  readonly scratch?: Catalog | undefined;
  /** URLs of buckets, normalised: one is enough, unless others have moved; the keyring knows where they are. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Gives the password; asked when a bucket has shown that there is a vault. */
  readonly password: PasswordGiver;
  /** How often it is asked for while it is wrong; once unless given. */
  readonly passwordTries?: number | undefined;
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
  /** Files whose manifests could not be read just now, or are of a newer version. */
  readonly unknown: readonly string[];
  /** Buckets that could not be used, given or found by the keyring, and why. */
  readonly unusable: readonly Unusable[];
}

const NOTHING_FOUND: Omit<RecoverResult, 'vaultId' | 'unusable'> = {
  learned: 0,
  known: 0,
  hidden: 0,
  unreadableManifests: [],
  missing: [],
  unknown: [],
};

interface Unusable {
  readonly url: string;
  readonly message: string;
}

/**
 * Rebuilds the catalog. Repeating it goes on where it was cut short, and finds what has been put by others meanwhile.
 *
 * @throws `no-vault` if no bucket has a marker; `invalid-input` if the buckets belong to different vaults, or the catalog
 *   describes another one; `wrong-password`; `unavailable` if no bucket can be reached
 */
export async function recoverCatalog(options: RecoverOptions): Promise<RecoverResult> {
  const { scratch, signal } = options;
  const catalog = scratch === undefined ? options.catalog : await sketch(options.catalog, scratch);
  const unusable: Unusable[] = [];
  const found = await findBuckets(options, unusable);
  try {
    const [{ vaultId }] = found;
    const existing = await catalog.setup.vault();
    if (existing !== null && existing.id !== vaultId) {
      throw invalidInput(
        `${catalog.label} describes another vault than these buckets. Name another place with --db.`,
      );
    }
    const unlocked = await unlockFrom(found, vaultId, options);
    await describeVault(catalog, unlocked, found);
    for (const { url, bucketId } of found) {
      if (unlocked.keyring.buckets.some(({ id }) => id === bucketId)) continue;
      unusable.push({ url, message: `${url} is no longer a bucket of this vault.` });
    }
    const session = await openSession({
      ...options.parts,
      catalog,
      opener: options.opener,
      password: () => Promise.reject(new Error('The vault is unlocked already')),
      unlocked,
    });
    try {
      for (const marked of found)
        session.buckets.all
          .find(({ id, url }) => id === marked.bucketId && url === marked.url)
          ?.hasShown(marked);
      const take = scratch === undefined ? doing(session) : telling();
      if (session.keys.full !== null)
        return { vaultId, ...(await syncFiles(session, options, { take, unusable })) };
      // Who can only store gets to know where to: files are closed to it.
      const { failed } = await refreshKeyring(session, signal, { thorough: true });
      for (const failure of failed) addUnusable(unusable, failure);
      return { vaultId, unusable, ...NOTHING_FOUND };
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
    { password: give, passwordTries: tries }: RecoverOptions,
  ): Promise<Unlocked> {
    const candidates = await collectKeyrings(buckets, unusable, signal);
    // A catalog that is there may know of a newer one than these buckets show.
    const existing = await catalog.setup.vault();
    if (existing !== null) candidates.push({ bytes: existing.keyring, votes: 0 });
    if (candidates.length === 0) {
      throw new VaultError(
        'damaged',
        'No bucket has an intact keyring, without which no password opens the vault. Give more of its buckets.',
      );
    }
    const advice =
      ' If it is so new that the buckets given do not know it yet, give more of the vault’s buckets.';
    return openAsking({ give, tries }, (password) => unlock(candidates, password, { vaultId, advice }));
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
  unusable: Unusable[],
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
      if (!isFailure(error)) throw error;
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
    throw invalidInput(`${first.url} and ${other.url} belong to different vaults.`);
  }
  const twice = others.find(({ bucketId }, i) =>
    found.slice(0, i + 1).some((earlier) => earlier.bucketId === bucketId),
  );
  if (twice !== undefined) {
    throw invalidInput(`${twice.url} is the same bucket as another of those given.`);
  }
  return [first, ...others];
}

/** The keyrings that the buckets have, each once: what more of them show is tried first, so that one bucket's false ones cost nothing. */
async function collectKeyrings(
  buckets: readonly FoundBucket[],
  unusable: Unusable[],
  signal: AbortSignal | undefined,
): Promise<Candidate[]> {
  const copies = new Map<string, Candidate & { votes: number }>();
  for (const { bucket, url } of buckets) {
    try {
      const here = new Map(
        (await readKeyrings(bucket, { signal })).map((bytes) => [objectDigest(bytes), bytes]),
      );
      for (const [key, bytes] of here) {
        const known = copies.get(key);
        if (known === undefined) copies.set(key, { bytes, votes: 1 });
        else known.votes += 1;
      }
    } catch (error) {
      if (!isFailure(error)) throw error;
      unusable.push({ url, message: error.message });
    }
  }
  return [...copies.values()];
}

/** Writes the vault into the catalog, and where its buckets are for this machine, as far as that is not what the keyring says. */
async function describeVault(
  catalog: Catalog,
  unlocked: Unlocked,
  found: readonly FoundBucket[],
): Promise<void> {
  const { keys, keyring, bytes } = unlocked;
  const { vaultId, buckets } = keyring;
  const epoch = keyringRank(keyring);
  await catalog.setup.create({ id: vaultId, epoch, keyring: bytes, writer: keys.writer.id });
  await noteKeyring({ keys, catalog }, unlocked);
  const known = new Set((await catalog.setup.buckets()).map(({ id }) => id));
  for (const bucket of buckets) {
    const given = found.find(({ bucketId }) => bucketId === bucket.id);
    if (given === undefined && known.has(bucket.id)) continue;
    const isElsewhere = given !== undefined && given.url !== openBucketUrl(keys, bucket);
    await putPlace({ keys, catalog }, bucket.id, isElsewhere ? given.url : null);
  }
}

/**
 * A catalog for telling what a recovery would come to: the files are those of the one that is there, which are only read. What
 * describes the vault is copied, a few rows, since a session takes over keyrings and gives numbers to buckets. No file is: what is told
 * of it comes of the join of listings and catalog, and not of a catalog that is rebuilt.
 */
async function sketch({ label, setup, files }: Catalog, scratch: Catalog): Promise<Catalog> {
  const vault = await setup.vault();
  if (vault !== null) await scratch.setup.create(vault);
  for (const bucket of await setup.buckets()) await scratch.setup.putBucket(bucket);
  return { ...scratch, label, files };
}

/** Rows recorded in one transaction. */
const BATCH = 500;
/** Manifests read at once. */
const IN_FLIGHT = 16;

/** What the catalog has learned from the buckets. */
export type SyncResult = Omit<RecoverResult, 'vaultId'>;

/** See `Vault.sync`. @param how `unusable`: buckets that are known to be */
export async function syncFiles(
  session: Session,
  options: CallOptions = {},
  { take = doing(session), unusable = [] }: { readonly take?: Take; readonly unusable?: Unusable[] } = {},
): Promise<SyncResult> {
  await refreshKeyring(session, options.signal, { thorough: true });
  return { ...(await recoverFiles(session, take, options, unusable)), unusable };
}

async function recoverFiles(
  session: ReadSession,
  take: Take,
  options: CallOptions,
  unusable: Unusable[],
): Promise<Omit<SyncResult, 'unusable'>> {
  const { signal, onWarning } = options;
  const beganAtMs = session.clock.now();
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  const onFailure = (failure: BucketFailure): void => addUnusable(unusable, failure);
  for (const failure of failed) onFailure(failure);
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  const deletions = await listDeletions(session, usable, { signal, onFailure });
  let totalFiles = 0;
  for await (const _ of joinFiles(session, usable, { signal, onFailure })) totalFiles += 1;
  const counts = { learned: 0, known: 0, hidden: 0 };
  const [unreadableManifests, missing, unknown]: [string[], string[], string[]] = [[], [], []];
  let unseen = 0;
  let doneFiles = 0;
  let warned = false;
  const tell = (): void => options.onProgress?.({ doneBytes: 0, totalBytes: null, doneFiles, totalFiles });
  tell();
  const whyAbsent = absences(session, take, { from: usable, signal });
  await forEachBounded(
    joinFiles(session, usable, { signal, onFailure }),
    async (file, aborted) => {
      const deletion = deletions.get(file.hash) ?? null;
      const known = await learn(session, take, file, { deletion, whyAbsent, signal: aborted });
      if (known.kind === 'missing') missing.push(file.hash);
      if (known.kind === 'unreadable') unreadableManifests.push(file.hash);
      if (known.kind === 'unknown') {
        unknown.push(file.hash);
        if (!known.isTooNew) unseen += 1;
      }
      if (known.kind === 'known' || known.kind === 'learned') {
        counts[known.kind] += 1;
        if (deletion !== null && !deletion.live) counts.hidden += 1;
        warned ||= warnOfEpoch(session, known.record, onWarning);
      }
      doneFiles += 1;
      totalFiles = Math.max(totalFiles, doneFiles);
      tell();
    },
    { inFlight: IN_FLIGHT, signal },
  );
  await take([], undefined, async (writing) => {
    await recoverPlaces(writing, usable, { signal, onFailure });
    if (unusable.length + unseen === 0) await noteLook(writing, beganAtMs);
  });
  return {
    ...counts,
    unreadableManifests: unreadableManifests.toSorted(),
    missing: missing.toSorted(),
    unknown: unknown.toSorted(),
  };
}

function addUnusable(unusable: Unusable[], failure: BucketFailure): void {
  if (unusable.some(({ url }) => url === failure.bucket.url)) return;
  unusable.push({ url: failure.bucket.url, message: describeFailure(failure) });
}

/** Records where shards lie, so that reading need not look for them: outside of lists of removal, where a set is complete there. */
async function recoverPlaces(
  session: Session,
  buckets: readonly ReadBucket[],
  options: { readonly signal: AbortSignal | undefined; readonly onFailure: (failure: BucketFailure) => void },
): Promise<void> {
  const { absent } = await readSweepLists(session, buckets, options.signal);
  for await (const some of batchesOf(listChunks(buckets, options), BATCH)) {
    const rows = some.flatMap(({ shards }) => {
      const lasting = shards.filter((shard) => !absent.has(objectNameOf(shard)));
      const best = setsOf(lasting).find(isComplete) ?? setsOf(shards).find(isReadable);
      return best === undefined ? [] : [rowOfSet(best, sealedSizeOf(best))];
    });
    await session.catalog.chunks.put(rows);
  }
}
