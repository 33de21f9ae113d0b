/** Taking a place in as a bucket of the vault, and what keeps others from taking it away meanwhile. */
import { drawId } from '../../crypto/keys.ts';
import { openBucketUrl, sealBucketUrl } from '../../crypto/texts.ts';
import { VaultError } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { KEYRING_PREFIX, type KeyringBucket } from '../../format/keyring.ts';
import { encodeMarker, MARKER_NAME, type Marker } from '../../format/marker.ts';
import { readMarker, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { notEverywhere } from '../keys/change-outcome.ts';
import { changeKeyring, findNewest, refreshKeyring } from '../keys/keyring-store.ts';
import { settleKeyring } from '../keys/settle-keyring.ts';
import type { Session } from '../session.ts';
import { atPlace, KINDS, requireOurs } from './buckets.ts';
import type { BucketInfo } from './buckets.ts';
import { isSamePlace, putMarker, requireApart, requireKept } from './create.ts';

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
    const joining = { id, url, bucket, wasMarked: marker !== null };
    await requireEmpty(joining, signal);
    await mark(session, joining, signal);
    await joinKeyring(session, joining, signal);
    return { id, url, state: 'active' };
  });
}

/** A place that is none of the vault's buckets, as one that becomes one or was one. */
export interface Place {
  readonly id: string;
  readonly url: string;
  readonly bucket: Bucket;
}

interface Asking {
  /** Whether one bucket’s word will do: every bucket is told of one that is taken in, and whoever is about to looks for its marker last. */
  readonly any?: boolean;
  readonly signal: AbortSignal | undefined;
}

interface Joining extends Place {
  readonly wasMarked: boolean;
}

/** Marks a bucket and sees that it keeps that. One that does not is left as it was. */
async function mark(session: Session, joining: Joining, signal: AbortSignal | undefined): Promise<void> {
  const { id, url, bucket } = joining;
  const marker = { vaultId: session.vaultId, bucketId: id };
  await putMarker(bucket, url, marker, signal);
  try {
    await requireKept(bucket, { name: MARKER_NAME, bytes: encodeMarker(marker) }, signal);
  } catch (error) {
    // What went wrong first counts, not what its clean-up says.
    if (!joining.wasMarked) await takeMarker(session, joining, { any: true, signal }).catch(() => undefined);
    throw error;
  }
}

/** Takes a marked bucket into the keyring; one that was marked for it and did not get in is left as it was. */
async function joinKeyring(
  session: Session,
  joining: Joining,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { id, url, wasMarked } = joining;
  let mayBeIn = false;
  const onStoring = (): void => {
    mayBeIn = true;
  };
  try {
    await changeKeyring(
      session,
      (keyring) => {
        if (keyring.buckets.some((other) => other.id === id)) return null;
        // Somebody else may have taken the place in meanwhile, under another id.
        const same = session.buckets.all.find((other) => isSamePlace(other.url, url));
        if (same !== undefined) throw knownAs(same.url, url);
        const added: KeyringBucket = { id, state: 'active', url: sealBucketUrl(session.keys, id, url) };
        return { ...keyring, buckets: [...keyring.buckets, added] };
      },
      { all: true, onStoring, signal },
    );
  } catch (error) {
    if (!wasMarked && !mayBeIn)
      await takeMarker(session, joining, { any: true, signal }).catch(() => undefined);
    // Where it is only the marker that was missing, all is done with it.
    else if (await remark(session, joining, signal).catch(() => false)) return;
    throw error;
  }
  await remark(session, joining, signal);
}

/**
 * Marks a bucket anew that has just been taken in and has lost its marker by then: as long as no keyring named it, it was taken for what
 * a removal has left, see `takeMarker`.
 *
 * @returns whether it was so, and every bucket has the keyring now
 * @throws `bucket-mismatch` if another marker is there
 */
