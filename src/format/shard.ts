/**
 * A shard object: its name and its bytes. FORMAT.md, "Shard objects".
 *
 *     magic (8) | k | m | index | 0 | sealed size (4, big-endian) | nonce (12) | CRC32C (4, big-endian) | shard
 *
 * The checksum covers the chunk's id, the 28 bytes before it and the shard, so that a bucket can be scrubbed without
 * any key, and an object that lies under another's name is noticed. It finds rot; tampering is found by opening.
 */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { VaultError } from '../errors.ts';
import { MAX_SEALED_SIZE, MAX_SHARDS, PAYLOAD_TRAILER_SIZE, SEAL_OVERHEAD } from './limits.ts';
import type * as Crc32 from '@node-rs/crc32';

export { MAX_SEALED_SIZE, MAX_SHARDS } from './limits.ts';

const MAGIC = Buffer.from('vlt2shrd', 'ascii');
/** Bytes before the shard. */
export const SHARD_HEADER_SIZE = 32;
const CRC_OFFSET = 28;
const NONCE_OFFSET = 16;
const NONCE_SIZE = 12;
/** Where shard objects are. */
export const CHUNK_PREFIX = 'chunks/';

/** k data and m parity shards: any k of the k + m give the chunk back. */
export interface Redundancy {
  readonly k: number;
  readonly m: number;
}

export interface ShardName extends Redundancy {
  /** 64 hex digits. */
  readonly chunkId: string;
  /** 8 hex digits, see `sealingOf`: shards of one chunk with the same sealing, k and m fit together. */
  readonly sealing: string;
  /** 0 to k + m - 1. */
  readonly index: number;
  /** 16 hex digits, random for each object. */
  readonly upload: string;
}

export interface ShardHeader extends Redundancy {
  readonly index: number;
  /** Bytes of the sealed chunk, all data shards together without padding. */
  readonly sealedSize: number;
  /** 12 bytes, with which the chunk was sealed. */
  readonly nonce: Buffer;
}

/** Whether k and m are a redundancy that the format admits. */
export function isRedundancy({ k, m }: Redundancy): boolean {
  return Number.isInteger(k) && Number.isInteger(m) && k >= 1 && m >= 0 && k + m <= MAX_SHARDS;
}

/** `2+1` as a value; null if the text is not a redundancy. */
export function parseRedundancy(text: string): Redundancy | null {
  const match = /^([1-9][0-9]?)\+(0|[1-9][0-9]?)$/.exec(text);
  if (match === null) return null;
  const redundancy = { k: Number(match[1]), m: Number(match[2]) };
  return isRedundancy(redundancy) ? redundancy : null;
}

export function formatRedundancy({ k, m }: Redundancy): string {
  return `${k}+${m}`;
}

/** The object name of a shard: `chunks/<id>.<sealing>.<index>of<k>+<m>.<upload>`. */
export function shardObjectName({ chunkId, sealing, index, k, m, upload }: ShardName): string {
  return `${CHUNK_PREFIX}${chunkId}.${sealing}.${index}of${k}+${m}.${upload}`;
}

const NAME =
  /^chunks\/([0-9a-f]{64})\.([0-9a-f]{8})\.(0|[1-9][0-9]?)of([1-9][0-9]?)\+(0|[1-9][0-9]?)\.([0-9a-f]{16})$/;

/** What an object name says; null if it is not the name of a shard. */
export function parseShardObjectName(name: string): ShardName | null {
  const match = NAME.exec(name);
  if (match === null) return null;
  const [, chunkId = '', sealing = '', index, k, m, upload = ''] = match;
  const shard = { chunkId, sealing, index: Number(index), k: Number(k), m: Number(m), upload };
  return isRedundancy(shard) && shard.index < shard.k + shard.m ? shard : null;
}

/**
 * The sealing in the names of a sealed chunk's shards: the first 8 hex digits of SHA-256(nonce | sealed size as u32).
 *
 * @param nonce 12 bytes
 * @param sealedSize bytes
 */
export function sealingOf(nonce: Uint8Array, sealedSize: number): string {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(sealedSize);
  return createHash('sha256').update(nonce).update(size).digest('hex').slice(0, 8);
}

/** Bytes of each shard of a sealed chunk: the last data shards are padded with zeros to the length of the others. */
export function shardSize(sealedSize: number, k: number): number {
  return Math.ceil(sealedSize / k);
}

