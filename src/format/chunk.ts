/**
 * The payload of a chunk: what is inside the seal. FORMAT.md, "Payload".
 *
 *     codec (1 byte, 0 = stored) | body length (4 bytes, big-endian) | body | zero padding
 */
import { VaultError } from '../errors.ts';

/** Bytes before the body. */
export const PAYLOAD_PREFIX_SIZE = 5;
/** Bytes that sealing adds to a payload: the AES-GCM tag. */
export const SEAL_OVERHEAD = 16;
export const MIN_CHUNK_SIZE = 64 * 1024;
export const MAX_CHUNK_SIZE = 64 * 1024 * 1024;
export const DEFAULT_CHUNK_SIZE = 1024 * 1024;
/** Smallest payload, in bytes: below it all sizes look alike. */
export const MIN_PAYLOAD_SIZE = 256;

const CODEC_STORED = 0;

/**
 * Rounds a length up so that it tells little: at most 12 % more bytes, and only O(log log n) bits of the length
 * remain visible. Padmé, from Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
 * Communication with PURBs", PETS 2019, algorithm 1.
 *
 * @param length bytes, 2 to 2^32 - 1
 */
export function padme(length: number): number {
  const exponent = floorLog2(length);
  const kept = floorLog2(exponent) + 1;
  const step = 2 ** Math.max(0, exponent - kept);
  return Math.ceil(length / step) * step;
}

function floorLog2(value: number): number {
  return 31 - Math.clz32(value);
}

/**
 * Bytes of a payload.
 *
 * @param bodyLength bytes of the body
 * @param chunkSize the file's chunk size; null where no chunk size bounds the padding (a manifest)
 * @param isLast only a last chunk is padded; the others are full, so their size tells nothing
 */
export function payloadSize(
  bodyLength: number,
  { chunkSize, isLast }: { readonly chunkSize: number | null; readonly isLast: boolean },
): number {
  const length = PAYLOAD_PREFIX_SIZE + bodyLength;
  if (!isLast) return length;
  const padded = Math.max(MIN_PAYLOAD_SIZE, padme(length));
  return chunkSize === null ? padded : Math.max(length, Math.min(padded, PAYLOAD_PREFIX_SIZE + chunkSize));
}

/**
 * Writes prefix and padding around a body that is already in place.
 *
 * @param payload the whole payload; the body lies at `PAYLOAD_PREFIX_SIZE`
 * @param bodyLength bytes of the body; all after it is zeroed
 */
export function framePayload(payload: Uint8Array, bodyLength: number): void {
  payload[0] = CODEC_STORED;
  view(payload).setUint32(1, bodyLength);
  payload.fill(0, PAYLOAD_PREFIX_SIZE + bodyLength);
}

/**
 * The body of an opened payload, as a view of it.
 *
 * @throws `unsupported` for an unknown codec; `damaged` if the length does not fit or the padding is not zero
 */
export function payloadBody(payload: Uint8Array): Uint8Array {
  if (payload.length < PAYLOAD_PREFIX_SIZE) throw malformed('is too short');
  if (payload[0] !== CODEC_STORED) {
    throw new VaultError(
      'unsupported',
      `This content uses codec ${payload[0] ?? 0}, which this version does not know. Use a newer version.`,
    );
  }
  const end = PAYLOAD_PREFIX_SIZE + view(payload).getUint32(1);
  if (end > payload.length) throw malformed('is shorter than it says');
  if (!isZero(payload.subarray(end))) throw malformed('has padding that is not zero');
  return payload.subarray(PAYLOAD_PREFIX_SIZE, end);
}

function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string): VaultError {
  return new VaultError('damaged', `A sealed payload ${what}.`);
}
