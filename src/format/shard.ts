/**
 * A shard object: its name and its bytes. FORMAT.md, "Shard objects".
 *
 *     magic (8) | k | m | index | 0 | sealed size (4, big-endian) | chunk id (32) | SHA-256 (32) | shard
 *
 * The checksum covers the 48 bytes before it and the shard, so that a bucket can be scrubbed without any key, and
 * an object that has been put in another's place is noticed.
 */
import { VaultError } from '../errors.ts';
import { MAX_CHUNK_SIZE, PAYLOAD_PREFIX_SIZE, SEAL_OVERHEAD } from './chunk.ts';

const MAGIC = Buffer.from('vlt1shrd', 'ascii');
/** Bytes of the header that the checksum covers, before the checksum itself. */
export const SHARD_CHECKED_SIZE = 48;
/** Bytes before the shard. */
export const SHARD_HEADER_SIZE = 80;
/** Largest k + m. */
export const MAX_SHARDS = 32;
/** Largest sealed chunk in bytes. */
export const MAX_SEALED_SIZE = PAYLOAD_PREFIX_SIZE + MAX_CHUNK_SIZE + SEAL_OVERHEAD;
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
  /** 0 to k + m - 1. */
  readonly index: number;
  /** 16 hex digits: one put's or one repair's uploads. */
  readonly generation: string;
}

export interface ShardHeader extends Redundancy {
  readonly chunkId: string;
  readonly index: number;
  /** Bytes of the sealed chunk, all data shards together without padding. */
  readonly sealedSize: number;
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

/** The object name of a shard: `chunks/<id>.<index>of<k>+<m>.<generation>`. */
export function shardObjectName({ chunkId, index, k, m, generation }: ShardName): string {
  return `${CHUNK_PREFIX}${chunkId}.${index}of${k}+${m}.${generation}`;
}

const NAME = /^chunks\/([0-9a-f]{64})\.(0|[1-9][0-9]?)of([1-9][0-9]?)\+(0|[1-9][0-9]?)\.([0-9a-f]{16})$/;

/** What an object name says; null if it is not the name of a shard. */
export function parseShardObjectName(name: string): ShardName | null {
  const match = NAME.exec(name);
  if (match === null) return null;
  const [, chunkId = '', index, k, m, generation = ''] = match;
  const shard = { chunkId, index: Number(index), k: Number(k), m: Number(m), generation };
  return isRedundancy(shard) && shard.index < shard.k + shard.m ? shard : null;
}

/** Bytes of each shard of a sealed chunk: the last data shard is padded with zeros to the length of the others. */
export function shardSize(sealedSize: number, k: number): number {
  return Math.ceil(sealedSize / k);
}

/** Bytes of a shard object. */
export function shardObjectSize(sealedSize: number, k: number): number {
  return SHARD_HEADER_SIZE + shardSize(sealedSize, k);
}

/** Writes the checked part of a header; the caller adds the checksum behind it. */
export function writeShardHeader(target: Uint8Array, header: ShardHeader): void {
  target.set(MAGIC, 0);
  target[8] = header.k;
  target[9] = header.m;
  target[10] = header.index;
  target[11] = 0;
  new DataView(target.buffer, target.byteOffset).setUint32(12, header.sealedSize);
  target.set(Buffer.from(header.chunkId, 'hex'), 16);
}

/**
 * Reads a shard object's header and checks that the object has the size it says. The checksum is the caller's to check.
 *
 * @throws `damaged` if this is not a shard object or has been cut; `unsupported` for a newer format
 */
export function parseShardHeader(object: Uint8Array): ShardHeader {
  if (object.length < SHARD_HEADER_SIZE) throw malformed('is shorter than a header');
  const bytes = Buffer.from(object.buffer, object.byteOffset, SHARD_HEADER_SIZE);
  if (!bytes.subarray(0, 8).equals(MAGIC)) {
    if (/^vlt[0-9]shrd$/.test(bytes.toString('latin1', 0, 8))) {
      throw new VaultError('unsupported', 'A shard was written in a newer format. Use a newer version.');
    }
    throw malformed('does not start like one');
  }
  const header = {
    k: bytes.readUInt8(8),
    m: bytes.readUInt8(9),
    index: bytes.readUInt8(10),
    sealedSize: bytes.readUInt32BE(12),
    chunkId: bytes.toString('hex', 16, 48),
  };
  if (bytes[11] !== 0 || !isRedundancy(header) || header.index >= header.k + header.m) {
    throw malformed('has an impossible header');
  }
  if (header.sealedSize <= SEAL_OVERHEAD || header.sealedSize > MAX_SEALED_SIZE) {
    throw malformed('has an impossible size in its header');
  }
  if (object.length !== shardObjectSize(header.sealedSize, header.k))
    throw malformed('has been cut or extended');
  return header;
}

function malformed(what: string): VaultError {
  return new VaultError('damaged', `A shard ${what}.`);
}
