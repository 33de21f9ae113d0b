/**
 * Identifying, packing, sealing and opening chunks. FORMAT.md, "Chunks".
 *
 * Synchronous, and written for worker threads: ciphers work in slices that stay in the processor's cache and whose small
 * outputs the allocator reuses, instead of asking the system for fresh pages for every chunk (measured: 400,000 page
 * faults a GiB with whole-chunk buffers, 50,000 so).
 */
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, hash } from 'node:crypto';
import * as zlib from 'node:zlib';
import { VaultError } from '../errors.ts';
import { CODEC_STORED, CODEC_ZSTD, payloadSize } from '../format/chunk.ts';
import { MIN_PADDED_SIZE, PAYLOAD_TRAILER_SIZE, SEAL_OVERHEAD } from '../format/limits.ts';
import type { KeyObject } from 'node:crypto';

const SLICE_SIZE = 64 * 1024;
const NONCE_SIZE = 12;
const AAD = Buffer.from('vault/2 chunk', 'ascii');

/** What a chunk's tag gives. */
export interface ChunkSecrets {
  /** 32 bytes: the chunk's tag, from which the others follow. */
  readonly t: Buffer;
  /** 32 bytes. The one that is no secret. */
  readonly id: Buffer;
  /** 32 bytes: AES-256. */
  readonly key: Buffer;
  /** 32 bytes: HMAC-SHA256. */
  readonly nonceKey: Buffer;
}

/** SHA-256 of a body, 32 bytes: the one pass over plain bytes. */
export function bodyHash(body: Uint8Array): Buffer {
  return hash('sha256', body, 'buffer');
}

/**
 * A chunk's tag t: HMAC-SHA256(dedup key, h), 32 bytes.
 *
 * @param dedupKey 32 bytes: the writer's for this kind of chunk, or the locked file's
 * @param h what `bodyHash` gave
 */
export function chunkTag(dedupKey: Uint8Array, h: Uint8Array): Buffer {
  return hmac(createSecretKey(dedupKey), h);
}

/** The id of the chunk with this tag, in hex: the first of its secrets, without the others. */
export function idOfTag(t: Uint8Array): string {
  return hmac(createSecretKey(t), EXPAND_INFO[0]).toString('hex');
}

/** Id and keys of the chunk with this tag: HKDF-Expand (RFC 5869) to 96 bytes. */
export function chunkSecrets(t: Buffer): ChunkSecrets {
  const [id, key, nonceKey] = expand(t);
  return { t, id, key, nonceKey };
}

/** The three blocks of HKDF-Expand; node:crypto has only extract and expand together. */
function expand(t: Uint8Array): readonly [Buffer, Buffer, Buffer] {
  const key = createSecretKey(t);
  const first = hmac(key, EXPAND_INFO[0]);
  const second = hmac(key, Buffer.concat([first, EXPAND_INFO[1]]));
  return [first, second, hmac(key, Buffer.concat([second, EXPAND_INFO[2]]))];
}

/** Keys as objects: with bytes for a key, each HMAC takes 14 µs instead of 3. */
function hmac(key: KeyObject, bytes: Uint8Array): Buffer {
  return createHmac('sha256', key).update(bytes).digest();
}

/** The info of each block, with its number behind it. */
const EXPAND_INFO = [infoOf(1), infoOf(2), infoOf(3)] as const;

function infoOf(block: number): Buffer {
  return Buffer.from(`vault/2 chunk${String.fromCharCode(block)}`, 'ascii');
}

/**
 * The nonce for sealing a payload, 12 bytes: the payload determines it, so no key meets a nonce twice with different
 * payloads.
 *
 * @param payload framed; its codec is read from it
 */
