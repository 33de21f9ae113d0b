/** From a password and a keyring to the vault's keys. */
import { kdfWork, unwrapKeys, type VaultKeys } from '../../crypto/keys.ts';
import { openEarlier } from '../../crypto/roots.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyring, keyringRank, type Keyring, type Keyslot } from '../../format/keyring.ts';
import { lineagesOf } from '../../format/lineage.ts';
import { MAX_UNLOCK_WORK } from '../../format/limits.ts';
import { refuseNewer, verifiedOrNewer, verifiedOrNull } from './keyring-copies.ts';

export interface Unlocked {
  readonly keys: VaultKeys;
  readonly keyring: Keyring;
  readonly bytes: Uint8Array;
}

/** A keyring object from somewhere, and how many places show it. */
export interface Candidate {
  readonly bytes: Uint8Array;
  readonly votes: number;
}

interface UnlockOptions {
  readonly vaultId: string;
  readonly hint?: string | undefined;
  readonly advice?: string;
}

/**
 * Tries a password on the keyslots of all keyrings until it opens one. Its keys tell which of the keyrings are the vault's; if the
 * newest of those has that slot no more, the password must open one of a newer one, from which this goes on.
 *
 * @param candidates keyring objects from whatever places. Slots that more places show come first, of equals those that cost least
 * @param options `vaultId`: of others no slot is tried. `hint`: the writer whose slot is tried first. `advice`: what is said if it opens none
 * @throws `wrong-password` if it opens no slot, or only of a keyring that has been replaced; `unsupported` if
 *   only a newer version can read the newest keyring; `damaged` if there is no usable one, or trying them all would cost too much
 */
export async function unlock(
  candidates: readonly (Uint8Array | Candidate)[],
  password: string,
  { vaultId, hint, advice = '' }: UnlockOptions,
): Promise<Unlocked> {
  const attempt: Attempt = { password, vaultId, problems: [], newer: [], tried: new Set(), work: 0 };
  const keyrings = candidates.flatMap((one) =>
    decoded('votes' in one ? one : { bytes: one, votes: 1 }, attempt),
  );
  const slots = keyrings
    .flatMap(({ keyring, votes }) => {
      // Who was the holder when the catalog was made may have another keyslot by now.
      const first = lineagesOf(keyring).headOf(hint ?? '');
      const { root } = keyring;
      return keyring.slots.map((slot) => ({ slot, root, votes, isFirst: slot.writer === first }));
    })
    .toSorted(
      (a, b) =>
        Number(b.isFirst) - Number(a.isFirst) ||
        b.votes - a.votes ||
        kdfWork(a.slot.cost) - kdfWork(b.slot.cost),
    );
  for (const { slot, root } of slots) {
    const keys = await trySlot(attempt, slot, root);
    if (keys === null) continue;
    const unlocked = await follow(attempt, { keys, id: idOf(slot, root) }, keyrings);
    if (unlocked !== null) return unlocked;
  }
  throw refusal(attempt, advice);
}

/** One attempt to open a vault, over all its keyrings. */
interface Attempt {
  readonly password: string;
  readonly vaultId: string;
  /** What was wrong with keyrings and keyslots. */
  readonly problems: VaultError[];
  /** Keyrings that only a newer version can read. */
  readonly newer: Uint8Array[];
  /** Keyslots tried: whoever can create objects can copy them. */
  readonly tried: Set<string>;
  /** KiB x passes spent on them. */
  work: number;
}

interface Read {
  readonly keyring: Keyring;
  readonly bytes: Uint8Array;
  readonly votes: number;
}

function decoded({ bytes, votes }: Candidate, { problems, newer, vaultId }: Attempt): Read[] {
  try {
    const { keyring } = decodeKeyring(bytes);
    return keyring.vaultId === vaultId ? [{ keyring, bytes, votes }] : [];
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    problems.push(error);
    if (error.code === 'unsupported') newer.push(bytes);
    return [];
  }
}

function idOf({ writer, role, salt, commitment, wrapped }: Keyslot, root: number): string {
  const bytes = Buffer.concat([salt, commitment, wrapped]);
  return `${writer} ${role} ${root} ${bytes.toString('base64')}`;
}

/** @returns null if the password does not open it, or it was tried before */
async function trySlot(attempt: Attempt, slot: Keyslot, root: number): Promise<VaultKeys | null> {
  const { tried, password, vaultId } = attempt;
  const id = idOf(slot, root);
  if (tried.has(id)) return null;
  tried.add(id);
  attempt.work += kdfWork(slot.cost);
  if (attempt.work > MAX_UNLOCK_WORK) throw tooCostly();
  try {
    return await unwrapKeys(slot, password, { vaultId, rootNumber: root });
  } catch (error) {
    // A slot that was copied from elsewhere, or changed.
    if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    attempt.problems.push(error);
    return null;
  }
}

/**
 * The newest keyring that the vault has signed, and the keys that one of its slots gives. Not the newest alone is tried: whoever has kept an
 * old root signs for roots of his own, which no password of the vault's opens.
 *
 * @param opened what a slot gave, and which it was
 * @returns null if the vault has signed none of them: somebody has copied the slot there
 */
async function follow(
  attempt: Attempt,
  { keys, id }: { readonly keys: VaultKeys; readonly id: string },
  keyrings: readonly Read[],
): Promise<Unlocked | null> {
  const signed = keyrings
    .filter(({ bytes }) => verifiedOrNull(keys, bytes) !== null)
    .toSorted((a, b) => keyringRank(b.keyring) - keyringRank(a.keyring));
  const [newest] = signed;
  const newer = attempt.newer.map((bytes) => verifiedOrNewer(keys, bytes));
  refuseNewer(
    newer.filter((one) => one !== null && 'rank' in one),
    newest?.keyring ?? null,
  );
  if (newest === undefined) return null;
  const at = signed.findIndex(({ keyring }) => keyring.slots.some((one) => idOf(one, keyring.root) === id));
  if (at === 0) {
    const { keyring, bytes } = newest;
    return { keys: openEarlier(keys, keyring), keyring, bytes };
  }
  for (const { keyring } of at < 0 ? signed : signed.slice(0, at)) {
    for (const slot of keyring.slots) {
      const reopened = await trySlot(attempt, slot, keyring.root);
      if (reopened === null) continue;
      const found = await follow(attempt, { keys: reopened, id: idOf(slot, keyring.root) }, keyrings);
      if (found !== null) return found;
    }
  }
  throw new VaultError(
    'wrong-password',
    'This password was valid once and has been changed since, or its key was taken away. Give the one that replaced it.',
  );
}

function refusal({ problems, tried }: Attempt, advice: string): VaultError {
  if (tried.size === 0) {
    const newer = problems.find(({ code }) => code === 'unsupported');
    if (newer !== undefined) return newer;
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
    `The password does not open this vault${damaged}. Nothing was changed.${advice}`,
    { cause: problems[0] },
  );
}

function tooCostly(): VaultError {
  return new VaultError(
    'damaged',
    'The password opens none of the keyslots tried so far, and the others ask for more work than a vault may: somebody has put false ones there. Leave out the buckets that have them, or remove what nobody of yours has made below keyring/.',
  );
}
