/** The content part of a manifest: all that it takes to read the bytes. FORMAT.md, "Content part". */
import { hash as sha2 } from 'node:crypto';
import { encodeStrictJson, FORMAT, type Fields, type JsonObject } from './json.ts';
import { MAX_CUT_SIZE, MAX_ENTRY_SIZE, MAX_FILE_SIZE, MIN_CHUNK_SIZE, MIN_ENTRY_SIZE } from './limits.ts';
import { decodePlain, encodePlain, malformed, readChunkSize, readDepth } from './manifest-part.ts';
import { countTableEntries, decodeRefs, encodeRefs, REF_SIZE, TOP_ENTRIES } from './tables.ts';
import type { ChunkRef, TableDepth } from './tables.ts';

/** Largest inline body in bytes that a reader accepts: the smallest chunk of a fixed size. */
export const MAX_INLINE_SIZE = MIN_CHUNK_SIZE;

/** Bytes in chunks or inline: a file's content, or of a folder its content or its index. */
export interface ContentTable {
  /** Bytes. */
  readonly size: number;
  /** Bytes of every chunk but the last; null for chunks that are cut by content, of up to `MAX_CUT_SIZE` each. */
  readonly chunkSize: number | null;
  readonly depth: TableDepth;
  /** The table of this depth; empty if the content is inline. */
  readonly refs: readonly ChunkRef[];
  /** The content itself, or null. */
  readonly inline: Uint8Array | null;
}

/** What a folder's content part says beside its content. Chunks of folders are cut by content. */
export interface FolderPart {
  readonly index: ContentTable;
  /** Bytes of all files, holes included. */
  readonly size: number;
  /** Entries of the index, the folder itself included. */
  readonly entries: number;
  /** Whether something of the folder could not be read when it was stored. */
  readonly incomplete: boolean;
}

export interface ContentPart {
  readonly table: ContentTable;
  /** Null for a file. */
  readonly folder: FolderPart | null;
}

/** Most bytes of a content's chunk. */
export function mostBody({ chunkSize }: { readonly chunkSize: number | null }): number {
  return chunkSize ?? MAX_CUT_SIZE;
}

/** Chunks that this many bytes are cut into; 0 bytes are always inline. */
export function chunkCount(size: number, chunkSize: number): number {
  // Exact for sizes below 2^53: the quotient's rounding is less than 1 / chunkSize.
  return Math.ceil(size / chunkSize);
}

/** Chunks of a content, as far as it says so itself: tables that are deeper than 1 are to be read for that. */
export function chunksOf({ size, chunkSize, depth, refs, inline }: ContentTable): number | null {
  if (inline !== null) return 0;
  if (chunkSize !== null) return chunkCount(size, chunkSize);
  if (depth === 0) return refs.length;
  return depth === 1 ? countTableEntries(refs, REF_SIZE) : null;
}

/** The bytes that are padded and sealed. */
export function encodeContentPart({ table, folder }: ContentPart): Buffer {
  if (folder === null) {
    const { size, ...rest } = tableJson(table);
    const head = { format: FORMAT, kind: 'file', size, chunkSize: table.chunkSize, ...rest };
    return encodePlain(encodeStrictJson(head), binaryOf(table));
  }
  const { index, size, entries, incomplete } = folder;
  const head = {
    format: FORMAT,
    kind: 'folder',
    size,
    entries,
    incomplete,
    content: tableJson(table),
    index: tableJson(index),
  };
  return encodePlain(encodeStrictJson(head), binaryOf(table), binaryOf(index));
}

function tableJson({ size, depth, refs, inline }: ContentTable): JsonObject & { readonly size: number } {
  const digest = inline === null ? null : digestOf(inline);
  return { size, depth, entries: refs.length, inline: inline !== null, digest };
}

function binaryOf({ inline, refs }: ContentTable): Uint8Array {
  return inline ?? encodeRefs(refs);
}

