/** Records of removal: every bucket has the one that counts, so that a bucket that was away brings nothing back. */
import { openDeletion, signDeletion } from '../../crypto/signing.ts';
import { isVaultError } from '../../errors.ts';
import { deletionObjectName, MAX_DELETION_SIZE } from '../../format/removal.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import { checkEach } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { readCopy } from '../buckets/spread.ts';
import type { Session } from '../session.ts';
import type { Ground } from './ground.ts';

/** Gives every bucket the records that count. @returns how many were stored (or would be) */
export async function repairDeletions(
  session: Session,
  ground: Ground,
  options: {
    readonly deletions: ReadonlyMap<string, DeletionRecord>;
    readonly write: boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<number> {
  const { deletions, write, signal } = options;
  // Only a full keyslot signs; its records say what the one that counts says.
  if (session.keys.full === null) return 0;
  let stored = 0;
  for (const [hash, record] of deletions) {
    const { failed } = await checkEach(ground.sources, async (bucket) => {
      if (await hasRecord(session, bucket, { hash, serial: record.serial, live: record.live, signal }))
        return;
      stored += 1;
      if (!write) return;
      const bytes = signDeletion(session.keys, record);
      const storage = await bucket.checked(signal);
      await storage.put(deletionObjectName(hash), bytes, { signal, replace: true });
    });
    for (const failure of failed) ground.noteFailure(failure);
  }
  return stored;
}

/** Whether a bucket's record of a file is the one that counts, or a later one. */
async function hasRecord(
  session: Session,
  bucket: VaultBucket,
  wanted: Pick<DeletionRecord, 'hash' | 'serial' | 'live'> & { readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const { hash, serial, live, signal } = wanted;
  try {
    const bytes = await readCopy(bucket, deletionObjectName(hash), { maxSize: MAX_DELETION_SIZE, signal });
    if (bytes === null) return false;
    const copy = openDeletion(session.keys, bytes, hash);
    return copy.serial > serial || (copy.serial === serial && copy.live === live);
  } catch (error) {
    if (isVaultError(error, 'damaged')) return false;
    throw error;
  }
}
