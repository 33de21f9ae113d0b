/** From a password and a keyring to the vault's keys. */
import { kdfWork, unwrapKeys } from '../../crypto/keys.ts';
import type { VaultKeys } from '../../crypto/keys.ts';
import { openEarlier } from '../../crypto/roots.ts';
import { verifyKeyring } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyring, keyringRank } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { lineagesOf } from '../../format/lineage.ts';
import { MAX_UNLOCK_WORK } from '../../format/limits.ts';

export interface Unlocked {
  readonly keys: VaultKeys;
  readonly keyring: Keyring;
  readonly bytes: Uint8Array;
}

/**
 * Tries a password on every keyslot of the keyrings, in order, until it opens one whose keyring is signed with the vault's key. That
 * key then tells which of the others are the vault's, too; if newer ones are among them, the password must open one, from which this goes on.
 *
 * @param candidates keyring objects from whatever places, the most trustworthy first
 * @param options `vaultId`: of others no slot is tried. `hint`: the writer whose slot is tried first
 * @throws `wrong-password` if it opens no slot, or only of a keyring that has been replaced; `damaged` or `unsupported` if there is
 *   no usable keyring, or trying them all would cost too much
 */
export async function unlock(
  candidates: readonly Uint8Array[],
  password: string,
  options: { readonly vaultId: string; readonly hint?: string | undefined },
): Promise<Unlocked> {
  const attempt: Attempt = { password, ...options, problems: [], tried: 0, work: 0 };
  for (const bytes of candidates) {
    let unlocked = await tryKeyring(attempt, bytes);
    while (unlocked !== null) {
      const newer = newerAmong(unlocked, candidates);
      if (newer.length === 0) return unlocked;
      unlocked = await tryFirst(attempt, newer);
      if (unlocked !== null) continue;
      throw new VaultError(
        'wrong-password',
        'This password was valid once and has been changed since, or its key was taken away. Give the one that replaced it.',
      );
    }
  }
  throw refusal(attempt);
}

/** Not the newest alone: whoever has kept an old root signs for roots of his own, which no password of the vault's opens. */
async function tryFirst(attempt: Attempt, keyrings: readonly Uint8Array[]): Promise<Unlocked | null> {
  for (const bytes of keyrings) {
    const unlocked = await tryKeyring(attempt, bytes);
    if (unlocked !== null) return unlocked;
  }
  return null;
}

/** One attempt to open a vault, over all its keyrings. */
interface Attempt {
  readonly password: string;
  readonly vaultId: string;
  readonly hint?: string | undefined;
  /** What was wrong with keyrings and keyslots. */
  readonly problems: VaultError[];
  /** Keyslots tried, and KiB x passes spent on them. */
  tried: number;
  work: number;
}

/** @returns null if the password opens no slot of it, or it is not what the vault has signed */
async function tryKeyring(attempt: Attempt, bytes: Uint8Array): Promise<Unlocked | null> {
  const { problems, vaultId, hint } = attempt;
  let keyring: Keyring;
  try {
    ({ keyring } = decodeKeyring(bytes));
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    problems.push(error);
    return null;
  }
  if (keyring.vaultId !== vaultId) return null;
  // Who was the holder when the catalog was made may have another keyslot by now.
  const first = lineagesOf(keyring).headOf(hint ?? '');
  const slots = keyring.slots.toSorted(
    (a, b) => Number(b.writer === first) - Number(a.writer === first) || kdfWork(a.cost) - kdfWork(b.cost),
  );
  for (const slot of slots) {
    attempt.work += kdfWork(slot.cost);
    if (attempt.work > MAX_UNLOCK_WORK) throw tooCostly();
    attempt.tried += 1;
    try {
      const keys = await unwrapKeys(slot, attempt.password, { vaultId, rootNumber: keyring.root });
      if (keys === null) continue;
      const verified = verifyKeyring(keys, bytes);
      return { keys: openEarlier(keys, verified), keyring: verified, bytes };
    } catch (error) {
      // A slot that was copied from elsewhere, or changed; or a keyring around a good one that nobody has signed.
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
      problems.push(error);
    }
  }
  return null;
}

/** The keyrings of the vault that are newer than the one that was opened, the newest first. */
function newerAmong({ keys, keyring }: Unlocked, candidates: readonly Uint8Array[]): Uint8Array[] {
  const newer: { readonly rank: number; readonly bytes: Uint8Array }[] = [];
  for (const bytes of candidates) {
    try {
      newer.push({ rank: keyringRank(verifyKeyring(keys, bytes)), bytes });
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    }
  }
  return newer
    .filter(({ rank }) => rank > keyringRank(keyring))
    .toSorted((a, b) => b.rank - a.rank)
    .map(({ bytes }) => bytes);
}

function refusal({ problems, tried }: Attempt): VaultError {
  const newer = problems.find(({ code }) => code === 'unsupported');
  if (newer !== undefined) return newer;
  if (tried === 0) {
    return new VaultError(
      'damaged',
      `The vault has no usable keyring. ${problems[0]?.message ?? 'Give more of its buckets: vault recover'}`,
      { cause: problems[0] },
    );
  }
  const damaged =
    problems.length === 0 ? '' : `, of which ${problems.length} keyrings or keyslots are damaged`;
  return new VaultError(
    'wrong-password',
    `The password does not open this vault${damaged}. Nothing was changed.`,
    { cause: problems[0] },
  );
}

function tooCostly(): VaultError {
  return new VaultError(
    'damaged',
    'The password opens none of the keyslots tried so far, and the others ask for more work than a vault may: a bucket shows false ones. Leave that bucket out.',
  );
}
