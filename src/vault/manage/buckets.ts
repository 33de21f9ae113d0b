/** The vault's set of buckets: taking one in, looking at them, and recording where one is now. */
import { drawId } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { keyringObjectName } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import { describeFailure, readMarker } from '../buckets/bucket-set.ts';
import type { BucketPlace, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { changeKeyring, loadBuckets } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';
import { putMarker, sealBucketUrl } from './create.ts';

/** A bucket of a vault, for people. */
export type BucketInfo = Omit<BucketPlace, 'number'>;

export interface BucketReport extends BucketInfo {
  /** Objects and bytes in it; null if it could not be listed. */
  readonly objects: number | null;
  readonly bytes: number | null;
  /** Why it cannot be used; null if it can. */
  readonly error: string | null;
}

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
  const { signal } = options;
  requireNewUrl(session, url);
  const bucket = await session.opener(url);
  try {
    const marker = await readMarker(bucket, signal);
    if (marker !== null) requireOurs(session, url, marker.vaultId);
    const known = session.buckets.all.find(({ id }) => id === marker?.bucketId);
    if (known !== undefined) {
      throw new VaultError(
        'already-exists',
        `${url} is a bucket of this vault already, known as ${known.url}. If it has moved: vault bucket set-url`,
      );
    }
    // One that was marked and is not in the keyring, because this was cut short, is taken in with the id it has.
    const id = marker?.bucketId ?? drawId();
    if (marker === null) await putMarker(bucket, url, { vaultId: session.vaultId, bucketId: id }, signal);
    await session.catalog.setup.putBucket({ id, record: sealBucketUrl(session.keys, id, url) });
    await changeKeyring(
      session,
      (keyring) => {
        if (keyring.buckets.some((other) => other.id === id)) return null;
        return { ...keyring, buckets: [...keyring.buckets, { id, state: 'active' as const }] };
      },
      { all: true, signal },
    );
    await storeKeyring(session, bucket, signal);
    return { id, url, state: 'active' };
  } finally {
    await bucket.close();
  }
}

/** Stores the keyring in a new bucket, and sees that it is to be had again: one that can only be written to is of no use. */
async function storeKeyring(
  session: Session,
  bucket: Bucket,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { keyring, bytes } = session.keyring;
  const name = keyringObjectName(keyring.epoch);
  await bucket.put(name, bytes, { signal, replace: true });
  let listed = false;
  for await (const object of bucket.list(name, { signal })) listed ||= object.name === name;
  const stored = listed ? await bucket.get(name, { signal, maxSize: bytes.length }) : null;
  if (stored !== null && Buffer.compare(stored, bytes) === 0) return;
  throw new VaultError(
    'damaged',
    `${bucket.label} does not keep what is stored there: ${name} did not come back as it was.`,
  );
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
        for await (const { size } of storage.list('', { signal: options.signal })) {
          objects += 1;
          bytes += size;
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
  const { id, state } = old;
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
  await session.catalog.setup.putBucket({ id, record: sealBucketUrl(session.keys, id, url) });
  session.buckets.replace(await loadBuckets(session, session.keyring.keyring));
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

/** What new files are stored with; what is stored already stays until `repair` codes it anew. */
export type VaultDefaults = Pick<Keyring, 'redundancy' | 'chunkSize' | 'compression'>;

/** Changes the vault's defaults. @returns whether anything was changed */
export function changeDefaults(
  session: Session,
  defaults: Partial<VaultDefaults>,
  options: CallOptions = {},
): Promise<boolean> {
  return changeKeyring(
    session,
    (keyring) => {
      const next = { ...keyring, ...defaults };
      return JSON.stringify(defaultsOf(next)) === JSON.stringify(defaultsOf(keyring)) ? null : next;
    },
    { all: false, signal: options.signal },
  );
}

function defaultsOf({ redundancy, chunkSize, compression }: VaultDefaults): VaultDefaults {
  return { redundancy: { k: redundancy.k, m: redundancy.m }, chunkSize, compression };
}
