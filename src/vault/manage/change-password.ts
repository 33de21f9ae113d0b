/** Changing the password: the master key is wrapped anew; no chunk is touched. */
import { wrapMasterKey } from '../../crypto/keys.ts';
import { VaultError } from '../../errors.ts';
import { encodeKeyslot, keyslotObjectName } from '../../format/keyslot.ts';
import type { KdfCost } from '../../format/keyslot.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import { openKeyslot } from './unlock.ts';
import type { CallOptions } from '../vault.ts';

export interface PasswordChange extends CallOptions {
  readonly current: string;
  readonly next: string;
  /** Argon2id's costs; for tests. */
  readonly kdfCost?: KdfCost;
}

/**
 * See `Vault.changePassword`. The new keyslot is everywhere before the old one goes, so that at every instant one of the
 * two passwords opens the vault from each bucket.
 */
export async function changePassword(session: Session, change: PasswordChange): Promise<void> {
  const { catalog, vaultId } = session;
  const rows = await catalog.keyslots();
  const { slot: old, masterKey } = await openKeyslot(
    rows.map(({ body }) => body),
    vaultId,
    change.current,
  );
  await session.buckets.refresh();
  const { usable, failed } = await session.buckets.check(session.buckets.all, change.signal);
  if (failed.length > 0) {
    throw new VaultError(
      failed[0]?.error.code ?? 'unavailable',
      `The password was not changed, since a bucket that cannot be used would keep the old one. ${failed.map(describeFailure).join(' ')}`,
      { cause: failed[0]?.error },
    );
  }
  const slot = await wrapMasterKey(masterKey, change.next, {
    vaultId,
    createdAtMs: session.now(),
    ...(change.kdfCost === undefined ? {} : { cost: change.kdfCost }),
  });
  const body = encodeKeyslot(slot);
  for (const bucket of usable) {
    const storage = await bucket.checked(change.signal);
    await storage.put(keyslotObjectName(slot.id), body, withSignal(change.signal));
  }
  await catalog.putKeyslot({ id: slot.id, body });
  await catalog.removeKeyslot(old.id);
  // A bucket that was added meanwhile may have been given the old one alone.
  await session.buckets.refresh();
  for (const bucket of session.buckets.all) {
    const storage = await bucket.checked(change.signal);
    if (!usable.includes(bucket)) {
      await storage.put(keyslotObjectName(slot.id), body, { replace: true, ...withSignal(change.signal) });
    }
    await storage.remove(keyslotObjectName(old.id), withSignal(change.signal));
  }
}
