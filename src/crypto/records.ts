/** Sealing of the catalog's fields, and the tags by which names are looked up. What is in the catalog is no part of the format. */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { invalidInput, VaultError } from '../errors.ts';
import type { WriterKeys } from './keys.ts';
import { openOnce, sealOnce } from './sealing.ts';

const NONCE_SIZE = 12;

/**
 * The tag by which a writer's name is looked up without being told: HMAC-SHA256 of its UTF-8 bytes, 32 bytes.
 *
 * @throws `invalid-input` for what has no such bytes, and would be taken for another name
 */
export function nameTag(writer: Pick<WriterKeys, 'names'>, name: string): Buffer {
  if (!name.isWellFormed()) throw invalidInput('A name must be valid Unicode; this one is not.');
  return createHmac('sha256', createSecretKey(writer.names)).update('name\n').update(name).digest();
}

/**
 * Seals a catalog field.
 *
 * @param key 32 bytes, of one vault: a writer's `catalog`, or that of full keyslots
 * @param purpose what the field is and what it belongs to, so that it cannot be moved elsewhere
 * @returns nonce, ciphertext and tag
 */
export function sealRecord(key: Buffer, purpose: string, value: unknown): Buffer {
  // Padded with spaces, which JSON ignores, so that the length of a name or a number does not show.
  const json = Buffer.from(JSON.stringify(value));
  const text = Buffer.alloc(Math.ceil((json.length + 1) / RECORD_STEP) * RECORD_STEP, ' ');
  text.set(json);
  const nonce = randomBytes(NONCE_SIZE);
  return Buffer.concat([nonce, sealOnce(key, recordAad(purpose), text, nonce)]);
}

/**
 * Opens a catalog field.
 *
 * @throws `damaged` if it was not sealed with this key for this purpose
 */
export function openRecord(key: Buffer, purpose: string, bytes: Uint8Array): unknown {
  const nonce = bytes.subarray(0, NONCE_SIZE);
  const text =
    bytes.length < NONCE_SIZE ? null : openOnce(key, recordAad(purpose), bytes.subarray(NONCE_SIZE), nonce);
  if (text !== null) {
    const value: unknown = JSON.parse(text.toString());
    return value;
  }
  throw new VaultError(
    'damaged',
    `The catalog's record of ${purpose} is not what was written there. "vault repair" rebuilds the record of a file, "vault recover" a whole catalog.`,
  );
}

const RECORD_STEP = 128;

function recordAad(purpose: string): Buffer {
  return Buffer.from(`vault/2 catalog\n${purpose}`);
}
