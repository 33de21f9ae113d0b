/**
 * The frame of signed objects: strict JSON, a line feed, an Ed25519 signature in 128 hex digits, a line feed.
 */
import { VaultError } from '../errors.ts';

/** Bytes of an Ed25519 signature. */
export const SIGNATURE_SIZE = 64;
/** Bytes after the JSON. */
export const SIGNATURE_FRAME_SIZE = 1 + 2 * SIGNATURE_SIZE + 1;

export interface SignedObject {
  /** The JSON's bytes, over which the signature is made. */
  readonly signed: Uint8Array;
  /** 64 bytes. */
  readonly signature: Buffer;
}

export function encodeSigned({ signed, signature }: SignedObject): Buffer {
  return Buffer.concat([signed, Buffer.from(`\n${signature.toString('hex')}\n`, 'ascii')]);
}

/**
 * The two parts of a signed object, unverified.
 *
 * @param what the thing in messages, as in "A keyring"
 * @param most largest object in bytes
 * @throws `damaged`
 */
export function decodeSigned(bytes: Uint8Array, what: string, most: number): SignedObject {
  const at = bytes.length - SIGNATURE_FRAME_SIZE;
  if (bytes.length > most) throw new VaultError('damaged', `${what} is larger than the format allows.`);
  if (at < 0) throw new VaultError('damaged', `${what} is too short.`);
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset + at, SIGNATURE_FRAME_SIZE).toString('latin1');
  const hex = /^\n([0-9a-f]{128})\n$/.exec(frame)?.[1];
  if (hex === undefined) throw new VaultError('damaged', `${what} does not end with a signature.`);
  return { signed: bytes.subarray(0, at), signature: Buffer.from(hex, 'hex') };
}
