/**
 * A folder's index: a stream of its entries. FORMAT.md, "Index of a folder".
 *
 * Entries are sorted by path with "/" before every other byte: so what a folder holds follows it at once, and whether an
 * entry lies in a folder shows in the entry before it, however many there are.
 */
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import { dataSize, decodeEntry, EntryWriter, malformed } from './folder-entry.ts';
import type { EntryContext, FolderEntry } from './folder-entry.ts';
import { MAX_ENTRY_SIZE, MAX_FILE_SIZE, MIN_ENTRY_SIZE } from './limits.ts';

export { dataSize } from './folder-entry.ts';
export type {
  EntryAttribute,
  EntryContent,
  EntryKind,
  EntryOwner,
  Extent,
  FolderEntry,
} from './folder-entry.ts';

/** What a whole index comes to. */
export interface FolderTotals {
  /** Entries, the folder itself included: 1 or more. */
  readonly entries: number;
  /** Bytes of all files, holes included, each hard link's once. */
  readonly size: number;
  /** Where their data ends in the content, which may go on. */
  readonly contentSize: number;
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** The order of entries. @returns negative, 0 or positive */
export function comparePaths(one: Uint8Array, other: Uint8Array): number {
  const least = Math.min(one.length, other.length);
  for (let at = 0; at < least; at += 1) {
    const [a, b] = [one[at] ?? 0, other[at] ?? 0];
    if (a !== b) return (a === SLASH ? -1 : a) - (b === SLASH ? -1 : b);
  }
  return one.length - other.length;
}

// --- cutting ------------------------------------------------------------------------------------------

/** Bytes of a chunk of the index as writers cut it: it ends after the entry that reaches the most, if not before. */
const MIN_INDEX_BODY = 64 * 1024;
const MAX_INDEX_BODY = 768 * 1024;
/** Most bytes that it has. */
export const MOST_INDEX_BODY = MAX_INDEX_BODY + MAX_ENTRY_SIZE;
/** One entry in so many ends a chunk beyond the least: with some hundred bytes each, 256 KiB on average. */
const ONE_IN = 2048;

/**
 * Whether a writer ends a chunk of the index after an entry, so that indexes which share entries share chunks. With the largest
 * entry behind the most, a chunk has less than 1 MiB.
 *
 * @param lot of the entry's path, drawn with the writer's key for cutting: 0 or more, and less than 1; asked only where it matters
 * @param bodySize bytes of this chunk, the entry included
 */
export function isIndexEnd(lot: () => number, bodySize: number): boolean {
  if (bodySize < MIN_INDEX_BODY || bodySize >= MAX_INDEX_BODY) return bodySize >= MAX_INDEX_BODY;
  return lot() < 1 / ONE_IN;
}

// --- writing and reading ------------------------------------------------------------------------------

/** Writes an index, entry by entry. */
export class EntryEncoder {
  readonly #writer = new EntryWriter();
  readonly #sequence = new EntrySequence();

  /**
   * The bytes of the next entry, until the one after that.
   *
   * @throws `invalid-input` if readers would refuse it, or it here
   */
  encode(entry: FolderEntry): Buffer {
    try {
      const bytes = this.#writer.write(entry, this.#sequence);
      if (bytes.length > MAX_ENTRY_SIZE) throw malformed('is larger than any may be');
      const read = decodeEntry(bytes, this.#sequence);
      if (read.content?.offset !== entry.content?.offset || read.linkGroup !== entry.linkGroup) {
        throw malformed('does not follow on from those before it');
      }
      const { kind, content, linkGroup } = read;
      // The path that was read is a view of memory that the next entry is written to.
      this.#sequence.take({ path: entry.path, kind, content, linkGroup });
      return bytes;
    } catch (cause) {
      if (!isVaultError(cause) && !(cause instanceof RangeError)) throw cause;
      const why = isVaultError(cause) ? cause.message : 'A name in it is too long, or a number too large.';
      throw invalidInput(`"${entry.path.toString()}" cannot be stored: ${why}`, cause);
    }
  }

  get totals(): FolderTotals {
    const { entries, size, contentSize } = this.#sequence;
    return { entries, size, contentSize };
  }
}

/** Reads an index from its bytes, in pieces as they come, in the memory of an entry. */
export class EntryDecoder {
  readonly #expected: FolderTotals;
  readonly #sequence = new EntrySequence();
  /** The beginning of an entry whose end has not come. */
  #rest: Buffer = Buffer.alloc(0);

