/** Changing a password: the keys are wrapped anew in the next keyring; no chunk is touched. */
import { openLabel } from '../../crypto/records.ts';
import { wrapKeys } from '../../crypto/keys.ts';
import type { KdfCost } from '../../crypto/keys.ts';
import { VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { changeKeyring } from './keyring-store.ts';
import { unlock } from './unlock.ts';

export interface PasswordChange extends CallOptions {
  readonly current: string;
  readonly next: string;
  /** Argon2id's costs; for tests. */
  readonly kdfCost?: KdfCost | undefined;
}

/**
 * See `Vault.changePassword`. The writer stays the same, and with it what its chunks are known by; only its keyslot is made anew. Of
 * two changes at once one wins, and the other finds that its current password is no longer right.
 */
export async function changePassword(session: Session, change: PasswordChange): Promise<void> {
  const { vaultId } = session;
  const { current, next, signal } = change;
  const { keys } = await unlock([session.keyring.bytes], current, { vaultId, hint: session.keys.writer.id });
  const writer = keys.writer.id;
  const before = session.keyring.keyring.slots.find((slot) => slot.writer === writer);
  await changeKeyring(
    session,
    async (keyring) => {
      const slot = keyring.slots.find((one) => one.writer === writer);
      if (slot === undefined || before === undefined || !slot.salt.equals(before.salt)) {
        throw new VaultError(
          'wrong-password',
          'Somebody has just changed this password. Nothing was changed.',
        );
      }
      const wrapped = await wrapKeys(keys, next, {
        role: slot.role,
        createdAtMs: session.now(),
        label: openLabel(session.keys, slot),
        cost: change.kdfCost,
      });
      return { ...keyring, slots: keyring.slots.map((one) => (one === slot ? wrapped : one)) };
    },
    { all: true, signal },
  );
}
