/** The vault's set of buckets: taking one in, looking at them, and recording where one is now. */
import { drawId } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import type { KeyslotRow } from '../../catalog/catalog.ts';
import {
  encodeMarker,
  KEYSLOT_PREFIX,
  keyslotObjectName,
  MARKER_NAME,
  MAX_JSON_OBJECT_SIZE,
} from '../../format/keyslot.ts';
import { MANIFEST_PREFIX } from '../../format/manifest.ts';
import { CHUNK_PREFIX } from '../../format/shard.ts';
import { describeFailure, readMarker, VaultBucket } from '../buckets/bucket-set.ts';
import { sealBucketUrl, withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import type { BucketInfo, BucketReport, CallOptions } from '../vault.ts';

/** Fewest digits of an id by which a bucket is known. */
const MIN_ID_LENGTH = 8;

/**
 * The bucket that a URL or the beginning of an id means.
 *
 * @throws `invalid-input` if the vault has no such bucket
 */
export function resolveBucket(session: Session, reference: string): VaultBucket {
  const { all } = session.buckets;
  const isId = reference.length >= MIN_ID_LENGTH && /^[0-9a-f]+$/i.test(reference);
  const [found, second] = all.filter(
    ({ id, url }) => url === reference || (isId && id.startsWith(reference.toLowerCase())),
  );
  if (found === undefined || second !== undefined) {
    throw new VaultError(
      'invalid-input',
      `The vault has no bucket ${reference}. It has: ${all.map(({ url }) => url).join(', ')}.`,
    );
  }
  return found;
}

/** See `Vault.addBucket`. */
export async function addBucket(
  session: Session,
  url: string,
  options: CallOptions = {},
): Promise<BucketInfo> {
  requireNewUrl(session, url);
  const bucket = await session.opener(url);
  try {
    const marker = await readMarker(bucket, options.signal);
    if (marker !== null) requireOurs(session, url, marker.vaultId);
    const known = session.buckets.all.find(({ id }) => id === marker?.bucketId);
    if (known !== undefined) {
      throw new VaultError(
        'already-exists',
        `${url} is a bucket of this vault already, known as ${known.url}. If it has moved: vault bucket set-url`,
      );
    }
    // Keyslots and marker before the catalog's word: as soon as the vault knows the bucket, it can be used. One that was
    // marked and not recorded, because this was cut short, is recorded with the id it has.
    const given = await session.catalog.keyslots();
    await putKeyslots(bucket, given, options.signal);
    const id = marker?.bucketId ?? (await mark(session, url, bucket, options.signal));
    const record = sealBucketUrl(session.keys, id, url);
    const number = await session.catalog.putBucket({ id, state: 'active', record });
    const added = new VaultBucket(
      { number, id, state: 'active' },
      { url, vaultId: session.vaultId, opener: session.opener },
    );
    session.buckets.add(added);
    // Who changes the password from now on finds the bucket. A password that was changed meanwhile must not open it.
    const valid = await session.catalog.keyslots();
    await putKeyslots(bucket, without(valid, given), options.signal);
    for (const { id: old } of without(given, valid)) {
      await bucket.remove(keyslotObjectName(old), withSignal(options.signal));
    }
    return { id, url, state: 'active' };
  } finally {
    await bucket.close();
  }
}

/** Stores keyslots, and sees that they are to be had again: a bucket that can only be written to is of no use. */
async function putKeyslots(
  bucket: Bucket,
  slots: readonly KeyslotRow[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const call = withSignal(signal);
  for (const { id, body } of slots) {
    const name = keyslotObjectName(id);
    await bucket.put(name, body, { ...call, replace: true });
    let listed = false;
    for await (const object of bucket.list(name, call)) listed ||= object.name === name;
    const stored = listed ? await bucket.get(name, { ...call, maxSize: MAX_JSON_OBJECT_SIZE }) : null;
    if (stored === null || Buffer.compare(stored, body) !== 0) {
      throw new VaultError(
        'damaged',
        `${bucket.label} does not keep what is stored there: ${name} did not come back as it was.`,
      );
    }
  }
}

function without(slots: readonly KeyslotRow[], others: readonly KeyslotRow[]): readonly KeyslotRow[] {
  return slots.filter(({ id }) => !others.some((other) => other.id === id));
}

async function mark(
  session: Session,
  url: string,
  bucket: Bucket,
  signal: AbortSignal | undefined,
): Promise<string> {
  const id = drawId();
  try {
    await bucket.put(
      MARKER_NAME,
      encodeMarker({ vaultId: session.vaultId, bucketId: id }),
      withSignal(signal),
    );
    return id;
  } catch (error) {
    if (!isVaultError(error, 'already-exists')) throw error;
    throw new VaultError('already-exists', `${url} has just become a bucket of a vault. Try again.`, {
      cause: error,
    });
  }
}

/** See `Vault.bucketReport`. */
export async function bucketReport(session: Session, options: CallOptions = {}): Promise<BucketReport[]> {
  return Promise.all(
    session.buckets.all.map(async (bucket): Promise<BucketReport> => {
      const { id, url, state } = bucket;
      let objects = 0;
      let bytes = 0;
      try {
        const storage = await bucket.checked(options.signal);
        for (const prefix of [CHUNK_PREFIX, MANIFEST_PREFIX, KEYSLOT_PREFIX, MARKER_NAME]) {
          for await (const { size } of storage.list(prefix, withSignal(options.signal))) {
            objects += 1;
            bytes += size;
          }
        }
        return { id, url, state, objects, bytes, error: null };
      } catch (error) {
        if (!isVaultError(error) || error.code === 'interrupted') throw error;
        return { id, url, state, objects: null, bytes: null, error: describeFailure({ bucket, error }) };
      }
    }),
  );
}

/** See `Vault.setBucketUrl`. */
export async function setBucketUrl(
  session: Session,
  reference: string,
  url: string,
  options: CallOptions = {},
): Promise<BucketInfo> {
  const old = resolveBucket(session, reference);
  const { id, state, number } = old;
  if (old.url !== url) requireNewUrl(session, url);
  const bucket = await session.opener(url);
  try {
    const marker = await readMarker(bucket, options.signal);
    if (marker === null) {
      throw new VaultError(
        'bucket-missing',
        `${url} has no ${MARKER_NAME}, so it is not the bucket ${old.url}. Is its disk mounted, is the URL right?`,
      );
    }
    requireOurs(session, url, marker.vaultId);
    if (marker.bucketId !== id) {
      throw new VaultError('bucket-mismatch', `${url} is another bucket of this vault than ${old.url}.`);
    }
  } finally {
    await bucket.close();
  }
  await session.catalog.putBucket({ id, state, record: sealBucketUrl(session.keys, id, url) });
  await session.buckets.drop(number);
  session.buckets.add(new VaultBucket(old, { url, vaultId: session.vaultId, opener: session.opener }));
  return { id, url, state };
}

function requireNewUrl(session: Session, url: string): void {
  if (session.buckets.all.some((bucket) => bucket.url === url)) {
    throw new VaultError('already-exists', `${url} is a bucket of this vault already.`);
  }
}

function requireOurs(session: Session, url: string, vaultId: string): void {
  if (vaultId !== session.vaultId) {
    throw new VaultError('bucket-mismatch', `${url} belongs to another vault.`);
  }
}

/** The bucket as one that takes nothing new; recorded so, for every process that opens the vault from now on. */
export async function drainingBucket(session: Session, bucket: VaultBucket): Promise<VaultBucket> {
  const { id, url, number } = bucket;
  if (bucket.state === 'draining') return bucket;
  await session.catalog.putBucket({ id, state: 'draining', record: sealBucketUrl(session.keys, id, url) });
  const draining = new VaultBucket(
    { number, id, state: 'draining' },
    { url, vaultId: session.vaultId, opener: session.opener },
  );
  await session.buckets.drop(number);
  session.buckets.add(draining);
  return draining;
}