/** Bytes of a shard object. */
export function shardObjectSize(sealedSize: number, k: number): number {
  return SHARD_HEADER_SIZE + shardSize(sealedSize, k);
}

/**
 * Writes a shard object's header, with its checksum, before the shard that is in place.
 *
 * @param object the whole object, also in shared memory; the shard lies at `SHARD_HEADER_SIZE`
 * @param chunkId 64 hex digits
 */
export function finishShardObject(object: Uint8Array, chunkId: string, header: ShardHeader): void {
  const bytes = bufferOf(object);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt8(header.k, 8);
  bytes.writeUInt8(header.m, 9);
  bytes.writeUInt8(header.index, 10);
  bytes.writeUInt8(0, 11);
  bytes.writeUInt32BE(header.sealedSize, 12);
  bytes.set(header.nonce, NONCE_OFFSET);
  bytes.writeUInt32BE(checksum(bytes, chunkId), CRC_OFFSET);
}

/**
 * Reads a shard object's header and checks that the object has the size it says. The checksum is the caller's to check.
 *
 * @param object the whole object
 * @throws `damaged` if this is not a shard object or has been cut; `unsupported` for a newer format
 */
export function parseShardHeader(object: Uint8Array): ShardHeader {
  if (object.length < SHARD_HEADER_SIZE) throw malformed('is shorter than a header');
  const bytes = bufferOf(object);
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    if (/^vlt[0-9]shrd$/.test(bytes.toString('latin1', 0, MAGIC.length))) {
      throw new VaultError(
        'unsupported',
        'A shard was written in another version of the format than this reads.',
      );
    }
    throw malformed('does not start like one');
  }
  const header = {
    k: bytes.readUInt8(8),
    m: bytes.readUInt8(9),
    index: bytes.readUInt8(10),
    sealedSize: bytes.readUInt32BE(12),
    nonce: Buffer.from(bytes.subarray(NONCE_OFFSET, NONCE_OFFSET + NONCE_SIZE)),
  };
  if (bytes[11] !== 0 || !isRedundancy(header) || header.index >= header.k + header.m) {
    throw malformed('has an impossible header');
  }
  if (header.sealedSize < PAYLOAD_TRAILER_SIZE + SEAL_OVERHEAD || header.sealedSize > MAX_SEALED_SIZE) {
    throw malformed('has an impossible size in its header');
  }
  if (object.length !== shardObjectSize(header.sealedSize, header.k)) {
    throw malformed('has been cut or extended');
  }
  return header;
}

/**
 * Reads a shard object's header, and holds it to the object's name.
 *
 * @throws as `parseShardHeader`, and `damaged` if it is another shard than the name says
 */
export function parseNamedShard(object: Uint8Array, name: ShardName): ShardHeader {
  const header = parseShardHeader(object);
  const { k, m, index, sealedSize, nonce } = header;
  const isSame = k === name.k && m === name.m && index === name.index;
  if (!isSame || sealingOf(nonce, sealedSize) !== name.sealing) {
    throw malformed('lies in the place of another one');
  }
  return header;
}

/**
 * Whether the checksum in a shard object is that of its bytes under this chunk's id.
 *
 * @param object the whole object, also in shared memory
 * @param chunkId 64 hex digits, from the object's name
 */
export function isShardIntact(object: Uint8Array, chunkId: string): boolean {
  if (object.length < SHARD_HEADER_SIZE) return false;
  const bytes = bufferOf(object);
  return bytes.readUInt32BE(CRC_OFFSET) === checksum(bytes, chunkId);
}

function checksum(object: Buffer, chunkId: string): number {
  crc32c ??= loadCrc32c();
  const ofId = crc32c(Buffer.from(chunkId, 'hex'));
  const ofHeader = crc32c(object.subarray(0, CRC_OFFSET), ofId);
  return crc32c(object.subarray(SHARD_HEADER_SIZE), ofHeader);
}

let crc32c: typeof Crc32.crc32c | null = null;

/** When it is needed: most commands check no shard in their main thread, and the package takes 6 ms to load. */
function loadCrc32c(): typeof Crc32.crc32c {
  const require = createRequire(import.meta.url);
  const loaded: typeof Crc32 = require('@node-rs/crc32');
  return loaded.crc32c;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string): VaultError {
  return new VaultError('damaged', `A shard ${what}.`);
}
