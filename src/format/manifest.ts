/**
 * A file's manifest: what it says. FORMAT.md, "Manifest".
 * Two parts, sealed apart (`manifest-object.ts`). In each:  head length (4) | head (strict JSON) | table, or an inline body
 */
import { hash as sha2 } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { encodeStrictJson, FORMAT, parseStrictJson } from './json.ts';
import type { FileTime } from './file-time.ts';
import type { Fields } from './json.ts';
import { COMMITMENT_SIZE, kdfJson, readKdf, readRedundancy } from './keyring.ts';
import type { Keyslot } from './keyring.ts';
import {
  MAX_CHUNK_SIZE,
  MAX_EPOCH,
  MAX_FILE_SIZE,
  MAX_NAME_SIZE,
  MAX_TABLE_DEPTH,
  MAX_TIME_MS,
  MAX_TIME_SECONDS,
  MAX_VERSION,
  MIN_CHUNK_SIZE,
  SEAL_OVERHEAD,
} from './limits.ts';
import { formatRedundancy } from './shard.ts';
import type { Redundancy } from './shard.ts';
import {
  countTableEntries,
  decodeIds,
  decodeRefs,
  encodeIds,
  encodeRefs,
  ID_ENTRY_SIZE,
  isTableDepth,
  REF_SIZE,
  TOP_ENTRIES,
} from './tables.ts';
import type { ChunkRef, IdsTable, TableDepth } from './tables.ts';

export { decodeIds, decodeRefs, encodeIds, encodeRefs, isTableEnd, TOP_ENTRIES } from './tables.ts';
export type { ChunkId, ChunkRef, IdsTable, TableDepth } from './tables.ts';
export type { FileTime } from './file-time.ts';
export { MAX_MANIFEST_SIZE, MAX_NAME_SIZE } from './limits.ts';

/** Where manifests are. */
export const MANIFEST_PREFIX = 'manifests/';
/** A body of at most so many bytes lies in the manifest itself. */
export const INLINE_SIZE = 16 * 1024;
/** Largest inline body in bytes that a reader accepts: the smallest chunk. */
export const MAX_INLINE_SIZE = MIN_CHUNK_SIZE;
/** Largest head in bytes: a name whose every byte needs an escape, and the rest. */
const MAX_HEAD_SIZE = 128 * 1024;

/** What a manifest says of a file to whoever has the vault. */
export interface ManifestHead {
  readonly kind: 'file';
  readonly name: string;
  /** Bytes; null if the file is locked. */
  readonly size: number | null;
  readonly createdAtMs: number;
  /** The source's modification time; null if it had none. */
  readonly modified: FileTime | null;
  /** The source's permission bits (`0o644`); null if it had none. */
  readonly mode: number | null;
  readonly expiresAtMs: number | null;
  /** Of those under one name the highest is the newest, 1 or more. */
  readonly version: number;
  /** The keyring's epoch that the writer knew. */
  readonly epoch: number;
  /** What the file was put with; a shared chunk may have another. */
  readonly redundancy: Redundancy;
  /** Bytes of every chunk but the last. */
  readonly chunkSize: number;
  /** Chunks of the content; 0 if it is inline. */
  readonly chunks: number;
  readonly locked: boolean;
}

/** A content key that only a password of the file's own unwraps. */
export type LockStanza = Pick<Keyslot, 'cost' | 'salt' | 'commitment' | 'wrapped'>;

/** What leads to the content part. */
export type ContentAccess = { readonly content: Buffer } | { readonly lock: LockStanza };

export interface VaultPart {
  readonly head: ManifestHead;
  readonly ids: IdsTable;
  readonly access: ContentAccess;
}

/** The content part: all that it takes to read the bytes. */
export interface ContentTable {
  /** Bytes. */
  readonly size: number;
  readonly chunkSize: number;
  readonly depth: TableDepth;
  /** The table of this depth; empty if the content is inline. */
  readonly refs: readonly ChunkRef[];
  /** The content itself, or null. */
  readonly inline: Uint8Array | null;
}

/** The object name of a manifest: `manifests/<hash>`. */
export function manifestObjectName(hash: string): string {
  return `${MANIFEST_PREFIX}${hash}`;
}

/** The hash in a manifest's object name; null if it is not one. */
export function parseManifestObjectName(name: string): string | null {
  return /^manifests\/([0-9a-f]{64})$/.exec(name)?.[1] ?? null;
}

/** Chunks that this many bytes are cut into; 0 bytes are always inline. */
export function chunkCount(size: number, chunkSize: number): number {
  // Exact for sizes below 2^53: the quotient's rounding is less than 1 / chunkSize.
  return Math.ceil(size / chunkSize);
}

