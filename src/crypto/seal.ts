/**
 * Sealing of the small things: manifests, catalog fields, name tags. Chunks are sealed in `chunk.ts`.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { isVaultError, VaultError } from '../errors.ts';
import { framePayload, PAYLOAD_PREFIX_SIZE, payloadBody, payloadSize } from '../format/chunk.ts';
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_HEADER_SIZE,
  MANIFEST_MAGIC,
  MANIFEST_SALT_SIZE,
} from '../format/manifest.ts';
import type { Hmac } from 'node:crypto';
import type { Manifest } from '../format/manifest.ts';
import type { Subkeys } from './keys.ts';

const TAG_SIZE = 16;
const NONCE_SIZE = 12;
/** Each of these keys seals exactly one message, so one nonce serves all. */
const ZERO_NONCE = new Uint8Array(NONCE_SIZE);

/** A file's hash: lower-case hex SHA-256 of its sealed manifest. */
export function manifestHash(sealed: Uint8Array): string {
  return createHash('sha256').update(sealed).digest('hex');
}

/**
 * Seals a manifest under a key of its own, drawn by a random salt.
 *
 * @param salt 32 bytes, for test vectors only; drawn when absent
 */
export function sealManifest(
  keys: Subkeys,
  manifest: Manifest,
  salt: Uint8Array = randomBytes(MANIFEST_SALT_SIZE),
): Buffer {
  const body = encodeManifest(manifest);
  const payload = Buffer.alloc(payloadSize(body.length, { chunkSize: null, isLast: true }));
  payload.set(body, PAYLOAD_PREFIX_SIZE);
  framePayload(payload, body.length);
  const { key, commitment } = manifestKey(keys, salt);
  const header = Buffer.concat([MANIFEST_MAGIC, salt, commitment]);
  const cipher = createCipheriv('aes-256-gcm', key, ZERO_NONCE);
  cipher.setAAD(header);
  return Buffer.concat([header, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Opens a sealed manifest.
 *
 * @param sealed the object's bytes
 * @param hash the hash it goes by
 * @throws `damaged` if the bytes do not have that hash or do not open; `unsupported` if they need a newer version
 */
export function openManifest(keys: Subkeys, sealed: Uint8Array, hash: string): Manifest {
  if (manifestHash(sealed) !== hash)
    throw new VaultError('damaged', 'A manifest does not have the hash it goes by.');
  if (sealed.length < MANIFEST_HEADER_SIZE + TAG_SIZE)
    throw new VaultError('damaged', 'A manifest is too short.');
  const header = Buffer.from(sealed.subarray(0, MANIFEST_HEADER_SIZE));
  if (!header.subarray(0, MANIFEST_MAGIC.length).equals(MANIFEST_MAGIC)) {
    if (/^vlt[0-9]mnfs$/.test(header.toString('latin1', 0, 8))) {
      throw new VaultError('unsupported', 'A manifest was written in a newer format. Use a newer version.');
    }
    throw new VaultError('damaged', 'A manifest does not start like one.');
  }
  const saltEnd = MANIFEST_MAGIC.length + MANIFEST_SALT_SIZE;
  const { key, commitment } = manifestKey(keys, header.subarray(MANIFEST_MAGIC.length, saltEnd));
  if (!timingSafeEqual(commitment, header.subarray(saltEnd))) {
    throw new VaultError('damaged', 'A manifest was sealed with the key of another vault.');
  }
  const decipher = createDecipheriv('aes-256-gcm', key, ZERO_NONCE);
  decipher.setAAD(header);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_SIZE));
  let payload: Buffer;
  try {
    payload = Buffer.concat([
      decipher.update(sealed.subarray(MANIFEST_HEADER_SIZE, sealed.length - TAG_SIZE)),
      decipher.final(),
    ]);
  } catch (cause) {
    throw new VaultError('damaged', 'A manifest does not open with its key.', { cause });
  }
  return decodeManifest(payloadBody(payload));
}

function manifestKey(keys: Subkeys, salt: Uint8Array): { key: Buffer; commitment: Buffer } {
  const both = Buffer.from(hkdfSync('sha256', keys.manifest, salt, 'vault/1 manifest seal', 64));
  return { key: both.subarray(0, 32), commitment: both.subarray(32) };
}

/** The tag by which a name is looked up without being told: HMAC-SHA256 of its UTF-8 bytes, 32 bytes. */
export function nameTag(keys: Subkeys, name: string): Buffer {
  return createHmac('sha256', keys.name).update('name\n').update(name).digest();
}

/**
 * A tag of a file's content, for "is it unchanged": HMAC-SHA256 over chunk size and table, 32 bytes. It leaves this
 * machine only inside a sealed record.
 *
 * @returns a running tag: feed it the table's bytes in order
 */
export function startContentTag(keys: Subkeys, chunkSize: number): Hmac {
  return createHmac('sha256', keys.name).update(`content\n${chunkSize}\n`);
}

/**
 * Seals a catalog field.
 *
 * @param purpose what the field is and what it belongs to, so that it cannot be moved elsewhere
 * @returns nonce, ciphertext and tag
 */
export function sealRecord(keys: Subkeys, purpose: string, value: unknown): Buffer {
  const nonce = randomBytes(NONCE_SIZE);
  const cipher = createCipheriv('aes-256-gcm', keys.catalog, nonce);
  cipher.setAAD(recordAad(keys, purpose));
  // Padded with spaces, which JSON ignores, so that the length of a name or a number does not show.
  const json = Buffer.from(JSON.stringify(value));
  const text = Buffer.alloc(Math.ceil((json.length + 1) / RECORD_STEP) * RECORD_STEP, ' ');
  text.set(json);
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Opens a catalog field.
 *
 * @throws `damaged` if it was not sealed by this vault for this purpose
 */
export function openRecord(keys: Subkeys, purpose: string, sealed: Uint8Array): unknown {
  try {
    const nonce = sealed.subarray(0, NONCE_SIZE);
    // A tag cut short is easier to forge, so it is not taken for one.
    const decipher = createDecipheriv('aes-256-gcm', keys.catalog, nonce, { authTagLength: TAG_SIZE });
    decipher.setAAD(recordAad(keys, purpose));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_SIZE));
    const text = Buffer.concat([
      decipher.update(sealed.subarray(NONCE_SIZE, sealed.length - TAG_SIZE)),
      decipher.final(),
    ]);
    const value: unknown = JSON.parse(text.toString());
    return value;
  } catch (cause) {
    if (isVaultError(cause)) throw cause;
    throw new VaultError(
      'damaged',
      `The catalog's record of ${purpose} is not what was written there. "vault repair" mends the record of a file, "vault recover" a whole catalog.`,
      { cause },
    );
  }
}

const RECORD_STEP = 128;

function recordAad(keys: Subkeys, purpose: string): Buffer {
  return Buffer.from(`vault/1 catalog\n${keys.vaultId}\n${purpose}`);
}
