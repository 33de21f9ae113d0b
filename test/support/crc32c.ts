// CRC-32C (RFC 3720, appendix B.4) in plain code, by which the tests hold the native one to the standard; eight bytes a
// step ("slicing by 8", Kounavis and Berry, 2005), since the servers of the tests check every upload with it.
const REFLECTED_POLYNOMIAL = 0x82f63b78;
const STEP = 8;

// Entry 256 * k + b: what the byte b adds to the remainder when k bytes of the same step follow it.
const TABLE = new Int32Array(256 * STEP);
for (let byte = 0; byte < 256; byte += 1) {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ REFLECTED_POLYNOMIAL;
  }
  TABLE[byte] = remainder;
}
for (let index = 256; index < TABLE.length; index += 1) {
  const nearer = entry(index - 256);
  TABLE[index] = (nearer >>> 8) ^ entry(nearer & 0xff);
}

function entry(index: number): number {
  return TABLE[index] ?? 0;
}

/**
 * The CRC-32C of some bytes.
 *
 * @param bytes what to check; may be a view of shared memory
 * @returns an unsigned 32-bit number
 */
export function crc32c(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let remainder = -1;
  let offset = 0;
  for (; offset + STEP <= view.byteLength; offset += STEP) {
    const low = remainder ^ view.getInt32(offset, true);
    const high = view.getInt32(offset + 4, true);
    remainder =
      entry(1792 + (low & 0xff)) ^
      entry(1536 + ((low >>> 8) & 0xff)) ^
      entry(1280 + ((low >>> 16) & 0xff)) ^
      entry(1024 + (low >>> 24)) ^
      entry(768 + (high & 0xff)) ^
      entry(512 + ((high >>> 8) & 0xff)) ^
      entry(256 + ((high >>> 16) & 0xff)) ^
      entry(high >>> 24);
  }
  for (; offset < view.byteLength; offset += 1) {
    remainder = (remainder >>> 8) ^ entry((remainder ^ view.getUint8(offset)) & 0xff);
  }
  return ~remainder >>> 0;
}
