/**
 * Sealing of the catalog's fields, of labels and of buckets' URLs, and the tags by which names are looked up. FORMAT.md,
 * "Labels and URLs"; what is in the catalog is no part of the format.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import type { KeyringBucket, Keyslot } from '../format/keyring.ts';
import type { VaultKeys, WriterKeys } from './keys.ts';
import { openOnce, sealOnce } from './sealing.ts';

const NONCE_SIZE = 12;
/** Bytes of UTF-8. */
export const MAX_LABEL_SIZE = 1024;
/** Bytes of a bucket's URL. */
export const MAX_BUCKET_URL_SIZE = 4096;

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
  keys: SealingKeys,
  writer: string,
  label: string,
  nonce: Buffer = randomBytes(NONCE_SIZE),
): Buffer {
  return sealText(
    keys,
    { aad: labelAad(keys.vaultId, writer), what: 'A label', most: MAX_LABEL_SIZE },
    label,
    nonce,
  );
}

/**
 * What people call a keyslot.
 *
 * @throws `damaged` if it was not sealed for this keyslot
 */
export function openLabel(keys: SealingKeys, slot: Pick<Keyslot, 'writer' | 'label'>): string {
  return openText(keys, { aad: labelAad(keys.vaultId, slot.writer), what: "A keyslot's label" }, slot.label);
}

/**
 * Seals where a bucket is.
 *
 * @param id the bucket's, 32 hex digits
 * @param nonce 12 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` if the URL is longer than `MAX_BUCKET_URL_SIZE` or no well-formed text
 */
export function sealBucketUrl(
  keys: SealingKeys,
  id: string,
  url: string,
  nonce: Buffer = randomBytes(NONCE_SIZE),
): Buffer {
  return sealText(
    keys,
    { aad: urlAad(keys.vaultId, id), what: 'A URL', most: MAX_BUCKET_URL_SIZE },
    url,
    nonce,
  );
}

/**
 * Where a bucket is, as the keyring says.
 *
 * @throws `damaged` if it was not sealed for this bucket
 */
export function openBucketUrl(keys: SealingKeys, bucket: Pick<KeyringBucket, 'id' | 'url'>): string {
  return openText(keys, { aad: urlAad(keys.vaultId, bucket.id), what: "A bucket's URL" }, bucket.url);
}

/** Every keyslot gives these. */
type SealingKeys = Pick<VaultKeys, 'urls' | 'vaultId'>;

function sealText(
  keys: SealingKeys,
  { aad, what, most }: { readonly aad: Buffer; readonly what: string; readonly most: number },
  text: string,
  nonce: Buffer,
): Buffer {
  const body = Buffer.from(text);
  if (body.length > most || !text.isWellFormed()) {
    throw new VaultError('invalid-input', `${what} must be text of at most ${most} bytes.`);
  }
  return Buffer.concat([nonce, sealOnce(keys.urls, aad, padBody(body), nonce)]);
}

function openText(
  keys: SealingKeys,
  { aad, what }: { readonly aad: Buffer; readonly what: string },
  sealed: Buffer,
): string {
  const nonce = sealed.subarray(0, NONCE_SIZE);
  const payload =
    sealed.length < NONCE_SIZE ? null : openOnce(keys.urls, aad, sealed.subarray(NONCE_SIZE), nonce);
  if (payload === null) throw new VaultError('damaged', `${what} is not what was written there.`);
  const body = unpadBody(payload);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw new VaultError('damaged', `${what} is no text.`, { cause });
  }
}

function labelAad(vaultId: string, writer: string): Buffer {
  return Buffer.from(`vault/2 label\n${vaultId}\n${writer}`, 'ascii');
}

function urlAad(vaultId: string, bucket: string): Buffer {
  return Buffer.from(`vault/2 bucket\n${vaultId}\n${bucket}`, 'ascii');
}