export function chunkNonce(secrets: ChunkSecrets, payload: Uint8Array): Buffer {
  const nonce = Buffer.alloc(NONCE_SIZE);
  const codec = payload[payload.length - PAYLOAD_TRAILER_SIZE];
  if (codec === CODEC_STORED) {
    nonce.writeUInt32BE(payload.length, 1);
  } else if (codec === CODEC_ZSTD) {
    nonce[0] = CODEC_ZSTD;
    createHmac('sha256', secrets.nonceKey)
      .update(payload)
      .digest()
      .copy(nonce, 1, 0, NONCE_SIZE - 1);
  } else {
    throw new VaultError('unsupported', 'This content uses a codec which this version does not know.');
  }
  return nonce;
}

/**
 * Seals a payload straight into the data shards it is cut into.
 *
 * @param nonce from `chunkNonce` of the same payload
 * @param shards one or more runs of memory, together at least as long as the sealed chunk; what is left over is zeroed
 */
export function sealChunk(
  secrets: ChunkSecrets,
  nonce: Uint8Array,
  payload: Uint8Array,
  shards: readonly Uint8Array[],
): void {
  const cipher = createCipheriv('aes-256-gcm', secrets.key, nonce).setAAD(AAD);
  const out = scatter(shards);
  for (let at = 0; at < payload.length; at += SLICE_SIZE) {
    const sealed = cipher.update(payload.subarray(at, at + SLICE_SIZE));
    out.write(sealed);
    giveBack(sealed);
  }
  out.write(cipher.final());
  out.write(cipher.getAuthTag());
  out.zeroRest();
}

/**
 * Opens a sealed chunk that lies in runs of memory.
 *
 * That the tag is right does not prove that this is the chunk: whoever once had its bytes knows its keys. The caller also
 * checks that the body's SHA-256 is h and that h gives the tag, before it uses a byte.
 *
 * @param nonce 12 bytes, as the shards' headers say
 * @param parts the sealed chunk, in order; what is beyond `sealedSize` is ignored
 * @param payload memory for the payload: `sealedSize` less `SEAL_OVERHEAD`, in bytes
 * @returns whether it opened; if not, what is in `payload` must not be used
 */
export function openChunk(
  secrets: ChunkSecrets,
  nonce: Uint8Array,
  parts: readonly Uint8Array[],
  { sealedSize, payload }: { readonly sealedSize: number; readonly payload: Uint8Array },
): boolean {
  if (sealedSize < SEAL_OVERHEAD) return false;
  const decipher = createDecipheriv('aes-256-gcm', secrets.key, nonce).setAAD(AAD);
  const tag = Buffer.alloc(SEAL_OVERHEAD);
  const cipherSize = sealedSize - SEAL_OVERHEAD;
  const out = scatter([payload]);
  let at = 0;
  for (const part of parts) {
    for (let from = 0; from < part.length && at < sealedSize;) {
      const end = Math.min(part.length, from + SLICE_SIZE, from + sealedSize - at);
      const slice = part.subarray(from, end);
      // The tag may begin inside a shard and end in the next one.
      const inCipher = Math.max(0, Math.min(slice.length, cipherSize - at));
      if (inCipher > 0) {
        const opened = decipher.update(slice.subarray(0, inCipher));
        out.write(opened);
        giveBack(opened);
      }
      if (inCipher < slice.length) tag.set(slice.subarray(inCipher), at + inCipher - cipherSize);
      at += slice.length;
      from = end;
    }
  }
  if (at !== sealedSize) return false;
  decipher.setAuthTag(tag);
  try {
    decipher.final();
  } catch {
    return false;
  }
  return true;
}

/**
 * Packs a body as one zstd frame.
 *
 * @param level zstd's, 1 to 19
 * @returns the frame; null where its payload would not be smaller than that of the body itself, full chunk or not
 */
export function packBody(body: Uint8Array, level: number): Uint8Array | null {
  const frame = zstdFrame(body, level);
  // Padded sizes are their own padding, so one that is below the padded size of a body is below the body as well.
  return payloadSize(frame.length, false) < payloadSize(body.length, false) ? frame : null;
}