async function remark(
  session: Session,
  { id, url, bucket }: Place,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const known = session.buckets.all.find((one) => one.id === id);
  if (known === undefined) return false;
  const marker = await readMarker(bucket, signal);
  if (marker !== null) {
    known.hasShown(marker);
    return false;
  }
  await putMarker(bucket, url, { vaultId: session.vaultId, bucketId: id }, signal);
  const { failed } = await settleKeyring(session, session.buckets.all, { signal });
  if (failed.length > 0) throw notEverywhere(failed);
  return true;
}

/**
 * Takes the marker from a place that is no bucket, and puts it back if the place has become one by then. Whoever takes a place in looks
 * for its marker once the keyring names it: so one of the two sees what the other has done.
 *
 * @throws `unavailable` if it is back; `retained`
 */
export async function takeMarker(
  session: Session,
  place: Place,
  { any = false, signal }: Asking,
): Promise<void> {
  const { id, url, bucket } = place;
  const marker = await readMarker(bucket, signal);
  // Another one is not what was to be taken away.
  if (marker?.vaultId !== session.vaultId || marker.bucketId !== id) return;
  await bucket.remove(MARKER_NAME, { signal, unlessRetained: true });
  let bucketId: string | null = id;
  try {
    bucketId = await bucketAt(session, place, { any, signal });
  } finally {
    // Also for whoever was interrupted.
    if (bucketId !== null) await putMarker(bucket, url, { ...marker, bucketId }, undefined);
  }
  if (bucketId !== null) throw becameBucket(place);
}

/** @throws `unavailable` if a place is a bucket of the vault (again), or may be: not every bucket could be asked */
export async function requireNoBucket(
  session: Session,
  place: Pick<Place, 'id' | 'url'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if ((await bucketAt(session, place, { signal })) !== null) throw becameBucket(place);
}

function becameBucket({ url }: Pick<Place, 'url'>): VaultError {
  return new VaultError(
    'unavailable',
    `${url} has become a bucket of this vault meanwhile, or may have: not every bucket could be asked. What is there stays.`,
  );
}

/**
 * The id of the bucket that a place is by now. It is the buckets that are asked, and not the catalog: who cleans up may do so because that
 * has failed.
 *
 * @returns null if it is none
 * @throws `unavailable` if not every bucket could be asked
 */
async function bucketAt(
  session: Session,
  place: Pick<Place, 'id' | 'url'>,
  { any = false, signal }: Asking,
): Promise<string | null> {
  const { newest, usable, failed } = await findNewest(session, signal, { thorough: true });
  const urls = new Map(session.buckets.all.map((one) => [one.id, one.url]));
  const found = newest?.keyring.buckets.find(
    (one) =>
      one.id === place.id || isSamePlace(urls.get(one.id) ?? openBucketUrl(session.keys, one), place.url),
  );
  if (found === undefined && (any ? usable.length === 0 : failed.length > 0)) throw becameBucket(place);
  return found?.id ?? null;
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

/** @throws `bucket-mismatch` for another vault's bucket; `already-exists` for one of this vault */
function requireNew(session: Session, url: string, marker: Marker): void {
  requireOurs(session, url, marker.vaultId);
  const known = session.buckets.all.find(({ id }) => id === marker.bucketId);
  if (known !== undefined) throw knownAs(known.url, url);
}

/**
 * Refuses a bucket that has been a vault's before and still holds what it held then: files that have been removed since would come
 * back with it.
 */
async function requireEmpty(
  { bucket, url, wasMarked }: Joining,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [prefix, parse] of KINDS) {
    // A keyring comes with the marker.
    if (wasMarked && prefix === KEYRING_PREFIX) continue;
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

function knownAs(known: string, url: string): VaultError {
  return new VaultError(
    'already-exists',
    `${url} is a bucket of this vault already, known as ${known}. To change its URL: "vault bucket set-url".`,
  );
}

/** Names that are no vault's and are looked at before a place counts as somebody else's altogether. */
const MOST_FOREIGN = 1_000;
