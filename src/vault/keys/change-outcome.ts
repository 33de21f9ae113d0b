/** What is said of a change of the keyring: that it stands although something failed, that it does not, and where it is missing. */
import { isFailure, VaultError } from '../../errors.ts';
import { describeFailure, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketFailure } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';

const CHANGED = 'The keyring was changed, which counts from now on, as does a new password, but';
const TO_BE_GIVEN = 'not every bucket has it: "vault repair" gives it to them.';

/**
 * Does what follows once a keyring stands in the buckets, which say what counts: where the catalog fails then, that is told.
 *
 * @param otherwise what the buckets need all the same, if the catalog fails @returns those that do not have the keyring
 * @throws what the catalog says, and that the keyring was changed; `wrong-password` if somebody has made a new root by now
 */
export async function afterChange<T>(
  work: () => Promise<T>,
  otherwise: () => Promise<readonly BucketFailure[]> = () => Promise.resolve([]),
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error) || error.code === 'wrong-password') throw error;
    const lacking = await otherwise();
    const rest = lacking.length === 0 ? [] : [`And ${TO_BE_GIVEN}`, ...lacking.map(describeFailure)];
    const message = `${CHANGED} the catalog could not be told of all that. ${error.message} Once it can be, "vault recover --bucket <url>" does so.`;
    // Something was done, unlike where an input is wrong.
    const code = error.code === 'invalid-input' ? 'unavailable' : error.code;
    throw new VaultError(code, [message, ...rest].join(' '), { cause: error });
  }
}

/** Why what every bucket must be told of is not done. */
export function keptKeyring(failed: readonly BucketFailure[]): VaultError {
  return tooFewBuckets(
    'Nothing was changed, since a bucket that cannot be used would keep the old keyring.',
    failed,
  );
}

/** Why what every bucket must be told of is done in some of them. */
export function notEverywhere(failed: readonly BucketFailure[]): VaultError {
  return tooFewBuckets(`${CHANGED} ${TO_BE_GIVEN}`, failed);
}

/** Warns of each bucket that does not have a changed keyring. @param taken ids of buckets that have it: one of them may not have let the keyring before go */
export function warnOfLacking(
  failed: readonly BucketFailure[],
  taken: readonly string[],
  onWarning: CallOptions['onWarning'],
): void {
  for (const failure of failed) {
    const { id, url } = failure.bucket;
    if (taken.includes(id)) continue;
    const message = `${url} does not have the new keyring yet: "vault repair" gives it to it. ${describeFailure(failure)}`;
    onWarning?.({ kind: 'bucket-down', message, bucket: url });
  }
}

const NOT_EVERYWHERE =
  'But some buckets may lack the newest keyring, so that a removed key or old password still opens the vault with them: "vault repair" gives it to them.';

/** A message, and which buckets may lack the keyring that counts. */
export function withLacking(message: string, lacking: readonly BucketFailure[]): string {
  return lacking.length === 0
    ? message
    : [message, NOT_EVERYWHERE, ...lacking.map(describeFailure)].join(' ');
}
