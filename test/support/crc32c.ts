// CRC-32C (RFC 3720, appendix B.4) in plain code, by which the tests hold the native one to the standard.
const REFLECTED_POLYNOMIAL = 0x82f63b78;

/**
 * The CRC-32C of some bytes.
 *
 * @returns an unsigned 32-bit number
 */
export function crc32c(bytes: Uint8Array): number {
  let remainder = -1;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ REFLECTED_POLYNOMIAL;
    }
  }
  return ~remainder >>> 0;
}
