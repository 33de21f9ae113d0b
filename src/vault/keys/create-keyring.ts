/** Storing a new keyring, where no other one of its epoch is. */
import { isFailure, isVaultError } from '../../errors.ts';
import { keyringObjectName } from '../../format/keyring.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import type { SecretOptions } from '../call.ts';
import type { KeyringState, Session } from '../session.ts';
import { readCopyIfWhole, verifiedOrNull } from './keyring-copies.ts';

export interface Creation {
  /** The other keyring of this epoch, if somebody else has made one. */
  readonly met: KeyringState | null;
  /** The ids of the buckets that have taken it. */
  readonly taken: readonly string[];
  readonly failed: readonly BucketFailure[];
}

/** Stores a new keyring, bucket by bucket in the order that everybody keeps to. */
export async function createKeyring(
  session: Session,
  next: KeyringState,
  call: {
    readonly usable: readonly VaultBucket[];
    readonly all: boolean;
    readonly onStoring: SecretOptions['onStoring'];
    readonly signal: AbortSignal | undefined;
  },
): Promise<Creation> {
  const { usable, all, onStoring, signal } = call;
  const name = keyringObjectName(next.keyring.epoch);
  const failed: BucketFailure[] = [];
  const order = session.keyring.keyring.buckets.map(({ id }) => id);
  const inOrder = usable.toSorted((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
  const taken: string[] = [];
  for (const bucket of inOrder) {
    try {
      const storage = await bucket.checked(signal);
      onStoring?.();
      try {
        await storage.put(name, next.bytes, { signal });
      } catch (error) {
        if (!isVaultError(error, 'already-exists')) throw error;
        const met = await readKeyring(session, bucket, next.keyring.epoch, signal);
        const isThis = met !== null && Buffer.compare(met.bytes, next.bytes) === 0;
        // Unless somebody took this for a change that was cut short, and has ended it there.
        if (met !== null && !isThis) return { met, taken, failed };
        // What lies there is no keyring of this vault.
        if (!isThis) await storage.put(name, next.bytes, { signal, replace: true });
      }
      taken.push(bucket.id);
    } catch (error) {
      if (!isFailure(error)) throw error;
      failed.push({ bucket, error });
      // Once it stands anywhere, the others must get it all the same.
      if (all && taken.length === 0) break;
    }
  }
  return { met: null, taken, failed };
}

/** A bucket's keyring of an epoch; null if it has none that is valid. */
async function readKeyring(
  session: Session,
  bucket: VaultBucket,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<KeyringState | null> {
  const bytes = await readCopyIfWhole(bucket, keyringObjectName(epoch), signal);
  const keyring = bytes === null ? null : verifiedOrNull(session.keys, bytes, epoch);
  return keyring === null || bytes === null ? null : { keyring, bytes };
}
