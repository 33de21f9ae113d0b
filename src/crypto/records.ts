/**
 * Sealing of the catalog's fields and of labels, and the tags by which names are looked up. FORMAT.md, "Labels"; what is in
 * the catalog is no part of the format.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import type { Keyslot } from '../format/keyring.ts';
import type { VaultKeys, WriterKeys } from './keys.ts';
import { openOnce, sealOnce } from './sealing.ts';

const NONCE_SIZE = 12;
/** Bytes of UTF-8. */
export const MAX_LABEL_SIZE = 1024;

/** The tag by which a writer's name is looked up without being told: HMAC-SHA256 of its UTF-8 bytes, 32 bytes. */
export function nameTag(writer: Pick<WriterKeys, 'names'>, name: string): Buffer {
  return createHmac('sha256', writer.names).update('name\n').update(name).digest();
}

/**
 * Seals a catalog field.
 *
 * @param key 32 bytes, of one vault: a writer's `catalog`, or `urls`
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
    `The catalog's record of ${purpose} is not what was written there. "vault repair" mends the record of a file, "vault recover" a whole catalog.`,
  );
}

const RECORD_STEP = 128;

function recordAad(purpose: string): Buffer {
  return Buffer.from(`vault/2 catalog\n${purpose}`);
}

/**
 * Seals what people call a keyslot.
 *
 * @param writer the keyslot's holder, 32 hex digits
 * @param nonce 12 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` if the label is longer than `MAX_LABEL_SIZE` or no well-formed text
 */
export function sealLabel(
  keys: Pick<VaultKeys, 'urls' | 'vaultId'>,
  writer: string,
  label: string,
  nonce: Buffer = randomBytes(NONCE_SIZE),
): Buffer {
  const body = Buffer.from(label);
  if (body.length > MAX_LABEL_SIZE || !label.isWellFormed()) {
    throw new VaultError('invalid-input', `A label must be text of at most ${MAX_LABEL_SIZE} bytes.`);
  }
  return Buffer.concat([nonce, sealOnce(keys.urls, labelAad(keys.vaultId, writer), padBody(body), nonce)]);
}

/**
 * What people call a keyslot.
 *
 * @throws `damaged` if it was not sealed for this keyslot
 */
export function openLabel(
  keys: Pick<VaultKeys, 'urls' | 'vaultId'>,
  slot: Pick<Keyslot, 'writer' | 'label'>,
): string {
  const nonce = slot.label.subarray(0, NONCE_SIZE);
  const aad = labelAad(keys.vaultId, slot.writer);
  const payload =
    slot.label.length < NONCE_SIZE ? null : openOnce(keys.urls, aad, slot.label.subarray(NONCE_SIZE), nonce);
  if (payload === null) throw new VaultError('damaged', "A keyslot's label is not what was written there.");
  const body = unpadBody(payload);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw new VaultError('damaged', "A keyslot's label is no text.", { cause });
  }
}

function labelAad(vaultId: string, writer: string): Buffer {
  return Buffer.from(`vault/2 label\n${vaultId}\n${writer}`, 'ascii');
}
