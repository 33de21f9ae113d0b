/**
 * A group of files in a local log, as bytes:
 *
 *     length (4) | facts' length (4) | facts of each file | extents (4, or NONE) | start, length (8 + 8) of each
 *     | gaps (4, or 0 for none) | bytes (4) of each | chunk references
 *
 * Facts are compared as bytes: a folder has many files, and nearly all of them are as they were.
 */
import { dataSize } from '../../format/folder-index.ts';
import type { Extent } from '../../format/folder-index.ts';
import { decodeRefs, encodeRefs } from '../../format/manifest.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import { REF_SIZE } from '../../format/tables.ts';

/** What tells whether a file is still the one that was read. */
export interface FileFacts {
  /** Relative, with "/" between its parts; at most 65,535 bytes. */
  readonly path: Buffer;
  readonly inode: bigint;
  readonly ctimeNs: bigint;
  readonly mtimeNs: bigint;
  /** Bytes, as the file system says. */
  readonly size: number;
}

/** What was stored of some files together. */
export interface LoggedGroup {
  readonly facts: Buffer;
  /** Where the data of a sparse file lies, which is then the only one; null: everything is data. */
  readonly extents: readonly Extent[] | null;
  /** Bytes of its chunks before each file's data, and after the last, that are no file's; null: there are none. */
  readonly gaps: readonly number[] | null;
  /** Chunks. */
  readonly chunks: number;
  /** Its chunks in order. */
  refs(): Generator<ChunkRef, void, undefined>;
}

const NO_EXTENTS = 0xffff_ffff;
const EXTENT_SIZE = 16;
const GAP_SIZE = 4;
/** Bytes of facts beside the path. */
const FACTS_SIZE = 2 + 8 + 8 + 8 + 8;
/** Bytes of a record of one file with a path of none. */
const LEAST_RECORD_SIZE = 8 + FACTS_SIZE + 4 + 4;
/** References decoded at a time. */
const REFS_AT_ONCE = 1024;

/** Facts as they stand in a record. */
export function encodeFacts(files: readonly FileFacts[]): Buffer {
  const size = files.reduce((sum, { path }) => sum + FACTS_SIZE + path.length, 0);
  const bytes = Buffer.allocUnsafe(size);
  // Which writes large numbers without making others on the way.
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = 0;
  for (const { path, inode, ctimeNs, mtimeNs, size: fileSize } of files) {
    view.setUint16(at, path.length);
    bytes.set(path, at + 2);
    at += 2 + path.length;
    view.setBigUint64(at, inode);
    // Times beyond the year 2262 wrap round: they are only compared.
    view.setBigInt64(at + 8, ctimeNs);
    view.setBigInt64(at + 16, mtimeNs);
    view.setFloat64(at + 24, fileSize);
    at += 32;
  }
  return bytes;
}

/** The path of the first file in some facts. */
export function firstPathOf(facts: Buffer): Buffer {
  return facts.subarray(2, 2 + facts.readUInt16BE(0));
}

/** The facts of each file. */
function* eachOf(
  facts: Buffer,
): Generator<{ readonly facts: Buffer; readonly path: Buffer; readonly size: number }> {
  for (let at = 0; at < facts.length;) {
    const pathEnd = at + 2 + facts.readUInt16BE(at);
    const end = pathEnd + FACTS_SIZE - 2;
    yield {
      facts: facts.subarray(at, end),
      path: facts.subarray(at + 2, pathEnd),
      size: facts.readDoubleBE(end - 8),
    };
    at = end;
  }
}

/** The path of the last file of a group. */
export function lastPathOf({ facts }: Pick<LoggedGroup, 'facts'>): Buffer {
  let last: Buffer = Buffer.alloc(0);
  for (const { path } of eachOf(facts)) last = path;
  return last;
}

/** Data of a file that is all in one chunk. */
export interface DataPlace {
  readonly ref: ChunkRef;
  /** Where in the chunk's body it begins. */
  readonly start: number;
}

/** Where each file's data is, by the file's facts, of those that have it in one chunk and without holes. */
export function* placesOf(
  group: LoggedGroup,
): Generator<{ readonly facts: Buffer; readonly place: DataPlace }> {
  if (group.extents !== null) return;
  const refs = group.refs();
  let ref: ChunkRef | undefined;
  let [chunkStart, chunkEnd, at, index] = [0, 0, 0, 0];
  for (const { facts, size } of eachOf(group.facts)) {
    at += group.gaps?.[index] ?? 0;
    while (at >= chunkEnd) {
      const next = refs.next();
      if (next.done === true) return;
      ref = next.value;
      [chunkStart, chunkEnd] = [chunkEnd, chunkEnd + ref.length];
    }
    if (ref !== undefined && at + size <= chunkEnd) yield { facts, place: { ref, start: at - chunkStart } };
    at += size;
    index += 1;
  }
}

