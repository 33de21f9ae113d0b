/**
 * The roots of a vault: each is signed for by the one before, so that whoever knows that one believes it, and seals it, so that
 * whoever has the last one has them all. FORMAT.md, "Roots".
 */
import { sign, verify } from 'node:crypto';
import { VaultError } from '../errors.ts';
import type { Keyring, RootStep } from '../format/keyring.ts';
import { deriveKey, drawRoot, KEY_SIZE, keysOfRoot, publicKey, requireFull, type VaultKeys } from './keys.ts';
import { openOnce, sealOnce } from './sealing.ts';

/** What it takes to verify: every keyslot gives it. */
export type VerifyingKeys = Pick<VaultKeys, 'verification' | 'vaultId' | 'rootNumber'>;

/**
 * A new root after that of a full keyslot; `openEarlier` adds the keys of those before.
 *
 * @param writer the holder of its first keyslot, 32 hex digits
 * @param fixed 32 bytes, for test vectors only; drawn when absent
 */
export function nextRoot(
  keys: VaultKeys,
  writer: string,
  fixed?: Buffer,
): { readonly keys: VaultKeys; readonly step: RootStep } {
  const full = requireFull(keys, 'a new root');
  const { vaultId } = keys;
  const root = fixed ?? drawRoot();
  const rootNumber = keys.rootNumber + 1;
  const next = keysOfRoot(root, { vaultId, rootNumber, writer });
  const { verification: key } = next;
  const signature = sign(null, stepMessage(vaultId, rootNumber, key), full.signing);
  const before = sealOnce(sealingKey(root, vaultId), stepAad(vaultId, rootNumber), full.root);
  return { keys: next, step: { key, signature, before } };
}

/**
 * The keys of a full keyslot, with those of the roots before.
 *
 * @param keyring that the keyslot is from, verified
 * @throws `damaged` if a root before does not open
 */
export function openEarlier(keys: VaultKeys, keyring: Keyring): VaultKeys {
  const { full, vaultId, rootNumber } = keys;
  const writer = keys.writer.id;
  if (full === null || keyring.roots.length === 0) return keys;
  const formerRoots = new Map(keyring.former.map((one) => [one.writer, one.root]));
  let { root } = full;
  const roots = keyring.roots.toReversed().map(({ before }, at) => {
    const opened = openOnce(sealingKey(root, vaultId), stepAad(vaultId, rootNumber - at), before);
    if (opened?.length !== KEY_SIZE) {
      throw new VaultError('damaged', 'A keyring does not give the root from before.');
    }
    root = opened;
    return keysOfRoot(opened, { vaultId, rootNumber: rootNumber - at - 1, writer });
  });
  return keysOfRoot(full.root, { vaultId, rootNumber, writer, earlier: roots, formerRoots });
}

/**
 * The key that a keyring must be signed with: that of its root, which each root signs for that came before it.
 *
 * @throws `damaged` if it is of an earlier root, whose holders make no keyrings any more, or of one that nobody has signed for
 */
export function verificationOf(
  keys: VerifyingKeys,
  { root, roots }: Pick<Keyring, 'root' | 'roots'>,
): Buffer {
  if (root < keys.rootNumber) throw new VaultError('damaged', 'A keyring is of a root from before.');
  let key = keys.verification;
  for (let number = keys.rootNumber + 1; number <= root; number += 1) {
    const step = roots[number - 2];
    const message = step === undefined ? null : stepMessage(keys.vaultId, number, step.key);
    if (!step || !message || !verify(null, message, publicKey('ed25519', key), step.signature)) {
      throw new VaultError('damaged', 'A keyring is of a root that the one before has not signed for.');
    }
    ({ key } = step);
  }
  return key;
}

function sealingKey(root: Uint8Array, vaultId: string): Buffer {
  return deriveKey(root, Buffer.from(vaultId, 'hex'), 'vault/2 former root');
}

function stepAad(vaultId: string, rootNumber: number): Buffer {
  return Buffer.from(`vault/2 root\n${vaultId}\n${rootNumber}`, 'ascii');
}

function stepMessage(vaultId: string, rootNumber: number, key: Buffer): Buffer {
  return Buffer.concat([stepAad(vaultId, rootNumber), Buffer.from(`\n${key.toString('hex')}`, 'ascii')]);
}
