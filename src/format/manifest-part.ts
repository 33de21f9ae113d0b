/**
 * What both parts of a manifest are made of. FORMAT.md, "Parts".
 *
 *     head length (4) | head (strict JSON) | tables, or inline bodies
 */
import { VaultError } from '../errors.ts';
import { FORMAT, parseStrictJson, type Fields } from './json.ts';
import { MAX_CHUNK_SIZE, MAX_TABLE_DEPTH, MIN_CHUNK_SIZE } from './limits.ts';
import { isTableDepth, type TableDepth } from './tables.ts';

/** What a manifest can be of. */
export type ManifestKind = 'file' | 'folder';
const KINDS: readonly ManifestKind[] = ['file', 'folder'];

/** Largest head in bytes: a name whose every byte needs an escape, and the rest. */
const MAX_HEAD_SIZE = 128 * 1024;

export function encodePlain(head: Buffer, ...binaries: readonly Uint8Array[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, ...binaries]);
}

/** @throws `damaged` if it is no head and what follows it; `unsupported` if it is of a kind or version that is not known */
export function decodePlain(plain: Uint8Array): {
  readonly kind: ManifestKind;
  readonly fields: Fields;
  readonly binary: Buffer;
} {
  const bytes = Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
  const end = bytes.length < 4 ? Infinity : 4 + bytes.readUInt32BE(0);
  if (end > bytes.length || end > 4 + MAX_HEAD_SIZE) throw malformed('has a head that does not fit');
  const fields = parseStrictJson(bytes.subarray(4, end), 'A manifest', MAX_HEAD_SIZE);
  fields.oneOf('format', [FORMAT]);
  const said = fields.string('kind');
  const kind = KINDS.find((one) => one === said);
  if (kind === undefined) {
    throw new VaultError(
      'unsupported',
      'A manifest is of a kind that this version does not know. Use a newer version.',
    );
  }
  return { kind, fields, binary: bytes.subarray(end) };
}

export function readDepth(fields: Fields, key: string): TableDepth {
  const depth = fields.integer(key, 0, MAX_TABLE_DEPTH);
  if (!isTableDepth(depth)) throw fields.impossible(key);
  return depth;
}

/** Null where chunks are cut by content. */
export function readChunkSize(fields: Fields): number | null {
  return fields.nullable('chunkSize', (at, key) => at.integer(key, MIN_CHUNK_SIZE, MAX_CHUNK_SIZE));
}

export function malformed(what: string): VaultError {
  return new VaultError('damaged', `A manifest ${what}.`);
}
