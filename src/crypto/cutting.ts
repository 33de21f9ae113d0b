/**
 * What a writer cuts contents by: derived from its `cut` key, so that the lengths of its chunks do not tell whoever sees them
 * which known file they are of. Readers need none of it.
 */
import { createSecretKey, hkdfSync } from 'node:crypto';

/** The rolling hash's word for each byte. */
export function gearTable(cutKey: Uint8Array): Int32Array {
  return wordTable(cutKey, 'vault/2 gear');
}

/**
 * A number of 0 and more, and less than 1, for each name: as good as drawn for it, by whoever has not the key.
 *
 * It is no MAC, nor need it be: of each number only one bit is ever seen, in a length. HMAC takes 2 us a name, this a twentieth,
 * and a folder may have millions.
 */
export function lotOf(cutKey: Uint8Array): (name: Uint8Array) => number {
  const words = wordTable(cutKey, 'vault/2 lot');
  return (name) => {
    let hash = 0;
    for (const byte of name) hash = (Math.imul(hash, MULTIPLIER) + (words[byte] ?? 0)) | 0;
    hash = Math.imul(hash ^ (hash >>> 15), MULTIPLIER);
    return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
  };
}

/** 2^32 over the golden ratio: odd, so that no byte's word is lost. */
const MULTIPLIER = 0x9e3779b1;

/** 256 words of 32 bits by HKDF-SHA256. */
function wordTable(cutKey: Uint8Array, info: string): Int32Array {
  return new Int32Array(hkdfSync('sha256', createSecretKey(cutKey), '', info, 256 * 4));
}
