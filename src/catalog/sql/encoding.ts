import { invalidInput, VaultError } from '../../errors.ts';
import { isRedundancy } from '../../format/shard.ts';
import { MAX_ROWS, type ChunkRow, type FileRow, type ShardPlace } from '../catalog.ts';
import type { Tables } from './schema.ts';

/** Bytes of one packed place: the bucket's number, then the upload. All zeros say that there is none. */
const PLACE_SIZE = 10;
const UPLOAD_DIGITS = 16;
const SEALING_DIGITS = 8;
const NAME_TAG_SIZE = 32;

/** Highest number that a bucket can have. */
export const LAST_BUCKET = 0xffff;

/** Hex digits of a hash or a chunk id, and of a vault, bucket or writer id. */
export const HASH_DIGITS = 64;
export const ID_DIGITS = 32;

/**
 * The bytes of an identifier.
 *
 * @param hex lower-case hex
 * @param digits how many digits it must have
 * @throws `invalid-input` if it is anything else: `Buffer.from` would silently cut it
 */
export function bytesOf(hex: string, digits: number): Uint8Array {
  if (hex.length !== digits || !/^[0-9a-f]*$/.test(hex)) {
    throw invalidInput(`An identifier of ${digits} hex digits was expected, not "${hex}".`);
  }
  return Buffer.from(hex, 'hex');
}

/** The bytes of hashes or chunk ids. @throws RangeError if there are more than `MAX_ROWS`; `invalid-input` */
export function allBytesOf(hashes: readonly string[]): readonly Uint8Array[] {
  requireFew(hashes);
  return hashes.map((hash) => bytesOf(hash, HASH_DIGITS));
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** A driver's Buffer as plain bytes. */
export function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The lowest and the highest hash that start with these hex digits (1 to 64). @throws `invalid-input` */
export function hashRange(prefix: string): readonly [Uint8Array, Uint8Array] {
  if (prefix.length < 1 || prefix.length > HASH_DIGITS) {
    throw invalidInput(`A hash prefix has 1 to ${HASH_DIGITS} hex digits, not "${prefix}".`);
  }
  return [
    bytesOf(prefix.padEnd(HASH_DIGITS, '0'), HASH_DIGITS),
    bytesOf(prefix.padEnd(HASH_DIGITS, 'f'), HASH_DIGITS),
  ];
}

/**
 * The rows to write for what one call was given: the last for each identifier, in the order of identifiers, in which all
 * clients take their locks.
 *
 * @throws RangeError if more than `MAX_ROWS` were given; what `encode` throws
 */
export function encodeAll<Given, Row>(
  given: readonly Given[],
  key: (row: Given) => string,
  encode: (row: Given) => Row,
): readonly Row[] {
  requireFew(given);
  const last = new Map(given.map((row) => [key(row), row]));
  return [...last].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => encode(row));
}

/** @throws `invalid-input` if the row is not well formed */
export function encodeChunk(row: ChunkRow): Tables['chunks'] {
  if (!isRedundancy(row) || row.shards.length !== row.k + row.m) {
    throw invalidInput(`A chunk of ${row.k}+${row.m} was given ${row.shards.length} places.`);
  }
  return {
    id: bytesOf(row.id, HASH_DIGITS),
    k: row.k,
    m: row.m,
    sealing: bytesOf(row.sealing, SEALING_DIGITS),
    sealed_size: whole(row.sealedSize, 'The size of a sealed chunk'),
    shards: packPlaces(row.shards),
  };
}

/** @throws `damaged` if the row is not one that `encodeChunk` makes */
export function decodeChunk(row: Tables['chunks']): ChunkRow {
  const shards = unpackPlaces(row.shards);
  const { k, m, sealed_size: sealedSize } = row;
  const fits = isRedundancy({ k, m }) && shards.length === k + m && isWhole(sealedSize);
  if (!fits || !isBytes(row.id, HASH_DIGITS / 2) || !isBytes(row.sealing, SEALING_DIGITS / 2)) {
    throw damagedRow(`the row of chunk ${hexOf(row.id)} contradicts itself`);
  }
  return { id: hexOf(row.id), k, m, sealing: hexOf(row.sealing), sealedSize, shards };
}

/** @throws `invalid-input` if the row is not well formed */
export function encodeFile(row: FileRow): Tables['files'] {
  if (row.nameTag.length !== NAME_TAG_SIZE) {
    throw invalidInput(`A name tag has ${NAME_TAG_SIZE} bytes, not ${row.nameTag.length}.`);
  }
  if (row.version === 0) throw invalidInput('The versions of a name begin with 1.');
  return {
    hash: bytesOf(row.hash, HASH_DIGITS),
    writer: bytesOf(row.writer, ID_DIGITS),
    name_tag: row.nameTag,
    record: row.record,
    version: whole(row.version, 'A version'),
    created_at: time(row.createdAtMs),
    expires_at: row.expiresAtMs === null ? null : time(row.expiresAtMs),
    hidden_at: row.hiddenAtMs === null ? null : time(row.hiddenAtMs),
  };
}

