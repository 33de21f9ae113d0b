/** The keyrings that a bucket has, and which of them are this vault's. */
import { verifyKeyring, type VerifyingKeys } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import {
  KEYRING_PREFIX,
  keyringRank,
  parseKeyringObjectName,
  placeOfNewer,
  type Keyring,
} from '../../format/keyring.ts';
import { MAX_KEYRING_SIZE } from '../../format/limits.ts';
import type { ReadableBucket } from '../../buckets/bucket.ts';
import type { Catalog } from '../../catalog/catalog.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { readCopy } from '../buckets/spread.ts';
import type { KeyringState } from '../session.ts';

/**
 * Epochs of one bucket that are looked at, the newest and then the oldest ones: a hostile bucket shows any number, and whoever can
 * create objects can plant false ones, though none in the place of one that stands.
 */
const MOST_NEWEST = 48;
const MOST_OLDEST = 16;
/** Names of keyrings that are looked at. */
const MOST_LISTED = 10_000;

/**
 * The keyring objects that a bucket has, newest first; damaged ones are left out.
 *
 * @param options `least`: the lowest epoch that matters
 */
export async function readKeyrings(
  bucket: ReadableBucket,
  options: { readonly least?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<Uint8Array[]> {
  const { least = 1, signal } = options;
  const names = await keyringNames(bucket, signal);
  return Array.fromAsync(readNamed(bucket, names, { least, signal }), ({ bytes }) => bytes);
}

/** Those of some of its names. @param options `least`: the lowest epoch that matters */
export async function* readNamed(
  bucket: ReadableBucket,
  names: readonly string[],
  { least, signal }: { readonly least: number; readonly signal: AbortSignal | undefined },
): AsyncGenerator<{ readonly epoch: number; readonly bytes: Uint8Array }, void, undefined> {
  const newest = names.filter((name) => epochOf(name) >= least).toReversed();
  const oldest = newest.splice(MOST_NEWEST).slice(-MOST_OLDEST);
  for (const name of [...newest, ...oldest]) {
    try {
      yield { epoch: epochOf(name), bytes: await bucket.get(name, { maxSize: MAX_KEYRING_SIZE, signal }) };
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'object-missing')) throw error;
    }
  }
}

/** What an object's name says; 0 if it is not a keyring's. */
export function epochOf(name: string): number {
  return parseKeyringObjectName(name) ?? 0;
}

/** Null for what somebody else has put there. @throws `unsupported` */
export function verifiedOrNull(keys: VerifyingKeys, bytes: Uint8Array, epoch?: number): Keyring | null {
  try {
    return verifyKeyring(keys, bytes, epoch);
  } catch (error) {
    if (isVaultError(error, 'damaged')) return null;
    throw error;
  }
}

/** A keyring that the vault has signed, and that this version cannot read. */
export interface NewerKeyring {
  /** As `keyringRank`; of what does not say it as this version does, it is beyond all others. */
  readonly rank: number;
  readonly error: VaultError;
}

/** As `verifiedOrNull`, and what only a newer version can read. */
export function verifiedOrNewer(
  keys: VerifyingKeys,
  bytes: Uint8Array,
  epoch?: number,
): Keyring | NewerKeyring | null {
  try {
    return verifiedOrNull(keys, bytes, epoch);
  } catch (error) {
    if (!isVaultError(error, 'unsupported')) throw error;
    const place = placeOfNewer(bytes);
    // Whoever can create objects can show an old one under any name.
    if (place !== null && epoch !== undefined && place.epoch !== epoch) return null;
    return { rank: place === null ? Infinity : keyringRank(place), error };
  }
}

/** As `keyringRank`; 0 for what somebody else has put there. */
export function rankOf(keys: VerifyingKeys, bytes: Uint8Array, epoch?: number): number {
  const found = verifiedOrNewer(keys, bytes, epoch);
  if (found === null) return 0;
  return 'rank' in found ? found.rank : keyringRank(found);
}

/**
 * Has the catalog remember a keyring, unless it has one that the vault has signed and that counts for more: what the row says of its
 * epoch is nobody's word.
 */
export async function noteKeyring(
  { keys, catalog }: { readonly keys: VerifyingKeys; readonly catalog: Pick<Catalog, 'setup'> },
  { keyring, bytes }: KeyringState,
): Promise<void> {
  const epoch = keyringRank(keyring);
  await catalog.setup.putKeyring({ epoch, keyring: bytes }, (known) => rankOf(keys, known) > epoch);
}

/**
 * Stops who would go by a keyring from before: it may have a key that the newest has not.
 *
 * @param newer what this version cannot read
 * @param counts the newest that it can
 * @throws `unsupported`
 */
export function refuseNewer(newer: readonly NewerKeyring[], counts: Keyring | null): void {
  const found = newer.find(({ rank }) => counts === null || rank >= keyringRank(counts));
  if (found === undefined) return;
  throw new VaultError(
    'unsupported',
    `A newer version has changed the vault’s keyring, so it is not known here which keys and buckets the vault has. ${found.error.message}`,
    { cause: found.error },
  );
}

/** A keyring's copy; null for one that is not there, or larger than any. */
export function readCopyIfWhole(
  bucket: ReadBucket,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | null> {
  return readCopy(bucket, name, { maxSize: MAX_KEYRING_SIZE, intact: true, signal });
}

/** The names of its keyrings, in order. */
export async function keyringNames(
  storage: ReadableBucket,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of storage.list(KEYRING_PREFIX, { signal })) {
    if (parseKeyringObjectName(name) !== null) names.push(name);
    // Those beyond stay for another time; the newest matter.
    if (names.length > MOST_LISTED) names.splice(0, MOST_LISTED / 2);
  }
  return names;
}