/** @throws `damaged` if the body is not a content part or contradicts itself; `unsupported` if it needs a newer version */
export function decodeContentPart(plain: Uint8Array): ContentPart {
  const { kind, fields, binary } = decodePlain(plain);
  if (kind === 'file') {
    const chunkSize = readChunkSize(fields);
    return { table: tableOf(fields.whole(readShape), chunkSize, binary), folder: null };
  }
  const folder = {
    size: fields.integer('size', 0, MAX_FILE_SIZE),
    entries: fields.integer('entries', 1, MAX_FILE_SIZE),
    incomplete: fields.boolean('incomplete'),
  };
  const content = fields.object('content', readShape);
  const index = fields.object('index', readShape);
  fields.end();
  const end = binarySize(content);
  const part = {
    table: tableOf(content, null, binary.subarray(0, end)),
    folder: { ...folder, index: tableOf(index, null, binary.subarray(end)) },
  };
  // So that nobody reads an index for long that cannot be one.
  if (index.size < folder.entries * MIN_ENTRY_SIZE || index.size > folder.entries * MAX_ENTRY_SIZE) {
    throw malformed('has an index that cannot have its entries');
  }
  return part;
}

/** What a head says of a content. */
interface Shape {
  readonly size: number;
  readonly depth: TableDepth;
  readonly entries: number;
  readonly inline: boolean;
  readonly digest: string | null;
}

function readShape(fields: Fields): Shape {
  const size = fields.integer('size', 0, MAX_FILE_SIZE);
  const depth = readDepth(fields, 'depth');
  const entries = fields.integer('entries', 0, TOP_ENTRIES);
  const inline = fields.boolean('inline');
  const digest = fields.nullable('digest', (at, key) => at.hex(key, 32));
  if (inline !== (digest !== null)) throw fields.impossible('digest');
  if (inline && (entries !== 0 || depth !== 0)) throw fields.impossible('entries');
  if (!inline && entries === 0) throw fields.impossible('entries');
  if (inline && size > MAX_INLINE_SIZE) throw fields.impossible('size');
  return { size, depth, entries, inline, digest };
}

function binarySize({ size, entries, inline }: Shape): number {
  return inline ? size : entries * REF_SIZE;
}

function tableOf(shape: Shape, chunkSize: number | null, binary: Buffer): ContentTable {
  const { size, depth, digest } = shape;
  if (binary.length !== binarySize(shape)) throw malformed('has a table or a content of another size');
  if (shape.inline) {
    if (digest !== digestOf(binary)) throw malformed('has another content than its digest');
    return { size, chunkSize, depth, refs: [], inline: binary };
  }
  const refs = decodeRefs(binary);
  const table = { size, chunkSize, depth, refs, inline: null };
  checkContent(table);
  return table;
}

/**
 * Checks that entries of one depth can be all of the content's: its chunks are full but for the last, or are cut by content and
 * add up to it.
 *
 * @throws `damaged`
 */
function checkContent(table: ContentTable): void {
  const { size, chunkSize, depth, refs } = table;
  if (depth > 0) {
    const below = countTableEntries(refs, REF_SIZE);
    if (depth === 1 && !canBe(below, table)) throw doNotMakeUp();
    return;
  }
  const chunks = refs.length;
  if (!canBe(chunks, table)) throw doNotMakeUp();
  const most = mostBody(table);
  const fits =
    chunkSize === null
      ? refs.every(({ length }) => length <= most) && size === refs.reduce((sum, one) => sum + one.length, 0)
      : refs.every(({ length }, i) => length === Math.min(chunkSize, size - i * chunkSize));
  if (!fits) throw doNotMakeUp();
}

/** Whether so many chunks can have this many bytes. */
export function canBe(
  chunks: number,
  { size, chunkSize }: { readonly size: number; readonly chunkSize: number | null },
): boolean {
  if (chunkSize !== null) return chunks === chunkCount(size, chunkSize);
  return chunks <= size && chunks >= chunkCount(size, MAX_CUT_SIZE);
}

function doNotMakeUp(): Error {
  return malformed('lists chunks that do not make up the content');
}

function digestOf(bytes: Uint8Array): string {
  return sha2('sha256', bytes, 'hex');
}