/** Bytes of each of the samples that `looksCompressible` takes. */
const SAMPLE_SIZE = 8 * 1024;
const SAMPLES = 3;
/** Largest share of its size to which a sample must shrink: below that, padding to steps of up to 3 % takes most of the gain. */
const WORTHWHILE = 0.95;

/**
 * Whether a body seems worth packing: in samples of its beginning, middle and end some bytes are more frequent than others, or
 * sequences come again. No sample is packed for it: making zstd ready costs a worker 1 ms a time, half of all arithmetic of a chunk.
 */
export function looksCompressible(body: Uint8Array): boolean {
  if (body.length + PAYLOAD_TRAILER_SIZE <= MIN_PADDED_SIZE) return false;
  if (body.length <= SAMPLES * SAMPLE_SIZE) return true;
  const step = Math.floor((body.length - SAMPLE_SIZE) / (SAMPLES - 1));
  const seen = new Int32Array(4096);
  let bits = 0;
  for (let i = 0; i < SAMPLES; i += 1) {
    const sample = body.subarray(i * step, i * step + SAMPLE_SIZE);
    bits += bitsPerByte(sample) * (1 - shareSeen(sample, seen));
  }
  return bits < SAMPLES * 8 * WORTHWHILE;
}

/** The entropy of bytes, each taken for itself. */
function bitsPerByte(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    counts[byte] = (counts[byte] ?? 0) + 1;
  }
  let bits = 0;
  for (const count of counts) if (count > 0) bits += count * Math.log2(bytes.length / count);
  return bits / bytes.length;
}

/** Of the sequences of four bytes, what share has been seen before; by about one in eight of them. */
function shareSeen(bytes: Uint8Array, seen: Int32Array): number {
  let word = 0;
  let taken = 0;
  let again = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    word = (word << 8) | (bytes[at] ?? 0);
    const mixed = Math.imul(word, 0x9e3779b1);
    if (mixed >>> 29 !== 0) continue;
    taken += 1;
    const slot = (mixed >>> 17) & 4095;
    if (seen[slot] === word) again += 1;
    seen[slot] = word;
  }
  return again / Math.max(1, taken);
}

/** One frame with its content size in the header. Its memory has room for what does not shrink: growing it costs more. */
function zstdFrame(body: Uint8Array, level: number): Buffer {
  return zlib.zstdCompressSync(body, {
    params: { [zlib.constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: body.length,
    chunkSize: body.length + (body.length >> 8) + 1024,
  });
}

/**
 * Gives back memory that nobody uses any more, at once. What zstd and ciphers make lies outside of the heap, and left to the collector
 * 60 MiB of it pile up in each thread.
 *
 * @param made by Node, for its receiver alone; has no bytes afterwards
 */
export function giveBack(made: Uint8Array): void {
  const { buffer } = made;
  // Small ones lie in one that many share.
  const isAlone = buffer.byteLength === made.byteLength || buffer.byteLength > Buffer.poolSize;
  if (buffer instanceof ArrayBuffer && isAlone) buffer.transfer(0);
}

/** Writes bytes one after another into several runs of memory. */
function scatter(targets: readonly Uint8Array[]): { write(bytes: Uint8Array): void; zeroRest(): void } {
  let index = 0;
  let at = 0;
  return {
    write(bytes) {
      let from = 0;
      while (from < bytes.length) {
        const target = targets[index];
        if (target === undefined) throw new RangeError('More bytes than the shards have room for');
        const end = Math.min(bytes.length, from + target.length - at);
        target.set(from === 0 && end === bytes.length ? bytes : bytes.subarray(from, end), at);
        at += end - from;
        from = end;
        if (at === target.length) {
          index += 1;
          at = 0;
        }
      }
    },
    zeroRest() {
      for (; index < targets.length; index += 1) {
        targets[index]?.fill(0, at);
        at = 0;
      }
    },
  };
}
