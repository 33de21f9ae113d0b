/** Sealing of short texts: what people call a keyslot, where a bucket is, what was shared. FORMAT.md, "Labels and URLs", "Shares". */
import { randomBytes } from 'node:crypto';
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import type { KeyringBucket, Keyslot } from '../format/keyring.ts';
import { MAX_JSON_SIZE } from '../format/limits.ts';
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

/** A kind of text. */
interface Kind {
  /** What it is sealed for, before the id of its holder. */
  readonly purpose: 'label' | 'bucket' | 'share';
  /** In messages. */
  readonly what: string;
  /** Bytes of UTF-8. */
  readonly most: number;
}

const LABEL: Kind = { purpose: 'label', what: "A keyslot's label", most: MAX_LABEL_SIZE };
const BUCKET_URL: Kind = { purpose: 'bucket', what: "A bucket's URL", most: MAX_BUCKET_URL_SIZE };
const NOTE: Kind = { purpose: 'share', what: "A share's note", most: MAX_JSON_SIZE };

/**
 * Seals what people call a keyslot.
 *
 * @param writer the keyslot's holder, 32 hex digits
 * @param nonce 12 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` if the label is longer than `MAX_LABEL_SIZE` or no well-formed text
 */
export function sealLabel(keys: SealingKeys, writer: string, label: string, nonce?: Buffer): Buffer {
  return sealText(keys, { ...LABEL, id: writer, nonce }, label);
}

/**
 * What people call a keyslot.
 *
 * @throws `damaged` if it was not sealed for this keyslot
 */
export function openLabel(keys: SealingKeys, slot: Pick<Keyslot, 'writer' | 'label'>): string {
  return openText(keys, { ...LABEL, id: slot.writer }, slot.label);
}

/** As `openLabel`; '' for one that is damaged. */
export function labelIn(keys: SealingKeys, slot: Pick<Keyslot, 'writer' | 'label'>): string {
  try {
    return openLabel(keys, slot);
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return '';
  }
}

/**
 * Seals where a bucket is.
 *
 * @param id the bucket's, 32 hex digits
 * @param nonce 12 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` if the URL is longer than `MAX_BUCKET_URL_SIZE` or no well-formed text
 */
export function sealBucketUrl(keys: SealingKeys, id: string, url: string, nonce?: Buffer): Buffer {
  return sealText(keys, { ...BUCKET_URL, id, nonce }, url);
}

/**
 * Where a bucket is, as the keyring says.
 *
 * @throws `damaged` if it was not sealed for this bucket
 */
export function openBucketUrl(keys: SealingKeys, bucket: Pick<KeyringBucket, 'id' | 'url'>): string {
  return openText(keys, { ...BUCKET_URL, id: bucket.id }, bucket.url);
}

/** Seals a share's note. @param id the share's, 32 hex digits */
export function sealShareNote(keys: SealingKeys, id: string, note: string): Buffer {
  return sealText(keys, { ...NOTE, id, nonce: undefined }, note);
}

/** @throws `damaged` if it was not sealed for this share */
export function openShareNote(keys: SealingKeys, id: string, sealed: Buffer): string {
  return openText(keys, { ...NOTE, id }, sealed);
}

function sealText(
  keys: SealingKeys,
  kind: Kind & { readonly id: string; readonly nonce: Buffer | undefined },
  text: string,
): Buffer {
  const { what, most, nonce = randomBytes(NONCE_SIZE) } = kind;
  const body = Buffer.from(text);
  if (body.length > most || !text.isWellFormed()) {
    throw invalidInput(`${what} must be text of at most ${most} bytes.`);
  }
  return Buffer.concat([nonce, sealOnce(keys.urls, aadOf(keys, kind), padBody(body), nonce)]);
}

function openText(keys: SealingKeys, kind: Kind & { readonly id: string }, sealed: Buffer): string {
  const { what } = kind;
  const nonce = sealed.subarray(0, NONCE_SIZE);
  const rest = sealed.subarray(NONCE_SIZE);
  const payload = sealed.length < NONCE_SIZE ? null : openOnce(keys.urls, aadOf(keys, kind), rest, nonce);
  if (payload === null) throw new VaultError('damaged', `${what} is not what was written there.`);
  const body = unpadBody(payload);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw new VaultError('damaged', `${what} is not text.`, { cause });
  }
}

function aadOf({ vaultId }: SealingKeys, { purpose, id }: Kind & { readonly id: string }): Buffer {
  return Buffer.from(`vault/2 ${purpose}\n${vaultId}\n${id}`, 'ascii');
}
