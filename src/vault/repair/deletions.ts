/** Records of removal: every bucket has the one that counts, so that a bucket that was away brings nothing back. */
import { signDeletion } from '../../crypto/signing.ts';
import { isVaultError } from '../../errors.ts';
import { deletionObjectName, type DeletionRecord } from '../../format/removal.ts';
import { checkEach } from '../buckets/bucket-set.ts';
import { storing } from '../buckets/steps.ts';
import { latest, readDeletion } from '../protocol/deletions.ts';
import type { ReadSession } from '../session.ts';
import type { Ground } from './ground.ts';

/** Gives every bucket the records that count. @returns how many were stored (or would be) */
export async function repairDeletions(
  session: ReadSession,
  ground: Ground,
  deletions: ReadonlyMap<string, DeletionRecord>,
  signal: AbortSignal | undefined,
): Promise<number> {
  // Only a full keyslot signs; its records say what the one that counts says.
  if (session.keys.full === null) return 0;
  let stored = 0;
  for (const [hash, record] of deletions) {
    const { failed } = await checkEach(ground.sources, async (bucket) => {
      const object = deletionObjectName(hash);
      const bytes = signDeletion(session.keys, record);
      // At first without replacing: a later record that comes meanwhile must stay.
      for (const replace of [false, true]) {
        const { record: copy, failed: unread } = await readDeletion(session, hash, {
          from: [bucket],
          signal,
        });
        if (unread[0] !== undefined) throw unread[0].error;
        if (copy !== null && latest([copy, record]) === copy) return;
        const reason = copy === null ? 'missing' : 'damaged';
        const step = storing(object, bucket, { reason, bytes: bytes.length });
        try {
          await ground.take([step], undefined, async ({ buckets }) => {
            const storage = await buckets.ours(bucket).checked(signal);
            await storage.put(object, bytes, { signal, replace });
          });
          stored += 1;
          return;
        } catch (error) {
          if (replace || !isVaultError(error, 'already-exists')) throw error;
        }
      }
    });
    for (const failure of failed) ground.noteFailure(failure);
  }
  return stored;
}
