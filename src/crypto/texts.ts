/** Sealing of the texts in a keyring: what people call a keyslot, and where a bucket is. FORMAT.md, "Labels and URLs". */
import { randomBytes } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import type { KeyringBucket, Keyslot } from '../format/keyring.ts';
import { openOnce, sealOnce } from './sealing.ts';

const NONCE_SIZE = 12;
/** Bytes of UTF-8. */
export const MAX_LABEL_SIZE = 1024;
/** Bytes of a bucket's URL. */
export const MAX_BUCKET_URL_SIZE = 4096;

/** What seals them, of the keys that every keyslot gives. */
interface SealingKeys {
  /** 32 hex digits. */
  readonly vaultId: string;
  /** 32 bytes. */
  readonly urls: Buffer;
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