/** A group's bytes. @param refs of its chunks, encoded, in runs */
export function encodeRecord(
  facts: Buffer,
  { extents, gaps }: Pick<LoggedGroup, 'extents' | 'gaps'>,
  refs: readonly Buffer[],
): Buffer {
  const size =
    8 + facts.length + 4 + EXTENT_SIZE * (extents?.length ?? 0) + 4 + GAP_SIZE * (gaps?.length ?? 0);
  const head = Buffer.alloc(size);
  head.writeUInt32BE(facts.length, 4);
  head.set(facts, 8);
  let at = head.writeUInt32BE(extents?.length ?? NO_EXTENTS, 8 + facts.length);
  for (const { start, length } of extents ?? []) {
    at = head.writeDoubleBE(start, at);
    at = head.writeDoubleBE(length, at);
  }
  at = head.writeUInt32BE(gaps?.length ?? 0, at);
  for (const gap of gaps ?? []) at = head.writeUInt32BE(gap, at);
  const bytes = Buffer.concat([head, ...refs]);
  bytes.writeUInt32BE(bytes.length);
  return bytes;
}

/** Bytes of the record that some bytes begin with; of too few bytes to tell, the least that there must be. */
export function recordSize(bytes: Buffer): number {
  return bytes.length < LEAST_RECORD_SIZE
    ? LEAST_RECORD_SIZE
    : Math.max(LEAST_RECORD_SIZE, bytes.readUInt32BE(0));
}

/**
 * @param bytes of one whole record
 * @returns null if they are none
 */
export function decodeRecord(bytes: Buffer): LoggedGroup | null {
  if (bytes.length < LEAST_RECORD_SIZE) return null;
  const factsEnd = 8 + bytes.readUInt32BE(4);
  if (factsEnd < 8 + FACTS_SIZE || factsEnd + 4 > bytes.length) return null;
  const count = bytes.readUInt32BE(factsEnd);
  const extentsEnd = factsEnd + 4 + (count === NO_EXTENTS ? 0 : count * EXTENT_SIZE);
  if (extentsEnd + 4 > bytes.length) return null;
  const gaps = bytes.readUInt32BE(extentsEnd);
  const gapsEnd = extentsEnd + 4 + gaps * GAP_SIZE;
  const refs = bytes.subarray(gapsEnd);
  if (gapsEnd > bytes.length || refs.length % REF_SIZE !== 0) return null;
  return {
    facts: bytes.subarray(8, factsEnd),
    extents: count === NO_EXTENTS ? null : extentsOf(bytes.subarray(factsEnd + 4, extentsEnd)),
    gaps: gaps === 0 ? null : gapsOf(bytes.subarray(extentsEnd + 4, gapsEnd)),
    chunks: refs.length / REF_SIZE,
    *refs() {
      for (let at = 0; at < refs.length; at += REFS_AT_ONCE * REF_SIZE) {
        yield* decodeRefs(refs.subarray(at, at + REFS_AT_ONCE * REF_SIZE));
      }
    },
  };
}

function extentsOf(bytes: Buffer): Extent[] {
  return Array.from({ length: bytes.length / EXTENT_SIZE }, (_, i) => ({
    start: bytes.readDoubleBE(i * EXTENT_SIZE),
    length: bytes.readDoubleBE(i * EXTENT_SIZE + 8),
  }));
}

function gapsOf(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / GAP_SIZE }, (_, i) => bytes.readUInt32BE(i * GAP_SIZE));
}

/** References of chunks under way to a record, encoded as they come: there may be very many. */
export class RefRuns {
  #waiting: ChunkRef[] = [];
  #runs: Buffer[] = [];
  count = 0;

  add(ref: ChunkRef): void {
    this.count += 1;
    this.#waiting.push(ref);
    if (this.#waiting.length === REFS_AT_ONCE) this.#encode();
  }

  /** All there were, and none are left. */
  take(): readonly Buffer[] {
    this.#encode();
    const runs = this.#runs;
    this.#runs = [];
    this.count = 0;
    return runs;
  }

  #encode(): void {
    this.#runs.push(encodeRefs(this.#waiting));
    this.#waiting = [];
  }
}

/** Whether chunks add up to what they are the content of. */
export function isWhole(logged: LoggedGroup, size: number): boolean {
  let left = dataSize({ size, extents: logged.extents });
  for (const gap of logged.gaps ?? []) left += gap;
  for (const { length } of logged.refs()) left -= length;
  return left === 0;
}
