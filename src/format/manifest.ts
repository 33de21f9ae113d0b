/**
 * A manifest of a file or a folder: what it says. FORMAT.md, "Manifest".
 * Two parts, sealed apart (`manifest-object.ts`). This is the one for the holders of the vault; the other is in
 * `content-part.ts`.
 */
import { encodeStrictJson, FORMAT, type Fields } from './json.ts';
import { canBe, MAX_INLINE_SIZE } from './content-part.ts';
import type { FileTime } from './file-time.ts';
import { COMMITMENT_SIZE, kdfJson, readKdf, readRedundancy, type Keyslot } from './keyring.ts';
import {
  MAX_EPOCH,
  MAX_FILE_SIZE,
  MAX_NAME_SIZE,
  MAX_TIME_MS,
  MAX_TIME_SECONDS,
  MAX_VERSION,
  SEAL_OVERHEAD,
} from './limits.ts';
import { decodePlain, encodePlain, malformed, readChunkSize, readDepth } from './manifest-part.ts';
import type { ManifestKind } from './manifest-part.ts';
import { formatRedundancy, type Redundancy } from './shard.ts';
import {
  countTableEntries,
  decodeIds,
  decodeRefs,
  encodeIds,
  encodeRefs,
  ID_ENTRY_SIZE,
  REF_SIZE,
  TOP_ENTRIES,
} from './tables.ts';
import type { IdsTable } from './tables.ts';

export { chunksOf, decodeContentPart, encodeContentPart, MAX_INLINE_SIZE, mostBody } from './content-part.ts';
export type { ContentPart, ContentTable, FolderPart } from './content-part.ts';
export { decodeIds, decodeRefs, encodeIds, encodeRefs, isTableEnd, TOP_ENTRIES } from './tables.ts';
export type { ChunkId, ChunkRef, IdsTable, TableDepth } from './tables.ts';
export type { FileTime } from './file-time.ts';
export type { ManifestKind } from './manifest-part.ts';
export { MAX_MANIFEST_SIZE, MAX_NAME_SIZE } from './limits.ts';

/** Where manifests are. */
export const MANIFEST_PREFIX = 'manifests/';
/** A body of at most so many bytes lies in the manifest itself. */
export const INLINE_SIZE = 16 * 1024;

/** What a manifest says of a file or folder to whoever has the vault. */
export interface ManifestHead {
  readonly kind: ManifestKind;
  readonly name: string;
  /** Bytes, of a folder those of its files; null if it is locked. */
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
  /** Bytes of every chunk but the last; null for chunks that are cut by content, as all of a folder are. */
  readonly chunkSize: number | null;
  /** Chunks of the content; 0 if it is inline. */
  readonly chunks: number;
  /** Chunks of a folder's index; 0 if it is inline, and for a file. */
  readonly indexChunks: number;
  /** Entries of a folder, itself included; null if it is locked, and for a file. */
  readonly entries: number | null;
  /** Whether something of a folder could not be read when it was stored. */
  readonly incomplete: boolean;
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

/** The object name of a manifest: `manifests/<hash>`. */
export function manifestObjectName(hash: string): string {
  return `${MANIFEST_PREFIX}${hash}`;
}

/** The hash in a manifest's object name; null if it is not one. */
export function parseManifestObjectName(name: string): string | null {
  return /^manifests\/([0-9a-f]{64})$/.exec(name)?.[1] ?? null;
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
    ...(head.kind === 'file'
      ? {}
      : { indexChunks: head.indexChunks, entries: head.entries, incomplete: head.incomplete }),
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
  return encodePlain(json, ids.depth === 0 ? encodeIds(ids.ids) : encodeRefs(ids.refs));
}

/** @throws `damaged` if the body is not a vault part or contradicts itself; `unsupported` if it needs a newer version */
export function decodeVaultPart(body: Uint8Array): VaultPart {
  const { kind, fields, binary } = decodePlain(body);
  const name = fields.string('name', { least: 1, most: MAX_NAME_SIZE });
  if (name.includes('\0')) throw fields.impossible('name');
  const unlocked = {
    kind,
    name,
    size: fields.nullable('size', (at, key) => at.integer(key, 0, MAX_FILE_SIZE)),
    createdAtMs: readTime(fields, 'created'),
    modified: fields.nullable('modified', readFileTime),
    mode: fields.nullable('mode', (at, key) => at.integer(key, 0, 0o7777)),
    expiresAtMs: fields.nullable('expires', readTime),
    version: fields.integer('version', 1, MAX_VERSION),
    epoch: fields.integer('epoch', 1, MAX_EPOCH),
    redundancy: readRedundancy(fields, 'redundancy'),
    chunkSize: readChunkSize(fields),
    chunks: fields.integer('chunks', 0, MAX_FILE_SIZE),
    ...(kind === 'file' ? { indexChunks: 0, entries: null, incomplete: false } : readFolder(fields)),
  };
  const depth = readDepth(fields, 'idsDepth');
  const access = fields.object('key', readAccess);
  fields.end();
  const head = { ...unlocked, locked: 'lock' in access };
  if ((head.size === null) !== head.locked) throw fields.impossible('size');
  checkChunks(head, fields);
  if (kind === 'folder' && (head.entries === null) !== head.locked) throw fields.impossible('entries');
  const ids: IdsTable = depth === 0 ? { depth, ids: decodeIds(binary) } : { depth, refs: decodeRefs(binary) };
  checkIds(head.chunks + head.indexChunks, ids);
  return { head, ids, access };
}

function readFolder(fields: Fields): Pick<ManifestHead, 'indexChunks' | 'entries' | 'incomplete'> {
  return {
    indexChunks: fields.integer('indexChunks', 0, MAX_FILE_SIZE),
    entries: fields.nullable('entries', (at, key) => at.integer(key, 1, MAX_FILE_SIZE)),
    incomplete: fields.boolean('incomplete'),
  };
}

/** Exact for a file; of a folder's files any part may be holes, and only its content part knows of how much. */
function checkChunks({ kind, size, chunkSize, chunks }: ManifestHead, fields: Fields): void {
  if (kind === 'folder' && chunkSize !== null) throw fields.impossible('chunkSize');
  if (size === null) return;
  const fits =
    kind === 'folder'
      ? chunks <= size
      : chunks === 0
        ? size <= MAX_INLINE_SIZE
        : canBe(chunks, { size, chunkSize });
  if (!fits) throw fields.impossible('chunks');
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

function readAccess(fields: Fields): ContentAccess {
  if (!fields.has('lock')) return { content: fields.bytes('content', 32) };
  const lock = fields.object('lock', (stanza) => ({
    ...readKdf(stanza),
    commitment: stanza.bytes('commitment', COMMITMENT_SIZE),
    wrapped: stanza.bytes('wrapped', 32 + SEAL_OVERHEAD),
  }));
  return { lock };
}
