/** Records of removal: every bucket has the one that counts, so that a bucket that was away brings nothing back. */
import { signDeletion } from '../../crypto/signing.ts';
import { deletionObjectName } from '../../format/removal.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import { checkEach } from '../buckets/bucket-set.ts';
import { readDeletionIn } from '../protocol/deletions.ts';
import type { PlanOptions } from '../call.ts';
import type { Session } from '../session.ts';
import type { Ground } from './ground.ts';
import { storing } from './options.ts';

/** Gives every bucket the records that count. @returns how many were stored (or would be) */
export async function repairDeletions(
  session: Session,
  ground: Ground,
  options: Pick<PlanOptions, 'dryRun' | 'onPlanned' | 'signal'> & {
    readonly deletions: ReadonlyMap<string, DeletionRecord>;
  },
): Promise<number> {
  const { deletions, dryRun = false, onPlanned, signal } = options;
  // Only a full keyslot signs; its records say what the one that counts says.
  if (session.keys.full === null) return 0;
  let stored = 0;
  for (const [hash, record] of deletions) {
    const { failed } = await checkEach(ground.sources, async (bucket) => {
      const copy = await readDeletionIn(session, bucket, hash, signal);
      const isSame = copy?.serial === record.serial && copy.live === record.live;
      if (copy !== null && (isSame || copy.serial > record.serial)) return;
      stored += 1;
      const bytes = signDeletion(session.keys, record);
      if (dryRun) {
        const reason = copy === null ? 'missing' : 'damaged';
        await onPlanned?.(storing(deletionObjectName(hash), bucket, { reason, bytes: bytes.length }));
        return;
      }
      const storage = await bucket.checked(signal);
      await storage.put(deletionObjectName(hash), bytes, { signal, replace: true });
    });
    for (const failure of failed) ground.noteFailure(failure);
  }
  return stored;
}
