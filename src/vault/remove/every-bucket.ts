/** A sweep removes nothing unless it can ask every bucket of the vault, and unless they are the same to its end. */
import { VaultError } from '../../errors.ts';
import {
  checkEach,
  describeFailure,
  notListing,
  tooFewBuckets,
  type VaultBucket,
} from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { keyringObjectName } from '../../format/keyring.ts';
import { refusalOf } from '../files/catch-up.ts';
import { readCopyIfWhole } from '../keys/keyring-copies.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';
import type { SweepOptions } from './sweep-call.ts';

/**
 * Asks every bucket what the vault's buckets are.
 *
 * @returns `unreachable`: the URLs of those that cannot be asked, or do not list the keyring that they have; each was warned of
 * @throws `unavailable` if none can be asked
 */
export async function askEveryBucket(
  session: Session,
  { signal, onWarning, follows = false }: SweepOptions,
): Promise<{ readonly usable: readonly VaultBucket[]; readonly unreachable: readonly string[] }> {
  // A disk that has gone since would show empty listings.
  await session.buckets.check(session.buckets.all, signal, { anew: !follows });
  const unread = await refreshKeyring(session, signal);
  const { usable, failed: unusable } = await session.buckets.check(session.buckets.all, signal);
  const unlisted = await checkEach(unread.without, async (bucket) => {
    const name = keyringObjectName(session.keyring.keyring.epoch);
    if ((await readCopyIfWhole(bucket, name, signal)) !== null) throw notListing(bucket, 'the keyring');
  });
  // One that does not show its keyring may be the only one that has the newest, which names others.
  const failed = [
    ...unusable,
    ...[...unread.failed, ...unlisted.failed].filter(({ bucket: { id } }) =>
      usable.some((bucket) => bucket.id === id),
    ),
  ];
  for (const failure of failed) {
    onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
  }
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  return { usable, unreachable: failed.map(({ bucket }) => bucket.url) };
}

/**
 * A bucket that has joined meanwhile may have manifests of what a sweep is about to remove, and one that is being emptied is no
 * reason to remove what lies elsewhere. Whoever changes the buckets says so in the keyring first and reads the lists after that, so
 * of the two at least one sees the other.
 *
 * @throws `unavailable` if the buckets are not the same any more
 */
export async function requireSameBuckets(
  session: Session,
  buckets: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const { failed } = await refreshKeyring(session, signal);
  const { all } = session.buckets;
  const same = all.length === buckets.length && all.every((bucket) => buckets.includes(bucket));
  if (failed.length > 0) throw tooFewBuckets('Not every bucket says which buckets the vault has.', failed);
  if (same) return;
  throw new VaultError('unavailable', 'The vault’s buckets have changed during this sweep. Sweep again.');
}

/**
 * The catalog decides nothing here, and a sweep may be what makes room for it: one that cannot be written is no reason to stop.
 *
 * @returns whether it can be
 */
export async function warnOfCatalog(session: Session, { onWarning }: CallOptions): Promise<boolean> {
  const refusal = await refusalOf(session);
  if (refusal === null) return true;
  const message = `${refusal.message} It will list what this sweep removes until the next one.`;
  onWarning?.({ kind: 'catalog', message, bucket: null });
  return false;
}