// --- the vault part -----------------------------------------------------------------------------------

/** The bytes that are padded and sealed. */
export function encodeVaultPart({ head, ids, access }: VaultPart): Buffer {
  const { modified } = head;
  const json = encodeStrictJson({
    format: FORMAT,
    kind: head.kind,
    name: head.name,
    size: head.size,
    created: head.createdAtMs,
    modified: modified === null ? null : [modified.seconds, modified.nanoseconds],
    mode: head.mode,
    expires: head.expiresAtMs,
    version: head.version,
    epoch: head.epoch,
    redundancy: formatRedundancy(head.redundancy),
    chunkSize: head.chunkSize,
    chunks: head.chunks,
    idsDepth: ids.depth,
    key:
      'lock' in access
        ? {
            lock: {
              kdf: kdfJson(access.lock),
              commitment: access.lock.commitment.toString('hex'),
              wrapped: access.lock.wrapped.toString('hex'),
            },
          }
        : { content: access.content.toString('hex') },
  });
  return encodeBody(json, ids.depth === 0 ? encodeIds(ids.ids) : encodeRefs(ids.refs));
}

/** @throws `damaged` if the body is not a vault part or contradicts itself; `unsupported` if it needs a newer version */
export function decodeVaultPart(body: Uint8Array): VaultPart {
  const { fields, binary } = decodeBody(body);
  const name = fields.string('name', { least: 1, most: MAX_NAME_SIZE });
  if (name.includes('\0')) throw fields.impossible('name');
  const unlocked = {
    kind: 'file' as const,
    name,
    size: fields.nullable('size', (at, key) => at.integer(key, 0, MAX_FILE_SIZE)),
    createdAtMs: readTime(fields, 'created'),
    modified: fields.nullable('modified', readFileTime),
    mode: fields.nullable('mode', (at, key) => at.integer(key, 0, 0o7777)),
    expiresAtMs: fields.nullable('expires', readTime),
    version: fields.integer('version', 1, MAX_VERSION),
    epoch: fields.integer('epoch', 1, MAX_EPOCH),
    redundancy: readRedundancy(fields, 'redundancy'),
    chunkSize: fields.integer('chunkSize', MIN_CHUNK_SIZE, MAX_CHUNK_SIZE),
    chunks: fields.integer('chunks', 0, MAX_FILE_SIZE),
  };
  const depth = readDepth(fields, 'idsDepth');
  const access = readAccess(fields.object('key'));
  fields.end();
  const head = { ...unlocked, locked: 'lock' in access };
  if ((head.size === null) !== head.locked) throw fields.impossible('size');
  if (head.size !== null && head.chunks !== expectedChunks(head.size, head.chunkSize, head.chunks === 0)) {
    throw fields.impossible('chunks');
  }
  const ids: IdsTable = depth === 0 ? { depth, ids: decodeIds(binary) } : { depth, refs: decodeRefs(binary) };
  checkIds(head.chunks, ids);
  return { head, ids, access };
}

function expectedChunks(size: number, chunkSize: number, inline: boolean): number | null {
  if (inline) return size <= MAX_INLINE_SIZE ? 0 : null;
  return chunkCount(size, chunkSize);
}

/** Exact where the whole table is at hand; a table in chunks also lists chunks that only the content part knows. */
function checkIds(chunks: number, table: IdsTable): void {
  const entries = table.depth === 0 ? table.ids : table.refs;
  if (entries.length > TOP_ENTRIES) throw malformed('lists too many chunks in itself');
  if (chunks === 0 && (table.depth > 0 || entries.length > 0)) throw malformed('lists chunks of no content');
  if (table.depth === 0 && table.ids.length < chunks) throw malformed('lists too few chunks');
  if (table.depth > 0 && entries.length === 0) throw malformed('has an empty table');
  if (table.depth === 0) return;
  const below = countTableEntries(table.refs, table.depth === 1 ? ID_ENTRY_SIZE : REF_SIZE);
  if (table.depth === 1 && below < chunks) throw malformed('lists too few chunks');
}

function readTime(fields: Fields, key: string): number {
  return fields.integer(key, -MAX_TIME_MS, MAX_TIME_MS);
}

function readFileTime(fields: Fields, key: string): FileTime {
  const [seconds = 0, nanoseconds = 0] = fields.list(key, { least: 2, most: 2 }, (items, index) =>
    index === '0'
      ? items.integer(index, -MAX_TIME_SECONDS, MAX_TIME_SECONDS)
      : items.integer(index, 0, 999_999_999),
  );
  return { seconds, nanoseconds };
}

