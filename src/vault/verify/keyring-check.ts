/** Whether every bucket has the newest keyring, and no other. */
import { KEYRING_PREFIX, keyringObjectName, parseKeyringObjectName } from '../../format/keyring.ts';
import { checkEach } from '../buckets/bucket-set.ts';
import { rankOf, readCopyIfWhole, readNamed } from '../keys/keyring-copies.ts';
import type { Session } from '../session.ts';
import type { Findings } from './findings.ts';

/** Wrong keyrings of one bucket that are counted: a hostile one shows any number. */
const MOST_COUNTED = 1_000;

/**
 * Looks at the keyrings of all buckets that can be asked. This comes last: who shows the right one is there still, and has been all the
 * time.
 */
export async function checkKeyrings(
  session: Session,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { keyring, bytes: right } = session.keyring;
  const { failed } = await checkEach(findings.usable, async (bucket) => {
    const storage = await bucket.open();
    const newer: string[] = [];
    let wrong = 0;
    for await (const { name } of storage.list(KEYRING_PREFIX, { signal })) {
      const epoch = parseKeyringObjectName(name);
      if (epoch !== null && epoch !== keyring.epoch) wrong += 1;
      if (epoch !== null && epoch > keyring.epoch) newer.push(name);
      if (wrong === MOST_COUNTED) break;
    }
    const copy = await readCopyIfWhole(bucket, keyringObjectName(keyring.epoch), signal);
    if (copy === null || Buffer.compare(copy, right) !== 0) wrong += 1;
    // An unmounted disk has none. And one that was changed since this has begun is not wrong.
    if (wrong > 0) await bucket.confirm(signal);
    for await (const { epoch, bytes } of readNamed(storage, newer, { least: keyring.epoch + 1, signal }))
      if (rankOf(session.keys, bytes, epoch) > 0) return;
    for (let i = 0; i < wrong; i += 1) findings.keyringWrong(bucket);
  });
  for (const failure of failed) findings.bucketFailed(failure);
}
