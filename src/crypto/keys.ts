/**
 * The master key, what is derived from it, and its wrapping under a password. FORMAT.md, "Keys".
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { keyslotAad } from '../format/keyslot.ts';
import type { KdfCost, Keyslot } from '../format/keyslot.ts';

/** Bytes of the master key and of every subkey. */
export const KEY_SIZE = 32;
const TAG_SIZE = 16;

/** Argon2id costs of new keyslots: RFC 9106's second choice doubled in memory; about an eighth of a second. */
export const DEFAULT_KDF_COST: KdfCost = { memoryKib: 128 * 1024, passes: 3, lanes: 4 };

/** One key for each purpose, all derived from the master key. */
export interface Subkeys {
  readonly vaultId: string;
  readonly chunkId: Buffer;
  readonly chunkSeal: Buffer;
  readonly manifest: Buffer;
  readonly name: Buffer;
  readonly catalog: Buffer;
}

/** A new vault's master key: 32 random bytes. */
export function drawMasterKey(): Buffer {
  return randomBytes(KEY_SIZE);
}

/** A new identity of a vault, bucket or keyslot: 32 hex digits. */
export function drawId(): string {
  return randomBytes(16).toString('hex');
}

/** A new generation of uploads: 16 hex digits. */
export function drawGeneration(): string {
  return randomBytes(8).toString('hex');
}

/**
 * The subkeys of a vault: HKDF-SHA256 (RFC 5869) with the vault id as salt and a purpose as info.
 *
 * @param masterKey 32 bytes
 * @param vaultId 32 hex digits
 */
export function deriveSubkeys(masterKey: Uint8Array, vaultId: string): Subkeys {
  const salt = Buffer.from(vaultId, 'hex');
  const derive = (purpose: string): Buffer =>
    Buffer.from(hkdfSync('sha256', masterKey, salt, `vault/1 ${purpose}`, KEY_SIZE));
  return {
    vaultId,
    chunkId: derive('chunk id'),
    chunkSeal: derive('chunk seal'),
    manifest: derive('manifest'),
    name: derive('name'),
    catalog: derive('catalog'),
  };
}

/**
 * Wraps the master key under a password in a new keyslot.
 *
 * @param password as the user gave it; normalised to NFC here
 * @param options `cost`: Argon2id's costs. `fixed`: id, salt and nonce for test vectors only; drawn when absent
 */
export async function wrapMasterKey(
  masterKey: Uint8Array,
  password: string,
  options: {
    readonly vaultId: string;
    readonly createdAtMs: number;
    readonly cost?: KdfCost;
    readonly fixed?: Pick<Keyslot, 'id' | 'salt' | 'nonce'>;
  },
): Promise<Keyslot> {
  const slot = {
    ...(options.fixed ?? { id: drawId(), salt: randomBytes(16), nonce: randomBytes(12) }),
    vaultId: options.vaultId,
    createdAtMs: options.createdAtMs,
    cost: options.cost ?? DEFAULT_KDF_COST,
  };
  const cipher = createCipheriv('aes-256-gcm', await passwordKey(password, slot), slot.nonce);
  cipher.setAAD(keyslotAad(slot));
  const wrapped = Buffer.concat([cipher.update(masterKey), cipher.final(), cipher.getAuthTag()]);
  return { ...slot, wrapped };
}

/**
 * The master key out of a keyslot.
 *
 * @returns null if this password does not open this slot (or the slot has been changed, which looks the same)
 */
export async function unwrapMasterKey(slot: Keyslot, password: string): Promise<Buffer | null> {
  const decipher = createDecipheriv('aes-256-gcm', await passwordKey(password, slot), slot.nonce);
  decipher.setAAD(keyslotAad(slot));
  decipher.setAuthTag(slot.wrapped.subarray(KEY_SIZE, KEY_SIZE + TAG_SIZE));
  try {
    return Buffer.concat([decipher.update(slot.wrapped.subarray(0, KEY_SIZE)), decipher.final()]);
  } catch {
    return null;
  }
}

/** Argon2id, RFC 9106, version 0x13. Loaded only here: most of a command's start-up is loading. */
async function passwordKey(password: string, slot: Pick<Keyslot, 'cost' | 'salt'>): Promise<Buffer> {
  const { hashRaw } = await import('@node-rs/argon2');
  try {
    return await hashRaw(password.normalize('NFC'), {
      // Algorithm and version are the package's defaults, Argon2id and 0x13; a published vector in the tests holds it to that.
      memoryCost: slot.cost.memoryKib,
      timeCost: slot.cost.passes,
      parallelism: slot.cost.lanes,
      salt: slot.salt,
      outputLen: KEY_SIZE,
    });
  } catch (cause) {
    throw new VaultError(
      'unavailable',
      `The password could not be checked: deriving its key needs ${slot.cost.memoryKib / 1024} MiB of memory. Free some and try again.`,
      { cause },
    );
  }
}
