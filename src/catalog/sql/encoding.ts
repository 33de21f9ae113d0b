import { VaultError } from '../../errors.ts';
import type { ChunkRow, FileRow, GarbageRow, ShardPlace } from '../catalog.ts';
import { isRedundancy } from '../../format/shard.ts';
import { CHUNK_GARBAGE, MANIFEST_GARBAGE } from './schema.ts';
import type { Tables } from './schema.ts';
import type { Selectable } from 'kysely';

/** Bytes of one packed place: the bucket's number, then the generation. All zeros say that there is none. */
const PLACE_SIZE = 10;
const GENERATION_DIGITS = 16;

/** Hex digits of a hash or a chunk id, and of a vault, bucket or keyslot id. */
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
    throw new VaultError(
      'invalid-input',
      `An identifier of ${digits} hex digits was expected, not "${hex}".`,
    );
  }
  return Buffer.from(hex, 'hex');
}

/** The bytes of a generation. @throws `invalid-input` unless it is 16 hex digits */
export function generationBytes(generation: string): Uint8Array {
  return bytesOf(generation, GENERATION_DIGITS);
}

/** Lower-case hex of bytes. */
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
    throw new VaultError(
      'invalid-input',
      `A hash prefix has 1 to ${HASH_DIGITS} hex digits, not "${prefix}".`,
    );
  }
  return [
    bytesOf(prefix.padEnd(HASH_DIGITS, '0'), HASH_DIGITS),
    bytesOf(prefix.padEnd(HASH_DIGITS, 'f'), HASH_DIGITS),
  ];
}

/** Packs places in their order. @throws `invalid-input` if a bucket's number is not 1 to 65535 */
export function packPlaces(places: readonly (ShardPlace | null)[]): Uint8Array {
  const packed = Buffer.alloc(places.length * PLACE_SIZE);
  for (const [index, place] of places.entries()) {
    if (place === null) continue;
    if (!Number.isInteger(place.bucket) || place.bucket < 1 || place.bucket > 0xffff) {
      throw new VaultError('invalid-input', `A bucket's number is 1 to 65535, not ${place.bucket}.`);
    }
    packed.writeUInt16BE(place.bucket, index * PLACE_SIZE);
    packed.set(generationBytes(place.generation), index * PLACE_SIZE + 2);
  }
  return packed;
}

/** Undoes `packPlaces`. @throws `damaged` if the bytes are not whole places */
export function unpackPlaces(packed: Uint8Array): (ShardPlace | null)[] {
  if (packed.length % PLACE_SIZE !== 0) throw damagedRow('a list of places is cut off');
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  return Array.from({ length: bytes.length / PLACE_SIZE }, (_, index) => {
    const at = index * PLACE_SIZE;
    const bucket = bytes.readUInt16BE(at);
    return bucket === 0 ? null : { bucket, generation: bytes.toString('hex', at + 2, at + PLACE_SIZE) };
  });
}

/** @throws `invalid-input` if the row is not well formed */
export function encodeChunk(row: ChunkRow): Tables['chunks'] {
  if (row.shards.length !== row.k + row.m) {
    throw new VaultError(
      'invalid-input',
      `A chunk of ${row.k}+${row.m} was given ${row.shards.length} places.`,
    );
  }
  return {
    id: bytesOf(row.id, HASH_DIGITS),
    k: row.k,
    m: row.m,
    sealed_size: row.sealedSize,
    shards: packPlaces(row.shards),
  };
}

/** @throws `damaged` if the row is not one that `encodeChunk` makes */
export function decodeChunk(row: Tables['chunks']): ChunkRow {
  const shards = unpackPlaces(row.shards);
  if (row.id.length * 2 !== HASH_DIGITS || !isRedundancy(row) || shards.length !== row.k + row.m) {
    throw damagedRow(`the row of chunk ${hexOf(row.id)} contradicts itself`);
  }
  return { id: hexOf(row.id), k: row.k, m: row.m, sealedSize: row.sealed_size, shards };
}

/** The columns of `files` that describe a visible file. */
export const FILE_COLUMNS = ['hash', 'name_tag', 'record', 'created_at', 'expires_at', 'seq'] as const;

