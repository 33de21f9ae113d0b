/**
 * The payload of a chunk: what is inside the seal. FORMAT.md, "Payload". Small sealed things have the same framing.
 *
 *     stored bytes | zero padding | codec (1 byte) | stored length (4 bytes, big-endian)
 *
 * The stored bytes are the body itself (codec 0) or one zstd frame that unpacks to it (codec 1).
 */
import * as zlib from 'node:zlib';
import { VaultError } from '../errors.ts';
import { MAX_PAYLOAD_SIZE, MAX_ZSTD_WINDOW, MIN_PADDED_SIZE, PAYLOAD_TRAILER_SIZE } from './limits.ts';

export {
  DEFAULT_CHUNK_SIZE,
  MAX_CHUNK_SIZE,
  MIN_CHUNK_SIZE,
  PAYLOAD_TRAILER_SIZE,
  SEAL_OVERHEAD,
} from './limits.ts';

/** The stored bytes are the body. */
export const CODEC_STORED = 0;
/** The stored bytes are one zstd frame (RFC 8878). */
export const CODEC_ZSTD = 1;

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
 * @param storedLength bytes of what is stored: the body, or its zstd frame
 * @param full whether it is a body of the content's fixed chunk size, stored with codec 0: those are not padded, since
 *   their size tells nothing
 */
export function payloadSize(storedLength: number, full: boolean): number {
  const content = storedLength + PAYLOAD_TRAILER_SIZE;
  return full ? content : Math.max(MIN_PADDED_SIZE, padme(content));
}

/**
 * Writes padding and trailer behind stored bytes that are in place.
 *
 * @param payload the whole payload, of `payloadSize` bytes; the stored bytes lie at its start
 * @param codec `CODEC_STORED` or `CODEC_ZSTD`
 * @param storedLength bytes of them; all between them and the trailer is zeroed
 */
export function framePayload(payload: Uint8Array, codec: number, storedLength: number): void {
  const trailer = payload.length - PAYLOAD_TRAILER_SIZE;
  if (storedLength > trailer) throw new RangeError('The payload has no room for its trailer.');
  payload.fill(0, storedLength, trailer);
  payload[trailer] = codec;
  view(payload).setUint32(trailer + 1, storedLength);
}

/**
 * Frames and pads a small thing that is sealed on its own: a part of a manifest, the ids of a put.
 *
 * @returns a payload of codec 0 and `payloadSize(body.length, false)` bytes
 */
export function padBody(body: Uint8Array): Buffer {
  const payload = Buffer.alloc(payloadSize(body.length, false));
  payload.set(body);
  framePayload(payload, CODEC_STORED, body.length);
  return payload;
}

/**
 * The body of an opened small thing, as a view of its payload.
 *
 * @throws `damaged` if it is not a padded payload of codec 0; `unsupported` for a codec that is not known
 */
export function unpadBody(payload: Uint8Array): Uint8Array {
  const { codec, stored } = parsePayload(payload);
  if (codec !== CODEC_STORED) throw malformed('is compressed where nothing may be');
  if (payload.length !== payloadSize(stored.length, false)) throw malformed('is not padded');
  return stored;
}

/**
 * What an opened payload holds.
 *
 * @returns `stored`: a view of the payload, still packed where the codec is `CODEC_ZSTD`
 * @throws `unsupported` for a codec that is not known; `damaged` if the length does not fit or the padding is not zero
 */
export function parsePayload(payload: Uint8Array): { readonly codec: number; readonly stored: Uint8Array } {
  const trailer = payload.length - PAYLOAD_TRAILER_SIZE;
  if (trailer < 0) throw malformed('is too short');
  if (payload.length > MAX_PAYLOAD_SIZE) throw malformed('is too long');
  const codec = payload[trailer] ?? 0;
  if (codec > CODEC_ZSTD) {
    throw new VaultError(
      'unsupported',
      `This content uses codec ${codec}, which this version does not know. Use a newer version.`,
    );
  }
  const length = view(payload).getUint32(trailer + 1);
  if (length > trailer) throw malformed('is shorter than it says');
  const exact = codec === CODEC_STORED && length === trailer;
  if (!exact && payload.length !== payloadSize(length, false))
    throw malformed('is not padded as it should be');
  if (!isZero(payload.subarray(length, trailer))) throw malformed('has padding that is not zero');
  return { codec, stored: payload.subarray(0, length) };
}

