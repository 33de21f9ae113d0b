/**
 * A file's manifest: what it says, and the bytes that are sealed. FORMAT.md, "Manifest".
 *
 * Sealed object:  magic (8) | salt (32) | key commitment (32) | AES-256-GCM ciphertext and tag
 * Inside, framed and padded like a last chunk:  head length (4, big-endian) | head (JSON) | table
 * Table entry:    chunk id (32) | body length (4, big-endian)
 */
import { VaultError } from '../errors.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from './chunk.ts';
import { MAX_TIME_MS } from './file-time.ts';
import { formatRedundancy, parseRedundancy } from './shard.ts';
import type { Redundancy } from './shard.ts';

export const MANIFEST_MAGIC = Buffer.from('vlt1mnfs', 'ascii');
export const MANIFEST_SALT_SIZE = 32;
export const MANIFEST_COMMITMENT_SIZE = 32;
/** Bytes before the ciphertext; all of them are its additional data. */
export const MANIFEST_HEADER_SIZE = 8 + MANIFEST_SALT_SIZE + MANIFEST_COMMITMENT_SIZE;
/** Where manifests are. */
export const MANIFEST_PREFIX = 'manifests/';
/** Bytes of a table entry. */
export const TABLE_ENTRY_SIZE = 36;
/** Longest name in bytes of UTF-8. */
export const MAX_NAME_SIZE = 16 * 1024;
const MAX_HEAD_SIZE = 128 * 1024;
/** Largest sealed manifest in bytes: the largest table that stays inside, its head, and padding. */
export const MAX_MANIFEST_SIZE = Math.ceil((MAX_CHUNK_SIZE + MAX_HEAD_SIZE) * 1.125);
/** Deepest table of tables: two levels of the smallest chunks already hold more than 300 TB. */
export const MAX_TABLE_DEPTH = 3;
/** Largest file in bytes that JSON's numbers carry exactly. */
export const MAX_FILE_SIZE = Number.MAX_SAFE_INTEGER;

/** What a manifest says of a file. */
export interface ManifestHead {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly createdAtMs: number;
  /** The source's modification time; null if it had none. */
  readonly modifiedAtMs: number | null;
  /** The source's permission bits (`0o644`); null if it had none. */
  readonly mode: number | null;
  readonly expiresAtMs: number | null;
  readonly chunkSize: number;
  /** The redundancy the file was put with; a shared chunk may have another. */
  readonly redundancy: Redundancy;
  /** Chunks of the file itself. */
  readonly chunks: number;
  /** 0: the table lists the file's chunks. d: it lists chunks that hold the table of depth d - 1. */
  readonly tableDepth: number;
}

/** One run of bytes, by reference. */
export interface TableEntry {
  /** 64 hex digits. */
  readonly chunkId: string;
  /** Bytes of the chunk's body. */
  readonly length: number;
}

export interface Manifest {
  readonly head: ManifestHead;
  readonly table: readonly TableEntry[];
}

/** The object name of a manifest: `manifests/<hash>`. */
export function manifestObjectName(hash: string): string {
  return `${MANIFEST_PREFIX}${hash}`;
}

/** The hash in a manifest's object name; null if it is not one. */
export function parseManifestObjectName(name: string): string | null {
  return /^manifests\/([0-9a-f]{64})$/.exec(name)?.[1] ?? null;
}

/** The bytes of table entries. */
export function encodeTable(entries: readonly TableEntry[]): Buffer {
  const bytes = Buffer.allocUnsafe(entries.length * TABLE_ENTRY_SIZE);
  entries.forEach((entry, i) => {
    bytes.write(entry.chunkId, i * TABLE_ENTRY_SIZE, 'hex');
    bytes.writeUInt32BE(entry.length, i * TABLE_ENTRY_SIZE + 32);
  });
  return bytes;
}

/**
 * Entries from their bytes.
 *
 * @param chunkSize bound of every entry's length
 * @throws `damaged` if the bytes are no whole number of entries, or a length is impossible
 */
export function decodeTable(bytes: Uint8Array, chunkSize: number): TableEntry[] {
  if (bytes.length % TABLE_ENTRY_SIZE !== 0) throw malformed('has a table that is not whole');
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: TableEntry[] = [];
  for (let at = 0; at < source.length; at += TABLE_ENTRY_SIZE) {
    const length = source.readUInt32BE(at + 32);
    if (length > chunkSize) throw malformed('lists a chunk that is larger than its chunk size');
    entries.push({ chunkId: source.toString('hex', at, at + 32), length });
  }
  return entries;
}

/** The bytes that are framed, padded and sealed. */
export function encodeManifest({ head, table }: Manifest): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      format: 'vault/1',
      name: head.name,
      size: head.size,
      createdAt: head.createdAtMs,
      modifiedAt: head.modifiedAtMs,
      mode: head.mode,
      expiresAt: head.expiresAtMs,
      chunkSize: head.chunkSize,
      redundancy: formatRedundancy(head.redundancy),
      chunks: head.chunks,
      tableDepth: head.tableDepth,
      secret: null,
    }),
  );
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json, encodeTable(table)]);
}

