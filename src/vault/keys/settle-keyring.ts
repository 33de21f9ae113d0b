/** Giving every bucket the keyring that counts, and taking those away that do not. */
import { isVaultError } from '../../errors.ts';
import { keyringObjectName, keyringRank } from '../../format/keyring.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { checkEach } from '../buckets/bucket-set.ts';
import type { BucketCheck, VaultBucket } from '../buckets/bucket-set.ts';
import type { Session } from '../session.ts';
import { epochOf, keyringNames, readCopyIfWhole, verifiedOrNull } from './keyring-copies.ts';

export interface Settled extends BucketCheck {
  /** How many buckets got the keyring now (with `dryRun`: would get it). */
  readonly stored: number;
  /** Whether every bucket still had a keyring from before, so that nobody had begun to settle this one. */
  readonly isNew: boolean;
}

/**
 * Gives each of the buckets the keyring that counts, and takes the earlier ones away where it stands, as well as what lies under a
 * later name and is none of this vault: a bucket that cannot keep the new one keeps what it has.
 *
 * @param options `dryRun`: only tells
 */
export async function settleKeyring(
  session: Session,
  buckets: readonly VaultBucket[],
  options: {
    readonly dryRun?: boolean | undefined;
    readonly onMissing?: ((bucket: VaultBucket, object: string, bytes: number) => Promise<void>) | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<Settled> {
  const { dryRun = false, onMissing, signal } = options;
  const { keyring, bytes } = session.keyring;
  const current = keyringObjectName(keyring.epoch);
  let stored = 0;
  let withEarlier = 0;
  const check = await checkEach(buckets, async (bucket) => {
    const storage = await bucket.checked(signal);
    const copy = await readCopyIfWhole(bucket, current, signal);
    if (copy === null || Buffer.compare(copy, bytes) !== 0) {
      stored += 1;
      if (dryRun) await onMissing?.(bucket, current, bytes.length);
      else await storage.put(current, bytes, { signal, replace: true });
    }
    const listed = await keyringNames(storage, signal);
    const earlier = listed.filter((name) => name < current);
    if (earlier.length > 0) withEarlier += 1;
    // A bucket that does not list what it has taken would be left without any.
    if (dryRun || !listed.includes(current)) return;
    for (const name of listed) {
      if (name === current) continue;
      const found = await readCopyIfWhole(bucket, name, signal);
      const other = found === null ? null : verifiedOrNull(session.keys, found, epochOf(name));
      if (other === null || keyringRank(other) < keyringRank(keyring)) await drop(storage, name, signal);
    }
  });
  return { ...check, stored, isNew: withEarlier === buckets.length };
}

/** Removes a keyring that does not count, unless the bucket's own policy keeps it for now. */
async function drop(storage: Bucket, name: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await storage.remove(name, { signal });
  } catch (error) {
    if (!isVaultError(error, 'retained')) throw error;
  }
}
