/** From a password and a keyring to the vault's keys. */
import { kdfWork, unwrapKeys } from '../../crypto/keys.ts';
import type { VaultKeys } from '../../crypto/keys.ts';
import { verifyKeyring } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyring } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MAX_UNLOCK_WORK } from '../../format/limits.ts';

export interface Unlocked {
  readonly keys: VaultKeys;
  readonly keyring: Keyring;
  readonly bytes: Uint8Array;
}

/**
 * Tries a password on every keyslot of the keyrings, in order, and believes the first keyring that it opens and whose signature
 * then holds.
 *
 * @param candidates keyring objects from whatever places, the most promising first
 * @param options `vaultId`: of others no slot is tried. `hint`: the writer whose slot is tried first
 * @throws `wrong-password` if it opens no slot; `damaged` or `unsupported` if there is no usable keyring; `unavailable` if
 *   trying them all would cost too much
 */
export async function unlock(
  candidates: readonly Uint8Array[],
  password: string,
  options: { readonly vaultId: string; readonly hint?: string | undefined },
): Promise<Unlocked> {
  const problems: VaultError[] = [];
  let tried = 0;
  let work = 0;
  for (const bytes of candidates) {
    let keyring: Keyring;
    try {
      ({ keyring } = decodeKeyring(bytes));
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
      problems.push(error);
      continue;
    }
    if (keyring.vaultId !== options.vaultId) continue;
    const slots = keyring.slots.toSorted(
      (a, b) => Number(b.writer === options.hint) - Number(a.writer === options.hint),
    );
    for (const slot of slots) {
      work += kdfWork(slot.cost);
      if (work > MAX_UNLOCK_WORK) throw tooCostly();
      tried += 1;
      const keys = await unwrapKeys(slot, password, { vaultId: keyring.vaultId, rootNumber: keyring.root });
      if (keys === null) continue;
      try {
        return { keys, keyring: verifyKeyring(keys, bytes), bytes };
      } catch (error) {
        if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
        problems.push(error);
        break;
      }
    }
  }
  const newer = problems.find(({ code }) => code === 'unsupported');
  if (newer !== undefined) throw newer;
  if (tried > 0 && problems.length === 0) {
    throw new VaultError('wrong-password', 'The password does not open this vault. Nothing was changed.');
  }
  if (tried > 0) {
    throw new VaultError(
      'wrong-password',
      `The password does not open this vault, of which ${problems.length} keyrings are damaged. Nothing was changed.`,
      { cause: problems[0] },
    );
  }
  throw new VaultError(
    'damaged',
    `The vault has no usable keyring. ${problems[0]?.message ?? 'Give more of its buckets: vault recover'}`,
    { cause: problems[0] },
  );
}

function tooCostly(): VaultError {
  return new VaultError(
    'damaged',
    'The keyslots found here ask for more work than a vault may: a bucket shows false ones. Leave that bucket out.',
  );
}
