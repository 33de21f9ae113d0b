/** The vault's set of buckets: taking one in, looking at them, and recording where one is now. */
import { drawId } from '../../crypto/keys.ts';
import { openBucketUrl, sealBucketUrl } from '../../crypto/texts.ts';
import { invalidInput, isFailure, VaultError } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { KEYRING_PREFIX, parseKeyringObjectName, type KeyringBucket } from '../../format/keyring.ts';
import { MANIFEST_PREFIX, parseManifestObjectName } from '../../format/manifest.ts';
import { encodeMarker, MARKER_NAME, type Marker } from '../../format/marker.ts';
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
import { parseShareObjectName, SHARES_PREFIX } from '../../format/share.ts';
import { describeFailure, readMarker, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketPlace, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { bucketsOf, putPlace } from '../keys/bucket-places.ts';
import { afterChange } from '../keys/change-outcome.ts';
import { answering, changeKeyring, refreshKeyring } from '../keys/keyring-store.ts';
import { settleKeyring } from '../keys/settle-keyring.ts';
import type { Session } from '../session.ts';
import { isSamePlace, putMarker, requireApart, requireKept } from './create.ts';

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

export async function addBucket(
  session: Session,
  url: string,
  options: CallOptions = {},
): Promise<BucketInfo> {
  const { signal } = options;
  await refreshKeyring(session, signal, { thorough: true });
  const known = session.buckets.all.find((bucket) => bucket.url === url);
  if (known !== undefined) return finishAdding(session, known, signal);
  const same = session.buckets.all.find((bucket) => isSamePlace(bucket.url, url));
  if (same !== undefined) throw knownAs(same.url, url);
  requireApart(
    url,
    session.buckets.all.map((bucket) => bucket.url),
  );
  return atPlace(session, url, async (bucket) => {
    const marker = await readMarker(bucket, signal);
    if (marker !== null) requireNew(session, url, marker);
    // One that was marked and is not in the keyring, because this was cut short, is taken in with the id it has.
    const id = marker?.bucketId ?? drawId();
    await requireEmpty(bucket, { url, marked: marker !== null, signal });
    await mark(bucket, url, { vaultId: session.vaultId, bucketId: id }, signal);
    await joinKeyring(session, { id, url, bucket, wasMarked: marker !== null }, signal);
    return { id, url, state: 'active' };
  });
}

/** Takes a marked bucket into the keyring; one that was marked for it and did not get in is left as it was. */
async function joinKeyring(
  session: Session,
  joining: {
    readonly id: string;
    readonly url: string;
    readonly bucket: Bucket;
    readonly wasMarked: boolean;
  },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { id, url, bucket, wasMarked } = joining;
  let mayBeIn = false;
  const onStoring = (): void => {
    mayBeIn = true;
  };
  try {
    await changeKeyring(
      session,
      (keyring) => {
        if (keyring.buckets.some((other) => other.id === id)) return null;
        const added: KeyringBucket = { id, state: 'active', url: sealBucketUrl(session.keys, id, url) };
        return { ...keyring, buckets: [...keyring.buckets, added] };
      },
      { all: true, onStoring, signal },
    );
  } catch (error) {
    // What went wrong first counts, not what its clean-up says.
    if (!wasMarked && !mayBeIn) await bucket.remove(MARKER_NAME).catch(() => undefined);
    throw error;
  }
}

/** The keyring names the bucket already: either it was added long ago, or that was cut short before every bucket knew. */
async function finishAdding(
  session: Session,
  known: VaultBucket,
  signal: AbortSignal | undefined,
): Promise<BucketInfo> {
  const { id, url, state } = known;
  const { stored, failed } = await settleKeyring(session, session.buckets.all, { signal });
  if (failed.length > 0) throw tooFewBuckets('Not every bucket could be told of the new one.', failed);
  // Not taken back: whoever is emptying it would go on, and miss what puts store there from now on.
  if (state === 'draining') {
    throw new VaultError(
      'already-exists',
      `${url} is being taken out of the vault, or that was cut short: "vault bucket rm ${typedWord(url)}" ends it. Add it then.`,
    );
  }
  if (stored === 0) throw new VaultError('already-exists', `${url} is a bucket of this vault already.`);
  return { id, url, state };
}

/** Marks a bucket and sees that it keeps that. One that does not is left as it was. */
async function mark(
  bucket: Bucket,
  url: string,
  marker: Marker,
  signal: AbortSignal | undefined,
): Promise<void> {
  await putMarker(bucket, url, marker, signal);
  try {
    await requireKept(bucket, { name: MARKER_NAME, bytes: encodeMarker(marker) }, signal);
  } catch (error) {
    // What went wrong first counts, not what its clean-up says.
    await bucket.remove(MARKER_NAME).catch(() => undefined);
    throw error;
  }
}

/** @throws `bucket-mismatch` for another vault's bucket; `already-exists` for one of this vault */
function requireNew(session: Session, url: string, marker: Marker): void {
  requireOurs(session, url, marker.vaultId);
  const known = session.buckets.all.find(({ id }) => id === marker.bucketId);
  if (known !== undefined) throw knownAs(known.url, url);
}

function knownAs(known: string, url: string): VaultError {
  return new VaultError(
    'already-exists',
    `${url} is a bucket of this vault already, known as ${known}. To change its URL: "vault bucket set-url".`,
  );
}

/**
 * Refuses a bucket that has been a vault's before and still holds what it held then: files that have been removed since would come
 * back with it.
 */
async function requireEmpty(
  bucket: Bucket,
  place: { readonly url: string; readonly marked: boolean; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const { url, marked, signal } = place;
  for (const [prefix, parse] of KINDS) {
    // A keyring comes with the marker.
    if (marked && prefix === KEYRING_PREFIX) continue;
    let seen = 0;
    for await (const { name } of bucket.list(prefix, { signal })) {
      seen += 1;
      if (parse(name) !== null) {
        throw new VaultError(
          'already-exists',
          `${url} holds ${name}, from when it was part of a vault. Empty it first (vault bucket rm ${typedWord(url)}) or name another place.`,
        );
      }
      if (seen === MOST_FOREIGN) break;
    }
  }
}

/** Names that are no vault's and are looked at before a place counts as somebody else's altogether. */
const MOST_FOREIGN = 1_000;
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

function requireOurs(session: Session, url: string, vaultId: string): void {
  if (vaultId !== session.vaultId) {
    throw new VaultError('bucket-mismatch', `${url} belongs to another vault.`);
  }
}
