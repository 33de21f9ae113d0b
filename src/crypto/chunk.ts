/**
 * Identifying, sealing and opening chunks, and checking shards. FORMAT.md, "Chunks".
 *
 * Synchronous, and written for the thread it runs in: ciphers work in slices that stay in the processor's cache and
 * whose small outputs the allocator reuses, instead of asking the system for fresh pages for every chunk (measured: 400,000
 * page faults a GiB with whole-chunk buffers, 50,000 so).
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { SEAL_OVERHEAD } from '../format/chunk.ts';
import { SHARD_CHECKED_SIZE, SHARD_HEADER_SIZE, writeShardHeader } from '../format/shard.ts';
import type { ShardHeader } from '../format/shard.ts';
import type { Subkeys } from './keys.ts';

/** The part of the subkeys that chunks need. */
export type ChunkKeys = Pick<Subkeys, 'vaultId' | 'chunkId' | 'chunkSeal'>;

const SLICE_SIZE = 64 * 1024;
/** The key is a function of the payload, so it never meets a second message. */
const ZERO_NONCE = new Uint8Array(12);

/** A chunk's id: HMAC-SHA256 of its payload, 32 bytes. */
export function chunkId(keys: ChunkKeys, payload: Uint8Array): Buffer {
  return createHmac('sha256', keys.chunkId).update(payload).digest();
}

/**
 * Seals a payload straight into the data shards it is cut into.
 *
 * @param id the payload's chunk id, 32 bytes
 * @param shards one or more runs of memory, together at least as long as the sealed chunk; what is left over is zeroed
 */
export function sealChunk(
  keys: ChunkKeys,
  id: Uint8Array,
  payload: Uint8Array,
  shards: readonly Uint8Array[],
): void {
  const cipher = createCipheriv('aes-256-gcm', sealKey(keys, id), ZERO_NONCE);
  cipher.setAAD(chunkAad(keys));
  const out = scatter(shards);
  for (let at = 0; at < payload.length; at += SLICE_SIZE) {
    out.write(cipher.update(payload.subarray(at, at + SLICE_SIZE)));
  }
  out.write(cipher.final());
  out.write(cipher.getAuthTag());
  out.zeroRest();
}

/**
 * Opens a sealed chunk that lies in runs of memory, and proves that it is the chunk with this id.
 *
 * @param parts the sealed chunk, in order; what is beyond `sealedSize` is ignored
 * @param payload memory for the payload: `sealedSize` less the tag, in bytes
 * @returns whether it is the chunk; if not, what is in `payload` must not be used
 */
export function openChunk(
  keys: ChunkKeys,
  id: Uint8Array,
  parts: readonly Uint8Array[],
  { sealedSize, payload }: { readonly sealedSize: number; readonly payload: Uint8Array },
): boolean {
  const decipher = createDecipheriv('aes-256-gcm', sealKey(keys, id), ZERO_NONCE);
  decipher.setAAD(chunkAad(keys));
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
      if (inCipher > 0) out.write(decipher.update(slice.subarray(0, inCipher)));
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
  // AES-GCM alone does not bind its key (two keys can open one ciphertext); the id does.
  return chunkId(keys, payload).equals(id);
}

/**
 * Writes a shard object's header and checksum before the shard that is in place.
 *
 * @param object the whole object; the shard lies at `SHARD_HEADER_SIZE`
 */
export function finishShardObject(object: Uint8Array, header: ShardHeader): void {
  writeShardHeader(object, header);
  object.set(shardChecksum(object), SHARD_CHECKED_SIZE);
}

/** Whether the checksum in a shard object's header is that of its bytes. */
export function isShardIntact(object: Uint8Array): boolean {
  return shardChecksum(object).equals(object.subarray(SHARD_CHECKED_SIZE, SHARD_HEADER_SIZE));
}

function shardChecksum(object: Uint8Array): Buffer {
  return createHash('sha256')
    .update(object.subarray(0, SHARD_CHECKED_SIZE))
    .update(object.subarray(SHARD_HEADER_SIZE))
    .digest();
}

function sealKey(keys: ChunkKeys, id: Uint8Array): Buffer {
  return createHmac('sha256', keys.chunkSeal).update(id).digest();
}

function chunkAad(keys: ChunkKeys): Buffer {
  return Buffer.from(`vault/1 chunk\n${keys.vaultId}`, 'ascii');
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