/**
 * A manifest from its opened body.
 *
 * @throws `damaged` if it is not one, or contradicts itself; `unsupported` if it needs a newer version
 */
export function decodeManifest(body: Uint8Array): Manifest {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (bytes.length < 4) throw malformed('is too short');
  const headEnd = 4 + bytes.readUInt32BE(0);
  if (headEnd > bytes.length || headEnd > 4 + MAX_HEAD_SIZE) throw malformed('has a head that does not fit');
  const head = decodeHead(bytes.subarray(4, headEnd));
  const table = decodeTable(bytes.subarray(headEnd), head.chunkSize);
  checkTable(head, table, head.tableDepth);
  return { head, table };
}

/** Chunks that this many bytes are cut into: no bytes are one chunk of length 0. */
export function chunkCount(size: number, chunkSize: number): number {
  // Exact for sizes below 2^53: the quotient's rounding is less than 1 / chunkSize.
  return Math.max(1, Math.ceil(size / chunkSize));
}

/** What the head makes certain of a table before any of it is read. */
export interface TableShape {
  /** Entries. */
  readonly count: number;
  /** Bytes that entry `i` must have. */
  lengthOf(i: number): number;
}

/**
 * The shape of the table at a depth: all chunks are full but the last.
 *
 * @param depth 0 for the file's own chunks; see `ManifestHead.tableDepth`
 */
export function tableShape(head: Pick<ManifestHead, 'size' | 'chunkSize'>, depth: number): TableShape {
  let { size } = head;
  for (let below = 0; below < depth; below += 1) size = TABLE_ENTRY_SIZE * chunkCount(size, head.chunkSize);
  const count = chunkCount(size, head.chunkSize);
  const lastLength = size - (count - 1) * head.chunkSize;
  return { count, lengthOf: (i) => (i === count - 1 ? lastLength : head.chunkSize) };
}

/**
 * Checks that a table lists chunks of the number and lengths that follow from the head.
 *
 * @param table every entry of its depth
 * @param depth 0 for the file's own chunks; see `ManifestHead.tableDepth`
 * @throws `damaged`
 */
export function checkTable(head: ManifestHead, table: readonly TableEntry[], depth: number): void {
  const shape = tableShape(head, depth);
  if (table.length !== shape.count || !table.every((entry, i) => entry.length === shape.lengthOf(i))) {
    throw malformed(`lists chunks that do not make up the ${depth === 0 ? 'file' : 'table'}`);
  }
}

function decodeHead(bytes: Uint8Array): ManifestHead {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed('has a head that is not JSON', cause);
  }
  if (typeof json !== 'object' || json === null) throw malformed('has a head that is not an object');
  const fields = new Map<string, unknown>(Object.entries(json));
  if (fields.get('format') !== 'vault/1') {
    throw new VaultError('unsupported', 'The manifest is of a newer format. Use a newer version.');
  }
  if (fields.get('secret') !== null) {
    throw new VaultError('unsupported', 'The file has a password of its own, which needs a newer version.');
  }
  const integer = (key: string, least: number, most: number): number => {
    const value = fields.get(key);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
      throw malformed(`has an impossible "${key}"`);
    }
    return value;
  };
  const optional = (key: string, least: number, most: number): number | null =>
    fields.get(key) === null ? null : integer(key, least, most);
  const name = fields.get('name');
  if (
    typeof name !== 'string' ||
    name === '' ||
    !name.isWellFormed() ||
    Buffer.byteLength(name) > MAX_NAME_SIZE
  ) {
    throw malformed('has an impossible "name"');
  }
  const redundancyText = fields.get('redundancy');
  const redundancy = typeof redundancyText === 'string' ? parseRedundancy(redundancyText) : null;
  if (redundancy === null) throw malformed('has an impossible "redundancy"');
  const size = integer('size', 0, MAX_FILE_SIZE);
  const chunkSize = integer('chunkSize', MIN_CHUNK_SIZE, MAX_CHUNK_SIZE);
  const chunks = integer('chunks', 1, MAX_FILE_SIZE);
  if (chunks !== chunkCount(size, chunkSize)) throw malformed('has an impossible "chunks"');
  return {
    name,
    size,
    createdAtMs: integer('createdAt', 0, MAX_TIME_MS),
    modifiedAtMs: optional('modifiedAt', -MAX_TIME_MS, MAX_TIME_MS),
    mode: optional('mode', 0, 0o7777),
    expiresAtMs: optional('expiresAt', 0, MAX_TIME_MS),
    chunkSize,
    redundancy,
    chunks,
    tableDepth: integer('tableDepth', 0, MAX_TABLE_DEPTH),
  };
}

function malformed(what: string, cause?: unknown): VaultError {
  return new VaultError('damaged', `A manifest ${what}.`, { cause });
}
