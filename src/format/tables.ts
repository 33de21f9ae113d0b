/**
 * Tables: lists of chunks. A short one lies in the manifest; a long one is cut into chunks of its own, which a table of
 * the next depth lists. FORMAT.md, "Tables".
 */
import { VaultError } from '../errors.ts';
import { MAX_CHUNK_SIZE, MAX_PAYLOAD_SIZE, MIN_PADDED_SIZE } from './limits.ts';

/** Bytes of a `ChunkRef`: t (32) | h (32) | length (4, big-endian). */
export const REF_SIZE = 68;
/** Bytes of a `ChunkId`: id (32) | padded length (4, big-endian). */
export const ID_ENTRY_SIZE = 36;
/** Most entries of the table in a manifest; a longer one goes into chunks. */
export const TOP_ENTRIES = 2048;
/** Entries of a table chunk; only the last of a table has fewer. */
export const MIN_TABLE_ENTRIES = 256;
export const MAX_TABLE_ENTRIES = 4096;
/** Largest body of a table chunk in bytes. */
export const MAX_TABLE_BODY = MAX_TABLE_ENTRIES * REF_SIZE;
/** One entry in so many ends a table chunk, by its own tag: 1,024 on average. */
const END_MASK = 0x3ff;

/** 0: the table lists what it is about. d: it lists chunks whose bodies are the table of depth d - 1. */
export type TableDepth = 0 | 1 | 2 | 3;

/** A chunk that can be read. */
export interface ChunkRef {
  /** t, 32 bytes: id and keys follow from it. */
  readonly tag: Buffer;
  /** h, 32 bytes: SHA-256 of the body. */
  readonly hash: Buffer;
  /** Bytes of the body, 1 or more. */
  readonly length: number;
}

/** A chunk that can be looked for and counted, not read. */
export interface ChunkId {
  /** 64 hex digits. */
  readonly id: string;
  /** Bytes of the payload that codec 0 would have. */
  readonly padded: number;
}

/** The ids of all chunks of a file: of its content in order, then of the content's table chunks, deepest first. */
export type IdsTable =
  | { readonly depth: 0; readonly ids: readonly ChunkId[] }
  | { readonly depth: 1 | 2 | 3; readonly refs: readonly ChunkRef[] };

/** Whether a depth is one that tables can have. */
export function isTableDepth(depth: number): depth is TableDepth {
  return depth === 0 || depth === 1 || depth === 2 || depth === 3;
}

/**
 * Whether a table chunk ends after an entry, so that tables which share entries share chunks.
 *
 * @param tag the entry's first field, t or an id: 32 bytes
 * @param entriesSoFar entries of this table chunk, this one included
 */
export function isTableEnd(tag: Uint8Array, entriesSoFar: number): boolean {
  if (entriesSoFar >= MAX_TABLE_ENTRIES) return true;
  const start = ((tag[0] ?? 0) << 8) | (tag[1] ?? 0);
  return entriesSoFar >= MIN_TABLE_ENTRIES && (start & END_MASK) === 0;
}

export function encodeRefs(refs: readonly ChunkRef[]): Buffer {
  const bytes = Buffer.alloc(refs.length * REF_SIZE);
  for (const [index, { tag, hash, length }] of refs.entries()) {
    const at = index * REF_SIZE;
    if (tag.length !== 32 || hash.length !== 32) throw new RangeError('A tag and a hash have 32 bytes.');
    bytes.set(tag, at);
    bytes.set(hash, at + 32);
    bytes.writeUInt32BE(length, at + 64);
  }
  return bytes;
}

/**
 * Entries from their bytes.
 *
 * @returns entries with views of a copy of the bytes
 * @throws `damaged` if the bytes are no whole number of entries, or a length is impossible
 */
export function decodeRefs(source: Uint8Array): ChunkRef[] {
  if (source.length % REF_SIZE !== 0) throw malformed('is not a whole number of entries');
  const bytes = Buffer.from(source);
  return Array.from({ length: bytes.length / REF_SIZE }, (_, index) => {
    const at = index * REF_SIZE;
    const length = bytes.readUInt32BE(at + 64);
    if (length < 1 || length > MAX_CHUNK_SIZE) throw malformed('lists a chunk of an impossible length');
    return { tag: bytes.subarray(at, at + 32), hash: bytes.subarray(at + 32, at + 64), length };
  });
}

export function encodeIds(ids: readonly ChunkId[]): Buffer {
  const bytes = Buffer.alloc(ids.length * ID_ENTRY_SIZE);
  for (const [index, { id, padded }] of ids.entries()) {
    const written = bytes.write(id, index * ID_ENTRY_SIZE, 'hex');
    if (written !== 32 || id.length !== 64) throw new RangeError('A chunk id has 64 hex digits.');
    bytes.writeUInt32BE(padded, index * ID_ENTRY_SIZE + 32);
  }
  return bytes;
}

/**
 * Entries from their bytes.
 *
 * @throws `damaged` if the bytes are no whole number of entries, or a length is impossible
 */
export function decodeIds(source: Uint8Array): ChunkId[] {
  if (source.length % ID_ENTRY_SIZE !== 0) throw malformed('is not a whole number of entries');
  const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  return Array.from({ length: bytes.length / ID_ENTRY_SIZE }, (_, index) => {
    const at = index * ID_ENTRY_SIZE;
    const padded = bytes.readUInt32BE(at + 32);
    if (padded < MIN_PADDED_SIZE || padded > MAX_PAYLOAD_SIZE)
      throw malformed('lists a chunk of an impossible length');
    return { id: bytes.toString('hex', at, at + 32), padded };
  });
}

/**
 * Checks that chunks can be the chunks of a table, whatever is in them.
 *
 * @param refs the entries that list them
 * @param entrySize bytes of an entry in them
 * @returns entries in all of them
 * @throws `damaged`
 */
export function countTableEntries(refs: readonly ChunkRef[], entrySize: number): number {
  let entries = 0;
  for (const { length } of refs) {
    if (length % entrySize !== 0 || length > MAX_TABLE_ENTRIES * entrySize) {
      throw malformed('lists a chunk that cannot be part of a table');
    }
    entries += length / entrySize;
  }
  return entries;
}

function malformed(what: string): VaultError {
  return new VaultError('damaged', `A table of chunks ${what}.`);
}