/** @throws `damaged` if a visible file's row lacks what commitPut gave it */
export function decodeFile(row: Pick<Selectable<Tables['files']>, (typeof FILE_COLUMNS)[number]>): FileRow {
  if (row.hash === null || row.name_tag === null || row.record === null || row.created_at === null) {
    throw damagedRow(
      `the row of file ${row.hash === null ? 'without a hash' : hexOf(row.hash)} is incomplete`,
    );
  }
  return {
    hash: hexOf(row.hash),
    nameTag: plain(row.name_tag),
    record: plain(row.record),
    createdAtMs: row.created_at,
    expiresAtMs: row.expires_at,
  };
}

/**
 * The rows that hold a debt. A packed row has one place an index, so a debt of several generations of one
 * shard takes several rows.
 */
export function encodeGarbage(row: GarbageRow): Tables['garbage'][] {
  const { k, m } = row;
  const id = bytesOf(row.id, HASH_DIGITS);
  if (row.kind === 'manifest') {
    const byBucket = new Map(
      row.places.map(({ bucket, generation }) => [
        bucket,
        { bucket, generation: generation === '' ? NO_GENERATION : generation },
      ]),
    );
    const places = [...byBucket.values()].toSorted((a, b) => a.bucket - b.bucket);
    return places.length === 0 ? [] : [{ id, kind: MANIFEST_GARBAGE, k, m, places: packPlaces(places) }];
  }
  const layers: (ShardPlace | null)[][] = [];
  for (const { index, bucket, generation } of row.places) {
    if (index < 0 || index >= k + m) {
      throw new VaultError('invalid-input', `A chunk of ${k}+${m} has no shard with index ${index}.`);
    }
    let layer = layers.find((places) => places[index] === null);
    if (layer === undefined) {
      layer = Array.from({ length: k + m }, () => null);
      layers.push(layer);
    }
    layer[index] = { bucket, generation };
  }
  return layers.map((places) => ({ id, kind: CHUNK_GARBAGE, k, m, places: packPlaces(places) }));
}

/** @throws `damaged` if the places are not whole */
export function decodeGarbage(row: Tables['garbage']): GarbageRow {
  const manifest = row.kind === MANIFEST_GARBAGE;
  const places = unpackPlaces(row.places).flatMap((place, at) => {
    if (place === null) return [];
    const { bucket, generation } = place;
    if (!manifest) return [{ index: at, ...place }];
    return [{ index: 0, bucket, generation: generation === NO_GENERATION ? '' : generation }];
  });
  return { kind: manifest ? 'manifest' : 'chunk', id: hexOf(row.id), k: row.k, m: row.m, places };
}

/** The debt of what a chunk's old row names and the new one does not; nothing if there is no such place. */
export function supersededPlaces(old: ChunkRow, inForce: ChunkRow): GarbageRow | null {
  const sameCode = old.k === inForce.k && old.m === inForce.m;
  const places = old.shards.flatMap((place, index) => {
    if (place === null) return [];
    const kept = sameCode ? inForce.shards[index] : null;
    const used = kept?.bucket === place.bucket && kept.generation === place.generation;
    return used ? [] : [{ index, ...place }];
  });
  return places.length === 0 ? null : { kind: 'chunk', id: old.id, k: old.k, m: old.m, places };
}

/** In a debt of a manifest that has no generation of its own. */
const NO_GENERATION = '0'.repeat(GENERATION_DIGITS);

/** What the owner's word of a put begins with that sends no objects. Hosts' names have no line breaks. */
const FOUND = 'found\n';

/** The column `owner`: who runs a put, and where its objects come from. */
export function encodeOwner(owner: string, objects: 'sent' | 'found'): string {
  return objects === 'found' ? FOUND + owner : owner;
}

/** Undoes `encodeOwner`. */
export function decodeOwner(column: string): { readonly owner: string; readonly objects: 'sent' | 'found' } {
  return column.startsWith(FOUND)
    ? { owner: column.slice(FOUND.length), objects: 'found' }
    : { owner: column, objects: 'sent' };
}

/** An error for a row that this program never writes. */
export function damagedRow(what: string): VaultError {
  return new VaultError(
    'damaged',
    `The catalog is damaged: ${what}. \`vault recover\` rebuilds it from the buckets.`,
  );
}
