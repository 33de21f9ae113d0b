/** Changing a password: the keys are wrapped anew in the next keyring; no chunk is touched. */
import { openLabel } from '../../crypto/texts.ts';
import { wrapKeys } from '../../crypto/keys.ts';
import type { KdfCost } from '../../crypto/keys.ts';
import type { Keyslot } from '../../format/keyring.ts';
import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import type { SecretOptions } from '../call.ts';
import type { KeyringState, Session } from '../session.ts';
import { answer, changeKeyring, refreshKeyring } from './keyring-store.ts';
import { telling } from '../buckets/steps.ts';
import { settleKeyringBy } from './settle-keyring.ts';
import { unlock } from './unlock.ts';
import type { Unlocked } from './unlock.ts';

export interface PasswordChange extends SecretOptions {
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
  const { next, onStoring, signal } = change;
  if (next === '') throw invalidInput('The new password is empty.');
  const opened = session.keyring;
  // Another machine may have changed it since this one has last looked.
  await refreshKeyring(session, signal, { thorough: true });
  const unlocked = await unlockCurrent(session, change, opened);
  if (unlocked === null) {
    await changeKeyring(session, () => null, { all: true, signal });
    return;
  }
  const { keys, keyring: seen } = unlocked;
  const writer = keys.writer.id;
  const before = seen.slots.find((slot) => slot.writer === writer);
  let made: Keyslot | null = null;
  await changeKeyring(
    session,
    async (keyring) => {
      const slot = keyring.slots.find((one) => one.writer === writer);
      // Somebody else has changed the keyring after this, and kept it.
      if (made !== null && slot?.salt.equals(made.salt) === true) return null;
      if (slot === undefined || before === undefined || !slot.salt.equals(before.salt)) {
        throw new VaultError(
          'wrong-password',
          'Somebody has just changed this password. Nothing was changed.',
        );
      }
      const wrapped = await wrapKeys(keys, next, {
        role: slot.role,
        createdAtMs: slot.createdAtMs,
        by: slot.by,
        label: openLabel(session.keys, slot),
        cost: change.kdfCost,
      });
      made = wrapped;
      return { ...keyring, slots: keyring.slots.map((one) => (one === slot ? wrapped : one)) };
    },
    { all: true, onStoring, signal },
  );
}

/**
 * The keys under the current password; null if the next one is in force already, as when a change was cut short and is repeated.
 *
 * A change that was cut short, since it stands in some buckets only or none has dropped the keyring before, is overruled by whoever
 * has the password from before it: it was never acknowledged, and nobody may remember what it was to be.
 *
 * @param opened the keyring that the session began with
 */
async function unlockCurrent(
  session: Session,
  { current, next, signal }: PasswordChange,
  opened: KeyringState,
): Promise<Unlocked | null> {
  const { vaultId, keyring, keys } = session;
  const options = { vaultId, hint: keys.writer.id };
  const attempt = async (bytes: Uint8Array, password: string): Promise<Unlocked | null> => {
    try {
      const unlocked = await unlock([bytes], password, options);
      return unlocked.keys.writer.id === keys.writer.id ? unlocked : null;
    } catch (error) {
      if (isVaultError(error, 'wrong-password')) return null;
      throw error;
    }
  };
  const unlocked = await attempt(keyring.bytes, current);
  if (unlocked !== null) return unlocked;
  if ((await attempt(keyring.bytes, next)) !== null) return null;
  const before = opened === keyring ? null : await attempt(opened.bytes, current);
  if (before !== null) {
    const { stored, isNew } = await settleKeyringBy(telling(), session, session.buckets.all, signal);
    if (stored > 0 || isNew) return { ...before, keyring: keyring.keyring };
  }
  const error = new VaultError(
    'wrong-password',
    'The password does not open this vault. Nothing was changed.',
  );
  // It did before a change that stands: the rest of that is done. Of whoever has none of the passwords nothing depends.
  throw before === null ? error : await answer(session, error, { signal });
}
