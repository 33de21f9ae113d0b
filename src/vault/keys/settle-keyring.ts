/** Giving every bucket the keyring that counts, and taking those away that do not. */
import { objectDigest } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { keyringObjectName, keyringRank } from '../../format/keyring.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import {
  checkEach,
  notListing,
  type BucketFailure,
  type ReadBucket,
  type VaultBucket,
} from '../buckets/bucket-set.ts';
import { doing, storing, type Take } from '../buckets/steps.ts';
import type { KeyringState, ReadSession, Session } from '../session.ts';
import { epochOf, keyringNames, rankOf, readCopyIfWhole } from './keyring-copies.ts';

export interface Settled {
  /** How many buckets got the keyring now (or lack it, if it was only looked). */
  readonly stored: number;
  /** Whether every bucket still had a keyring from before, so that nobody had begun to settle this one. */
  readonly isNew: boolean;
  readonly failed: readonly BucketFailure[];
}

/**
 * Gives each of the buckets the keyring that counts, and takes the earlier ones away where it stands, as well as what lies under a
 * later name and is none of this vault: a bucket that cannot keep the new one keeps what it has.
 */
export function settleKeyring(
  session: Session,
  buckets: readonly VaultBucket[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Settled> {
  return settleKeyringBy(doing(session), session, buckets, signal);
}

/** The same, step by step. */
export async function settleKeyringBy(
  take: Take,
  session: ReadSession,
  buckets: readonly ReadBucket[],
  signal: AbortSignal | undefined,
): Promise<Settled> {
  const { keyring, bytes } = session.keyring;
  const object = keyringObjectName(keyring.epoch);
  let stored = 0;
  let withEarlier = 0;
  const { failed } = await checkEach(buckets, async (bucket) => {
    const storage = await bucket.checked(signal);
    const copy = await readCopyIfWhole(bucket, object, signal);
    let isThere = copy !== null && Buffer.compare(copy, bytes) === 0;
    if (!isThere) {
      const step = storing(object, bucket, { reason: 'missing', bytes: bytes.length });
      isThere = await take([step], false, async (writing) => {
        const target = await writing.buckets.ours(bucket).checked(signal);
        await target.put(object, bytes, { signal, replace: true });
        return true;
      });
      stored += 1;
    }
    const listed = await keyringNames(storage, signal);
    if (listed.some((name) => name < object)) withEarlier += 1;
    // A bucket that does not list what it has taken would be left without any.
    if (isThere && !listed.includes(object)) throw notListing(bucket, 'the keyring');
    if (!listed.includes(object)) return;
    for (const name of listed) {
      if (name === object) continue;
      await take([], undefined, async (writing) => {
        const found = await readCopyIfWhole(bucket, name, signal);
        if (found !== null && rankOf(session.keys, found, epochOf(name)) >= keyringRank(keyring)) return;
        await drop(await writing.buckets.ours(bucket).checked(signal), name, signal);
      });
    }
  });
  return { stored, failed, isNew: withEarlier === buckets.length };
}

/**
 * Gives all buckets the keyring of a new root, found by somebody who has keys of the root before alone, so that he cannot tell by himself
 * which of several counts: whoever has kept such keys signs others. So it must follow the one that he knows, and no bucket have a third.
 *
 * @returns the buckets that do not have it in the end, or may not have it
 */
export async function endRotation(
  session: Session,
  next: KeyringState,
  signal: AbortSignal | undefined,
): Promise<readonly BucketFailure[]> {
  const { all } = session.buckets;
  const known = [session.keyring.bytes, next.bytes];
  let isPlain = next.keyring.previous === objectDigest(session.keyring.bytes);
  const check = await checkEach(all, async (bucket) => {
    const storage = await bucket.checked(signal);
    for (const name of await keyringNames(storage, signal)) {
      const copy = await readCopyIfWhole(bucket, name, signal);
      if (!known.some((one) => copy !== null && Buffer.compare(one, copy) === 0)) isPlain = false;
    }
  });
  if (isPlain) {
    const { failed } = await settleKeyring({ ...session, keyring: next }, check.usable, { signal });
    return [...check.failed, ...failed];
  }
  const message = 'Which keyring counts can only be told with a key of the new root.';
  const error = new VaultError('wrong-password', message);
  return [...check.failed, ...check.usable.map((bucket) => ({ bucket, error }))];
}

/** Removes a keyring that does not count, or a probe, unless the bucket's own policy keeps it for now. */
export async function drop(storage: Bucket, name: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await storage.remove(name, { signal });
  } catch (error) {
    if (!isVaultError(error, 'retained')) throw error;
  }
}