function readDepth(fields: Fields, key: string): TableDepth {
  const depth = fields.integer(key, 0, MAX_TABLE_DEPTH);
  if (!isTableDepth(depth)) throw fields.impossible(key);
  return depth;
}

function readAccess(fields: Fields): ContentAccess {
  if (!fields.has('lock')) {
    const access = { content: fields.bytes('content', 32) };
    fields.end();
    return access;
  }
  const stanza = fields.object('lock');
  const lock = {
    ...readKdf(stanza),
    commitment: stanza.bytes('commitment', COMMITMENT_SIZE),
    wrapped: stanza.bytes('wrapped', 32 + SEAL_OVERHEAD),
  };
  stanza.end();
  fields.end();
  return { lock };
}

// --- the content part ---------------------------------------------------------------------------------

/** The bytes that are padded and sealed. */
export function encodeContentPart(table: ContentTable): Buffer {
  const { inline } = table;
  const json = encodeStrictJson({
    format: FORMAT,
    kind: 'file',
    size: table.size,
    chunkSize: table.chunkSize,
    depth: table.depth,
    entries: table.refs.length,
    inline: inline !== null,
    digest: inline === null ? null : digestOf(inline),
  });
  return encodeBody(json, inline ?? encodeRefs(table.refs));
}

/** @throws `damaged` if the body is not a content part or contradicts itself; `unsupported` if it needs a newer version */
export function decodeContentPart(body: Uint8Array): ContentTable {
  const { fields, binary } = decodeBody(body);
  const size = fields.integer('size', 0, MAX_FILE_SIZE);
  const chunkSize = fields.integer('chunkSize', MIN_CHUNK_SIZE, MAX_CHUNK_SIZE);
  const depth = readDepth(fields, 'depth');
  const entries = fields.integer('entries', 0, TOP_ENTRIES);
  const isInline = fields.boolean('inline');
  const digest = fields.nullable('digest', (at, key) => at.hex(key, 32));
  fields.end();
  if (isInline !== (digest !== null)) throw fields.impossible('digest');
  if (isInline) {
    if (entries !== 0 || depth !== 0) throw fields.impossible('entries');
    if (size !== binary.length || size > MAX_INLINE_SIZE) throw fields.impossible('size');
    if (digest !== digestOf(binary)) throw fields.impossible('digest');
    return { size, chunkSize, depth, refs: [], inline: binary };
  }
  if (entries === 0 || entries * REF_SIZE !== binary.length) throw fields.impossible('entries');
  const refs = decodeRefs(binary);
  checkContent({ size, chunkSize, depth, refs });
  return { size, chunkSize, depth, refs, inline: null };
}

/**
 * Checks that entries of one depth can be all of the content's: its chunks are full but for the last.
 *
 * @throws `damaged`
 */
export function checkContent({ size, chunkSize, depth, refs }: Omit<ContentTable, 'inline'>): void {
  const chunks = chunkCount(size, chunkSize);
  if (depth > 0) {
    const below = countTableEntries(refs, REF_SIZE);
    if (depth === 1 && below !== chunks) throw malformed('lists chunks that do not make up the content');
    return;
  }
  const lastLength = size - (chunks - 1) * chunkSize;
  const fits = ({ length }: ChunkRef, i: number): boolean =>
    length === (i === chunks - 1 ? lastLength : chunkSize);
  if (refs.length !== chunks || !refs.every(fits)) {
    throw malformed('lists chunks that do not make up the content');
  }
}

// --- both parts ---------------------------------------------------------------------------------------

function encodeBody(head: Buffer, binary: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, binary]);
}

function decodeBody(body: Uint8Array): { readonly fields: Fields; readonly binary: Buffer } {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const end = bytes.length < 4 ? Infinity : 4 + bytes.readUInt32BE(0);
  if (end > bytes.length || end > 4 + MAX_HEAD_SIZE) throw malformed('has a head that does not fit');
  const fields = parseStrictJson(bytes.subarray(4, end), 'A manifest', MAX_HEAD_SIZE);
  fields.oneOf('format', [FORMAT]);
  if (fields.string('kind') !== 'file') {
    throw new VaultError(
      'unsupported',
      'A manifest is of a kind that this version does not know. Use a newer version.',
    );
  }
  return { fields, binary: bytes.subarray(end) };
}

function digestOf(bytes: Uint8Array): string {
  return sha2('sha256', bytes, 'hex');
}

function malformed(what: string): VaultError {
  return new VaultError('damaged', `A manifest ${what}.`);
}
