/** The keyrings that a bucket has, and which of them are this vault's. */
import { verifyKeyring, type VerifyingKeys } from '../../crypto/signing.ts';
import { isVaultError } from '../../errors.ts';
import { KEYRING_PREFIX, parseKeyringObjectName, type Keyring } from '../../format/keyring.ts';
import { MAX_KEYRING_SIZE } from '../../format/limits.ts';
import type { ReadableBucket } from '../../buckets/bucket.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { readCopy } from '../buckets/spread.ts';

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