  /** @param expected what the manifest says of the folder */
  constructor(expected: FolderTotals) {
    this.#expected = expected;
  }

  /**
   * The entries that end in the next bytes. They have memory of their own.
   *
   * @param isWanted tells which are given back, each in its turn; it sees them while the bytes are there
   * @throws `damaged`
   */
  push(bytes: Uint8Array, isWanted?: (entry: FolderEntry) => boolean): FolderEntry[] {
    const entries: FolderEntry[] = [];
    const run = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const from = Buffer.from(run.buffer, run.byteOffset, run.byteLength);
    let at = 0;
    while (at + 4 <= from.length) {
      const size = from.readUInt32BE(at);
      if (size < MIN_ENTRY_SIZE || size > MAX_ENTRY_SIZE) throw malformed('has an impossible length');
      if (at + size > from.length) break;
      const own = from.subarray(at, at + size);
      const entry = decodeEntry(isWanted === undefined ? Buffer.from(own) : own, this.#sequence);
      if (isWanted === undefined) entries.push(entry);
      else if (isWanted(entry)) entries.push(decodeEntry(Buffer.from(own), this.#sequence));
      this.#sequence.take(entry);
      at += size;
    }
    this.#sequence.rest();
    this.#rest = Buffer.from(from.subarray(at));
    return entries;
  }

  /** @throws `damaged` if the index is not all there, or is not what the manifest says */
  end(): void {
    if (this.#rest.length > 0) throw malformed('is cut short');
    const { entries, size, contentSize } = this.#sequence;
    const { entries: count, size: bytes, contentSize: data } = this.#expected;
    if (entries !== count || size !== bytes || contentSize > data) {
      throw new VaultError('damaged', "A folder's index has other entries than its manifest says.");
    }
  }
}

/** What holds between an entry and those before it. */
class EntrySequence implements EntryContext {
  entries = 0;
  size = 0;
  contentSize = 0;
  groups = 0;
  #last: { readonly path: Buffer; readonly isFolder: boolean } | null = null;

  /** @throws `damaged` if the entry cannot be the next */
  take({
    path,
    kind,
    content,
    linkGroup,
  }: Pick<FolderEntry, 'path' | 'kind' | 'content' | 'linkGroup'>): void {
    const isFolder = kind === 'folder';
    if (this.#last === null) {
      if (path.length > 0 || !isFolder) throw malformed('comes first, and is not the folder itself');
    } else {
      if (!isPath(path)) throw malformed('has an impossible path');
      if (comparePaths(this.#last.path, path) >= 0) throw malformed('is out of order, or there twice');
      if (!isInside(path, this.#last)) throw malformed('lies in what is no folder');
    }
    this.#last = { path, isFolder };
    this.entries += 1;
    if (content === null) return;
    if (linkGroup !== null) this.groups += 1;
    this.size += content.size;
    this.contentSize = content.offset + dataSize(content);
    if (this.size > MAX_FILE_SIZE || this.contentSize > MAX_FILE_SIZE)
      throw malformed('makes its folder too large');
  }

  /** The memory of the last entry is used for other things from now on. */
  rest(): void {
    if (this.#last !== null) this.#last = { ...this.#last, path: Buffer.from(this.#last.path) };
  }
}

/** Whether every part is a name: not empty, "." or "..", without NUL. */
function isPath(path: Buffer): boolean {
  if (path.includes(0)) return false;
  for (let from = 0; from <= path.length;) {
    const slash = path.indexOf(SLASH, from);
    const end = slash === -1 ? path.length : slash;
    const size = end - from;
    const isDots = path[from] === DOT && (size === 1 || (size === 2 && path[from + 1] === DOT));
    if (size === 0 || isDots) return false;
    from = end + 1;
  }
  return true;
}

/**
 * Whether a path's parent is a folder that has come: the last entry, or a folder that the last entry lies in. There is no
 * other, since what lies in a folder follows it without a gap.
 */
function isInside(path: Buffer, last: { readonly path: Buffer; readonly isFolder: boolean }): boolean {
  const parent = path.subarray(0, Math.max(0, path.lastIndexOf(SLASH)));
  if (parent.length > last.path.length) return false;
  if (!last.path.subarray(0, parent.length).equals(parent)) return false;
  if (parent.length === last.path.length) return last.isFolder;
  return parent.length === 0 || last.path[parent.length] === SLASH;
}
