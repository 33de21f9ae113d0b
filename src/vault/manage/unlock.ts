/** From a password to the vault's keys. */
import type { Catalog } from '../../catalog/catalog.ts';
import { deriveSubkeys, unwrapMasterKey } from '../../crypto/keys.ts';
import type { Subkeys } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyslot } from '../../format/keyslot.ts';
import type { Keyslot } from '../../format/keyslot.ts';

/**
 * Tries a password on every keyslot of the catalog.
 *
 * @throws `wrong-password` if it opens none; `damaged` if there is no usable keyslot at all
 */
export async function unlockVault(catalog: Catalog, vaultId: string, password: string): Promise<Subkeys> {
  const rows = await catalog.keyslots();
  const { masterKey } = await openKeyslot(
    rows.map(({ body }) => body),
    vaultId,
    password,
  );
  return deriveSubkeys(masterKey, vaultId);
}

/**
 * The keyslot that a password opens, and the master key out of it.
 *
 * @param bodies the keyslots' JSON bytes, from whatever place; those that are damaged or of another vault are passed over
 * @throws as `unlockVault`
 */
export async function openKeyslot(
  bodies: readonly Uint8Array[],
  vaultId: string,
  password: string,
): Promise<{ readonly slot: Keyslot; readonly body: Uint8Array; readonly masterKey: Buffer }> {
  const problems: VaultError[] = [];
  let tried = 0;
  for (const body of bodies) {
    let slot: Keyslot;
    try {
      slot = decodeKeyslot(body);
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
      problems.push(error);
      continue;
    }
    if (slot.vaultId !== vaultId) continue;
    tried += 1;
    const masterKey = await unwrapMasterKey(slot, password);
    if (masterKey !== null) return { slot, body, masterKey };
  }
  if (tried > 0) {
    throw new VaultError('wrong-password', 'The password does not open this vault. Nothing was changed.');
  }
  const [first] = problems;
  throw new VaultError(
    first?.code ?? 'damaged',
    `The vault has no usable keyslot. ${first?.message ?? 'Rebuild the catalog with "vault recover".'}`,
    { cause: first },
  );
}