/**
 * A row that `encodeFile` does not make has no record that anybody opens: it counts as changed, and keeps no other from being read.
 */
export function decodeFile(row: Tables['files']): FileRow {
  const times = [row.created_at, row.expires_at ?? 0, row.hidden_at ?? 0];
  const fits =
    isBytes(row.hash, HASH_DIGITS / 2) &&
    isBytes(row.writer, ID_DIGITS / 2) &&
    isBytes(row.name_tag, NAME_TAG_SIZE) &&
    isBytes(row.record);
  if (!fits || !times.every(Number.isSafeInteger) || !isWhole(row.version) || row.version === 0) {
    return {
      hash: (isBytes(row.hash) ? hexOf(row.hash) : '').padEnd(HASH_DIGITS, '0').slice(0, HASH_DIGITS),
      writer: isBytes(row.writer, ID_DIGITS / 2) ? hexOf(row.writer) : '0'.repeat(ID_DIGITS),
      nameTag: new Uint8Array(NAME_TAG_SIZE),
      record: new Uint8Array(),
      version: 1,
      createdAtMs: 0,
      expiresAtMs: null,
      hiddenAtMs: row.hidden_at === null ? null : 0,
    };
  }
  return {
    hash: hexOf(row.hash),
    writer: hexOf(row.writer),
    nameTag: plain(row.name_tag),
    record: plain(row.record),
    version: row.version,
    createdAtMs: row.created_at,
    expiresAtMs: row.expires_at,
    hiddenAtMs: row.hidden_at,
  };
}

/**
 * A number as every database keeps it.
 *
 * @param what what it counts, to begin a message with
 * @throws `invalid-input` unless it is whole, at least 0 and at most 2^53 - 1
 */
export function whole(value: number, what: string): number {
  if (!isWhole(value)) throw invalidInput(`${what} is a whole number from 0 to 2^53 - 1, not ${value}.`);
  return value;
}

/** Milliseconds since 1970, or before. @throws `invalid-input` unless they are whole and exact */
export function time(ms: number): number {
  if (!Number.isSafeInteger(ms)) throw invalidInput(`A time is a whole number of milliseconds, not ${ms}.`);
  return ms;
}

/** An error for a row that this program never writes. */
export function damagedRow(what: string): VaultError {
  return new VaultError(
    'damaged',
    `The catalog is damaged: ${what}. Move it away, or name another place (--db): "vault recover" makes it anew from the buckets.`,
  );
}

/** Packs places in their order. @throws `invalid-input` if a bucket's number is not 1 to 65535 */
function packPlaces(places: readonly (ShardPlace | null)[]): Uint8Array {
  const packed = Buffer.alloc(places.length * PLACE_SIZE);
  for (const [index, place] of places.entries()) {
    if (place === null) continue;
    if (!Number.isInteger(place.bucket) || place.bucket < 1 || place.bucket > LAST_BUCKET) {
      throw invalidInput(`A bucket's number is 1 to ${LAST_BUCKET}, not ${place.bucket}.`);
    }
    packed.writeUInt16BE(place.bucket, index * PLACE_SIZE);
    packed.set(bytesOf(place.upload, UPLOAD_DIGITS), index * PLACE_SIZE + 2);
  }
  return packed;
}

/** Undoes `packPlaces`. @throws `damaged` if the bytes are not whole places */
function unpackPlaces(packed: Uint8Array): (ShardPlace | null)[] {
  if (!isBytes(packed) || packed.length % PLACE_SIZE !== 0) throw damagedRow('a list of places is cut off');
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  return Array.from({ length: bytes.length / PLACE_SIZE }, (_, index) => {
    const at = index * PLACE_SIZE;
    const bucket = bytes.readUInt16BE(at);
    return bucket === 0 ? null : { bucket, upload: bytes.toString('hex', at + 2, at + PLACE_SIZE) };
  });
}

/** SQLite keeps values of any type in any column. */
function isBytes(value: unknown, size?: number): boolean {
  return value instanceof Uint8Array && (size === undefined || value.length === size);
}

function isWhole(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function requireFew(given: readonly unknown[]): void {
  if (given.length > MAX_ROWS) throw new RangeError(`A call takes ${MAX_ROWS} rows, not ${given.length}.`);
}
