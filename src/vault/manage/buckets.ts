/** The vault's set of buckets: looking at them, and recording where one is now. */
import { openBucketUrl, sealBucketUrl } from '../../crypto/texts.ts';
import { invalidInput, isFailure, VaultError } from '../../errors.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { KEYRING_PREFIX, parseKeyringObjectName } from '../../format/keyring.ts';
import { MANIFEST_PREFIX, parseManifestObjectName } from '../../format/manifest.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import {
  CLOCK_NAME,
  DELETED_PREFIX,
  parseDeletionObjectName,
  parsePutMarkerName,
  parseSweepObjectName,
  PUTS_PREFIX,
  SWEEP_PREFIX,
} from '../../format/removal.ts';
import { CHUNK_PREFIX, parseShardObjectName } from '../../format/shard.ts';
import { countGoodShares, parseShareObjectName, SHARES_PREFIX } from '../../format/share.ts';
import { describeFailure, readMarker } from '../buckets/bucket-set.ts';
import type { BucketPlace, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { bucketsOf, putPlace } from '../keys/bucket-places.ts';
import { afterChange } from '../keys/change-outcome.ts';
import { answering, changeKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';

/** A bucket of a vault, for people. */
export type BucketInfo = Omit<BucketPlace, 'number'>;

export interface BucketReport extends BucketInfo {
  /** Objects of the vault and their bytes in it; null if it could not be listed. */
  readonly objects: number | null;
  readonly bytes: number | null;
  /** Why it cannot be used; null if it can. */
  readonly error: string | null;
}

/** Fewest digits of an id by which a bucket is known. */
const MIN_ID_LENGTH = 8;

/** Whether a URL or the beginning of an id means a bucket. */
export function means(
  reference: string,
  { id, url }: { readonly id: string; readonly url: string },
): boolean {
  return url === reference || (isIdPrefix(reference) && id.startsWith(reference.toLowerCase()));
}

export function isIdPrefix(reference: string): boolean {
  return reference.length >= MIN_ID_LENGTH && /^[0-9a-f]+$/i.test(reference);
}

/** Works with the bucket that is at a place, whether the vault has it or not. */
export async function atPlace<T>(
  session: Session,
  url: string,
  work: (bucket: Bucket) => Promise<T>,
): Promise<T> {
  const bucket = await session.opener(url);
  try {
    return await work(bucket);
  } finally {
    await bucket.close();
  }
}

/**
 * The bucket that a URL or the beginning of an id means.
 *
 * @throws `invalid-input` if the vault has no such bucket
 */
export function resolveBucket(session: Session, reference: string): VaultBucket {
  const { all } = session.buckets;
  const [found, second] = all.filter((bucket) => means(reference, bucket));
  if (found === undefined || second !== undefined) {
    throw invalidInput(
      `The vault has no bucket ${reference}. It has: ${all.map(({ url }) => url).join(', ')}.`,
    );
  }
  return found;
}

/** What a vault keeps in a bucket beside the marker, by prefix, and what tells its names from others'; the keyring last. */
export const KINDS: readonly (readonly [string, (name: string) => unknown])[] = [
  [MANIFEST_PREFIX, parseManifestObjectName],
  [CHUNK_PREFIX, parseShardObjectName],
  [DELETED_PREFIX, parseDeletionObjectName],
  [SWEEP_PREFIX, parseSweepObjectName],
  [PUTS_PREFIX, parsePutMarkerName],
  [SHARES_PREFIX, parseShareObjectName],
  [CLOCK_NAME, (name) => (name === CLOCK_NAME ? name : null)],
  [KEYRING_PREFIX, parseKeyringObjectName],
];

function isVaultName(name: string): boolean {
  return (
    name === MARKER_NAME || KINDS.some(([prefix, parse]) => name.startsWith(prefix) && parse(name) !== null)
  );
}

export async function bucketReport(session: Session, options: CallOptions = {}): Promise<BucketReport[]> {
  return Promise.all(
    session.buckets.all.map(async (bucket): Promise<BucketReport> => {
      const { id, url, state } = bucket;
      let objects = 0;
      let bytes = 0;
      try {
        const storage = await bucket.checked(options.signal);
        for await (const { name, size } of storage.list('', { signal: options.signal })) {
          if (!isVaultName(name)) continue;
          objects += 1;
          bytes += size;
        }
        return { id, url, state, objects, bytes, error: null };
      } catch (error) {
        if (!isFailure(error)) throw error;
        return { id, url, state, objects: null, bytes: null, error: describeFailure({ bucket, error }) };
      }
    }),
  );
}

export interface SetBucketUrlOptions extends CallOptions {
  /** Whether it is there for this machine alone, and for others where it was. */
  readonly local?: boolean | undefined;
}

export async function setBucketUrl(
  session: Session,
  reference: string,
  url: string,
  options: SetBucketUrlOptions = {},
): Promise<BucketInfo> {
  const { signal, onWarning, local = false } = options;
  const old = await answering(
    session,
    async () => {
      const found = resolveBucket(session, reference);
      if (found.url !== url) await requireNewUrl(session, found, { url, signal });
      return found;
    },
    { signal },
  );
  const { id, state } = old;
  await requireSame(session, old, { url, signal });
  // For this machine first: so the bucket can be reached while the keyring is changed.
  await putPlace(session, id, url);
  session.buckets.replace(await bucketsOf(session, session.keyring.keyring));
  // A keyslot that can only store cannot tell the others.
  if (local || session.keys.full === null) return { id, url, state };
  await changeKeyring(
    session,
    (keyring) => {
      const known = keyring.buckets.find((bucket) => bucket.id === id);
      if (known === undefined || openBucketUrl(session.keys, known) === url) return null;
      const moved = { ...known, url: sealBucketUrl(session.keys, id, url) };
      return { ...keyring, buckets: keyring.buckets.map((one) => (one === known ? moved : one)) };
    },
    { all: false, onWarning, signal },
  );
  await afterChange(async () => {
    await putPlace(session, id, null);
    session.buckets.replace(await bucketsOf(session, session.keyring.keyring));
  });
  return { id, url, state };
}

/** @throws `bucket-missing` or `bucket-mismatch` if another bucket is there than the vault knows */
async function requireSame(
  session: Session,
  known: VaultBucket,
  { url, signal }: { readonly url: string; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const marker = await atPlace(session, url, (bucket) => readMarker(bucket, signal));
  if (marker === null) {
    throw new VaultError(
      'bucket-missing',
      `${url} has no ${MARKER_NAME}, so it is not the bucket ${known.url}. Is its disk mounted, is the URL right?`,
    );
  }
  requireOurs(session, url, marker.vaultId);
  if (marker.bucketId !== known.id) {
    throw new VaultError('bucket-mismatch', `${url} is another bucket of this vault than ${known.url}.`);
  }
}

async function requireNewUrl(
  session: Session,
  old: VaultBucket,
  { url, signal }: { readonly url: string; readonly signal: AbortSignal | undefined },
): Promise<void> {
  if (session.buckets.all.every((bucket) => bucket.url !== url)) return;
  const marker = await atPlace(session, url, (bucket) => readMarker(bucket, signal));
  const swapped =
    marker?.bucketId === old.id
      ? ` What was ${old.url} lies there now: the two have changed places. Move them back, or set another URL for that one first.`
      : '';
  throw new VaultError('already-exists', `${url} is a bucket of this vault already.${swapped}`);
}

export function requireOurs(session: Session, url: string, vaultId: string): void {
  if (vaultId !== session.vaultId) {
    throw new VaultError('bucket-mismatch', `${url} belongs to another vault.`);
  }
}

/** How many links of `vault share` lead to a bucket, and are still good. @throws what the bucket says */
export async function countShares(
  session: Session,
  url: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  return atPlace(session, url, async (bucket) => {
    const names = await Array.fromAsync(bucket.list(SHARES_PREFIX, { signal }), ({ name }) => name);
    return countGoodShares(names, session.clock.now());
  });
}
