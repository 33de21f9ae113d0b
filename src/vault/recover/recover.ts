/**
 * Rebuilding a lost catalog from the buckets and a password: listings and manifests tell everything; no chunk is read, unless
 * it holds a table, and nothing is written to the buckets.
 */
import type { Catalog } from '../../catalog/catalog.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { deriveSubkeys } from '../../crypto/keys.ts';
import type { Subkeys } from '../../crypto/keys.ts';
import { isVaultError, messageOf, VaultError } from '../../errors.ts';
import { readMarker } from '../buckets/bucket-set.ts';
import type { BucketOpener } from '../buckets/bucket-set.ts';
import { defaultRedundancy } from '../manage/create.ts';
import { collectKeyslots } from '../buckets/keyslot-copies.ts';
import { openSession } from '../open.ts';
import type { OpenVaultParts } from '../open.ts';
import { recoverFiles } from './recover-files.ts';
import type { RecoveredFiles } from './recover-files.ts';
import { sealBucketUrl, sealSettings } from '../session.ts';
import { openKeyslot } from '../manage/unlock.ts';
import type { CallOptions } from '../vault.ts';

export interface RecoverOptions extends CallOptions {
  readonly catalog: Catalog;
  /** URLs of the buckets, normalised: all that can be had. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Gives the password; asked once, when a bucket has shown that there is a vault. */
  readonly password: () => Promise<string>;
  /** What the vault is opened with afterwards. */
  readonly parts: Omit<OpenVaultParts, 'catalog' | 'opener' | 'password'>;
}

export interface RecoverResult extends RecoveredFiles {
  readonly vaultId: string;
  /** Buckets that could not be used, and why. */
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
  const [{ vaultId }] = found;
  const existing = await catalog.vault();
  if (existing !== null && existing.id !== vaultId) {
    throw new VaultError(
      'invalid-input',
      `${catalog.label} describes another vault than these buckets. Name another place with --db.`,
    );
  }
  const copies = await collectKeyslots(
    found.map(({ bucket }) => bucket),
    { vaultId, signal },
  );
  if (copies.length === 0) {
    throw new VaultError(
      'damaged',
      'No bucket has an intact keyslot, without which no password opens the vault. Give more of its buckets.',
    );
  }
  const opened = await openKeyslot(
    copies.map(({ body }) => body),
    vaultId,
    await options.password(),
  );
  const keys = deriveSubkeys(opened.masterKey, vaultId);
  // The copy that opened has proved itself; of the other keyslots, what most buckets have is taken.
  const bodies = new Map<string, Uint8Array>(copies.toReversed().map(({ id, body }) => [id, body]));
  bodies.set(opened.slot.id, opened.body);
  await describeVault(options, { vaultId, keys, bodies, found });

  const session = await openSession({
    ...options.parts,
    catalog,
    opener: options.opener,
    password: () => Promise.reject(new Error('The vault is unlocked already')),
    unlocked: keys,
  });
  try {
    const result = await recoverFiles(session, options);
    return { vaultId, unusable, ...result };
  } finally {
    await session.workers.close();
    await session.buckets.close();
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
  const stranger = others.find(({ vaultId }) => vaultId !== first.vaultId);
  if (stranger !== undefined) {
    throw new VaultError('invalid-input', `${first.url} and ${stranger.url} belong to different vaults.`);
  }
  const twice = others.find(({ bucketId }, i) =>
    found.slice(0, i + 1).some((other) => other.bucketId === bucketId),
  );
  if (twice !== undefined) {
    throw new VaultError('invalid-input', `${twice.url} is the same bucket as another of those given.`);
  }
  return [first, ...others];
}

/** Writes vault, keyslots and buckets into the catalog, as far as they are not there. */
async function describeVault(
  { catalog }: RecoverOptions,
  {
    vaultId,
    keys,
    bodies,
    found,
  }: {
    readonly vaultId: string;
    readonly keys: Subkeys;
    readonly bodies: ReadonlyMap<string, Uint8Array>;
    readonly found: readonly FoundBucket[];
  },
): Promise<void> {
  // The redundancy is a guess until the newest manifest tells what files were stored with.
  const settings = sealSettings(keys, { redundancy: defaultRedundancy(found.length), rebuilding: true });
  await catalog.create(
    { id: vaultId, settings },
    [...bodies].map(([id, body]) => ({ id, body })),
  );
  const known = new Map((await catalog.buckets()).map((bucket) => [bucket.id, bucket]));
  for (const { bucketId, url } of found) {
    if (known.has(bucketId)) continue;
    await catalog.putBucket({ id: bucketId, state: 'active', record: sealBucketUrl(keys, bucketId, url) });
  }
}