/**
 * The body in an opened payload. It is what was stored only if its SHA-256 is right; that is the caller's to check.
 *
 * @param bodyLength bytes that the body must have; nothing beyond that is unpacked
 * @returns a view of the payload (codec 0), or new memory
 * @throws as `parsePayload`, and `damaged` if it does not hold a body of this length
 */
export function unpackPayload(payload: Uint8Array, bodyLength: number): Uint8Array {
  const { codec, stored } = parsePayload(payload);
  const body = codec === CODEC_ZSTD ? unpackFrame(stored, payload.length, bodyLength) : stored;
  if (body.length !== bodyLength) throw malformed('holds another number of bytes than it should');
  return body;
}

function unpackFrame(frame: Uint8Array, payloadLength: number, bodyLength: number): Uint8Array {
  if (payloadLength > payloadSize(bodyLength, false)) throw malformed('is larger than its body');
  checkFrame(frame, bodyLength);
  // One byte more than the body, so that the unpacker sees the end without growing its memory.
  const chunkSize = Math.max(zlib.constants.Z_MIN_CHUNK, bodyLength + 1);
  try {
    return zlib.zstdDecompressSync(frame, { maxOutputLength: Math.max(1, bodyLength), chunkSize });
  } catch (cause) {
    throw malformed('does not unpack to what it should', cause);
  }
}

/**
 * Checks that bytes are one zstd frame, whole and with nothing around it, that asks for no more memory than its body
 * justifies: a frame's header alone can make the unpacker allocate 128 MiB, and the unpacker itself takes skippable
 * frames and further frames as well. RFC 8878, section 3.1.1.
 *
 * @throws `damaged`
 */
function checkFrame(frame: Uint8Array, bodyLength: number): void {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  if (bytes.length < 6 || bytes.readUInt32LE(0) !== ZSTD_MAGIC) throw malformed('does not hold a zstd frame');
  const descriptor = bytes.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? Number(isSingleSegment) : 2 ** sizeFlag;
  // No dictionary (bits 0 and 1), and a reserved bit that must be 0.
  if ((descriptor & 0x0b) !== 0) throw malformed('holds a zstd frame that needs more than itself');
  const sizeAt = isSingleSegment ? 5 : 6;
  let at = sizeAt + sizeBytes;
  if (at > bytes.length) throw malformed('holds a zstd frame that is cut short');
  if (sizeBytes > 0 && contentSize(bytes, sizeAt, sizeBytes) !== bodyLength) {
    throw malformed('holds a zstd frame of another number of bytes than it should');
  }
  if (!isSingleSegment && windowSize(bytes.readUInt8(5)) > Math.max(MAX_ZSTD_WINDOW, bodyLength)) {
    throw malformed('holds a zstd frame that asks for too much memory');
  }
  for (let isLast = false; !isLast;) {
    if (at + 3 > bytes.length) throw malformed('holds a zstd frame that is cut short');
    const header = bytes.readUIntLE(at, 3);
    isLast = (header & 1) === 1;
    // A run (type 1) is one byte, whatever it unpacks to. Type 3, which is reserved, is left to the unpacker.
    at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  const checksumSize = (descriptor & 0x04) === 0 ? 0 : 4;
  if (at + checksumSize !== bytes.length) throw malformed('holds more or less than one zstd frame');
}

const ZSTD_MAGIC = 0xfd2fb528;

/** The content size that a frame states; beyond 2^48 it is whatever no body has. */
function contentSize(bytes: Buffer, at: number, size: number): number {
  switch (size) {
    case 1:
      return bytes.readUInt8(at);
    case 2:
      return bytes.readUInt16LE(at) + 256;
    case 4:
      return bytes.readUInt32LE(at);
    default:
      return Number(bytes.readBigUInt64LE(at));
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

const ZEROS = Buffer.alloc(16 * 1024);

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const run = bytes.subarray(at, at + ZEROS.length);
    if (ZEROS.compare(run, 0, run.length, 0, run.length) !== 0) return false;
  }
  return true;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string, cause?: unknown): VaultError {
  return new VaultError('damaged', `A sealed payload ${what}.`, { cause });
}
