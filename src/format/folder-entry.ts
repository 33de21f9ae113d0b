/** One entry of a folder's index: a file, a folder or something else in the tree. FORMAT.md, "Index of a folder". */
import { isUtf8 } from 'node:buffer';
import { VaultError } from '../errors.ts';
import type { FileTime } from './file-time.ts';
import { GrowingBytes } from './growing-bytes.ts';
import { MAX_ATTRIBUTE_SIZE, MAX_FILE_SIZE, MAX_TIME_SECONDS } from './limits.ts';

export type EntryKind = 'file' | 'folder' | 'symlink' | 'fifo' | 'block-device' | 'char-device';

export interface FolderEntry {
  /** Bytes, relative, parts joined by "/", none of them empty, "." or "..", no NUL. '' is the folder itself and comes first. */
  readonly path: Buffer;
  readonly kind: EntryKind;
  /** Permission bits, 0 to 0o7777; null if unknown. */
  readonly mode: number | null;
  readonly owner: EntryOwner | null;
  readonly modified: FileTime | null;
  /** Of a file: what was read of it. Null for a path of a file that has come before, and for all that is no file. */
  readonly content: EntryContent | null;
  /** Of a symlink: the target's bytes. */
  readonly target: Buffer | null;
  /**
   * Files with the same number are one file with several paths, of which the first has the content. Groups are numbered from 1 in
   * the order of their first paths. Null for a file that has one path.
   */
  readonly linkGroup: number | null;
  readonly device: { readonly major: number; readonly minor: number } | null;
  /** Extended attributes, sorted by name. */
  readonly attributes: readonly EntryAttribute[];
}

export interface EntryOwner {
  readonly uid: number;
  readonly gid: number;
  readonly user: string | null;
  readonly group: string | null;
}

export interface EntryContent {
  /** Bytes of the file, holes included. */
  readonly size: number;
  /** Where its data begins in the content stream: where that of the file before ends, or behind a gap below 4 GiB. */
  readonly offset: number;
  /** The data of a sparse file, in order, which is not all of it; null: all of it. */
  readonly extents: readonly Extent[] | null;
}

/** Data between holes: bytes from the file's start, and how many. The content stream has the data alone. */
export interface Extent {
  readonly start: number;
  readonly length: number;
}

export interface EntryAttribute {
  readonly name: Buffer;
  readonly value: Buffer;
}

/** Bytes that a file has in the content stream. */
export function dataSize({ size, extents }: Pick<EntryContent, 'size' | 'extents'>): number {
  return extents === null ? size : extents.reduce((sum, { length }) => sum + length, 0);
}

/** What an entry takes from those before it. */
export interface EntryContext {
  /** Where the data of the files so far ends in the content. */
  readonly contentSize: number;
  /** Link groups so far. */
  readonly groups: number;
}

const KINDS: readonly (EntryKind | null)[] = [
  null,
  'file',
  'folder',
  'symlink',
  'fifo',
  'block-device',
  'char-device',
];
/** Bits of the byte that says which fields there are. */
const HAS = { mode: 1, owner: 2, modified: 4, attributes: 8, extents: 16, gap: 32 } as const;
const ALL_FIELDS = 63;
/** Those that only what has data can have. */
const OF_DATA = HAS.extents | HAS.gap;
/** A file's link: it has one path; it begins a group; or more, the how-manieth last group it belongs to, plus one. */
const ONE_PATH = 0;
const NEW_GROUP = 1;

// --- writing ------------------------------------------------------------------------------------------

/** Writes entries, one after another in the same memory. */
export class EntryWriter {
  readonly #bytes = new GrowingBytes();

  /**
   * The bytes of an entry, until the next one is written. It is on the caller to read them again: not all that is out of bounds
   * is noticed here.
   *
   * @throws RangeError for what its field has no room for
   */
  write(entry: FolderEntry, { groups, contentSize }: EntryContext): Buffer {
    const { path, kind, mode, owner, modified, content, attributes } = entry;
    const extents = content?.extents ?? null;
    const gap = content === null ? 0 : content.offset - contentSize;
    const bytes = this.#bytes;
    bytes.start();
    bytes.u8(KINDS.indexOf(kind));
    bytes.u8(
      (mode === null ? 0 : HAS.mode) |
        (owner === null ? 0 : HAS.owner) |
        (modified === null ? 0 : HAS.modified) |
        (attributes.length === 0 ? 0 : HAS.attributes) |
        (extents === null ? 0 : HAS.extents) |
        (gap === 0 ? 0 : HAS.gap),
    );
    bytes.u16(path.length);
    bytes.bytes(path);
    if (mode !== null) bytes.u16(mode);
    if (owner !== null) {
      bytes.u32(owner.uid);
      bytes.u32(owner.gid);
      for (const name of [owner.user, owner.group]) bytes.shortText(name ?? '');
    }
    if (modified !== null) {
      bytes.i64(modified.seconds);
      bytes.u32(modified.nanoseconds);
    }
    writeKind(bytes, entry, { groups, gap });
    if (attributes.length > 0) {
      bytes.u16(attributes.length);
      for (const { name, value } of attributes) {
        bytes.u8(name.length);
        bytes.bytes(name);
        bytes.u32(value.length);
        bytes.bytes(value);
      }
    }
    return bytes.finish();
  }
}

function writeKind(
  bytes: GrowingBytes,
  entry: FolderEntry,
  { groups, gap }: { readonly groups: number; readonly gap: number },
): void {
  const { kind, content, linkGroup, target, device } = entry;
  if (kind === 'file') {
    bytes.u32(linkOf(linkGroup, content !== null, groups));
    if (content === null) return;
    bytes.i64(content.size);
    if (gap !== 0) bytes.u32(gap);
    if (content.extents === null) return;
    bytes.u16(content.extents.length);
    for (const { start, length } of content.extents) {
      bytes.i64(start);
      bytes.i64(length);
    }
  }
  if (kind === 'symlink') {
    bytes.u16(target?.length ?? 0);
    bytes.bytes(target ?? Buffer.alloc(0));
  }
  if (kind === 'block-device' || kind === 'char-device') {
    bytes.u32(device?.major ?? 0);
    bytes.u32(device?.minor ?? 0);
  }
}

/** Groups are told by how many have begun since: so one more file with two paths changes no other file's entry. */
function linkOf(linkGroup: number | null, hasContent: boolean, groups: number): number {
  if (hasContent) return linkGroup === null ? ONE_PATH : NEW_GROUP;
  return groups - (linkGroup ?? 0) + 2;
}

// --- reading ------------------------------------------------------------------------------------------

/**
 * An entry from its bytes. Whether it can follow those before it is for the caller to check.
 *
 * @param bytes all of it, its length included; the entry has views of it
 * @throws `damaged`
 */
export function decodeEntry(bytes: Buffer, context: EntryContext): FolderEntry {
  const from = new EntryReader(bytes, 4);
  const kind = KINDS[from.u8()] ?? null;
  if (kind === null) throw malformed('is of no kind');
  const has = from.u8();
  if (has > ALL_FIELDS) throw malformed('has fields that the format does not know');
  const path = from.bytes(from.u16());
  const common = {
    path,
    kind,
    mode: (has & HAS.mode) === 0 ? null : from.upTo(0o7777, from.u16()),
    owner: (has & HAS.owner) === 0 ? null : readOwner(from),
    modified: (has & HAS.modified) === 0 ? null : readModified(from),
  };
  const own = readKind(from, kind, { has, context });
  const attributes = (has & HAS.attributes) === 0 ? [] : readAttributes(from);
  from.end();
  return { ...common, ...own, attributes };
}

/** The owner that was read last, and its bytes: nearly all entries have that of the one before. */
let lastOwner: { readonly bytes: Buffer; readonly owner: EntryOwner } | null = null;

function readOwner(from: EntryReader): EntryOwner {
  if (lastOwner !== null && from.skip(lastOwner.bytes)) return lastOwner.owner;
  const start = from.at;
  const owner = { uid: from.u32(), gid: from.u32(), user: from.shortText(), group: from.shortText() };
  lastOwner = { bytes: from.copy(start), owner };
  return owner;
}

function readModified(from: EntryReader): FileTime {
  const seconds = from.i64();
  if (Math.abs(seconds) > MAX_TIME_SECONDS) throw malformed('has an impossible time');
  return { seconds, nanoseconds: from.upTo(999_999_999, from.u32()) };
}

const NOTHING = { content: null, target: null, linkGroup: null, device: null } as const;

function readKind(
  from: EntryReader,
  kind: EntryKind,
  { has, context }: { readonly has: number; readonly context: EntryContext },
): Pick<FolderEntry, 'content' | 'target' | 'linkGroup' | 'device'> {
  if (kind === 'file') return { ...NOTHING, ...readFile(from, has, context) };
  if ((has & OF_DATA) !== 0) throw malformed('has data, and is no file');
  switch (kind) {
    case 'symlink': {
      const target = from.bytes(from.u16());
      if (target.length === 0 || target.includes(0)) throw malformed('has an impossible target');
      return { ...NOTHING, target };
    }
    case 'block-device':
    case 'char-device':
      return { ...NOTHING, device: { major: from.u32(), minor: from.u32() } };
    case 'folder':
    case 'fifo':
      return NOTHING;
  }
}

function readFile(
  from: EntryReader,
  has: number,
  { contentSize, groups }: EntryContext,
): Pick<FolderEntry, 'content' | 'linkGroup'> {
  const link = from.u32();
  if (link > NEW_GROUP) {
    const linkGroup = groups - link + 2;
    if ((has & OF_DATA) !== 0 || linkGroup < 1) {
      throw malformed('is the path of a file that has not come before');
    }
    return { content: null, linkGroup };
  }
  const linkGroup = link === NEW_GROUP ? groups + 1 : null;
  const size = from.u64();
  const hasGap = (has & HAS.gap) !== 0;
  const gap = hasGap ? from.u32() : 0;
  const extents = (has & HAS.extents) === 0 ? null : readExtents(from, size);
  if (hasGap && (gap === 0 || dataSize({ size, extents }) === 0)) throw malformed('has a gap before nothing');
  return { content: { size, offset: contentSize + gap, extents }, linkGroup };
}

/** In order, with holes between them, and not all of the file: so a file's data is told in one way. */
function readExtents(from: EntryReader, size: number): Extent[] {
  let end = -1;
  let data = 0;
  const extents = Array.from({ length: from.u16() }, () => {
    const start = from.u64();
    const length = from.u64();
    if (start <= end || length === 0 || start + length > size) throw malformed('has impossible extents');
    end = start + length;
    data += length;
    return { start, length };
  });
  if (data === size) throw malformed('has extents without a hole');
  return extents;
}

function readAttributes(from: EntryReader): EntryAttribute[] {
  let last: Buffer | null = null;
  const attributes = Array.from({ length: from.u16() }, () => {
    const name = from.bytes(from.u8());
    if (name.length === 0 || name.includes(0)) throw malformed('has an attribute with an impossible name');
    if (last !== null && last.compare(name) >= 0) throw malformed('has attributes out of order');
    last = name;
    return { name, value: from.bytes(from.upTo(MAX_ATTRIBUTE_SIZE, from.u32())) };
  });
  if (attributes.length === 0) throw malformed('has attributes, and none');
  return attributes;
}

class EntryReader {
  readonly #source: Buffer;
  #at: number;

  constructor(source: Buffer, at: number) {
    this.#source = source;
    this.#at = at;
  }

  u8(): number {
    return this.#source.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#source.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#source.readUInt32BE(this.#take(4));
  }

  /** As far as numbers are exact. */
  u64(): number {
    const value = this.i64();
    if (value < 0 || value > MAX_FILE_SIZE) throw malformed('has an impossible size');
    return value;
  }

  i64(): number {
    const at = this.#take(8);
    return this.#source.readInt32BE(at) * 2 ** 32 + this.#source.readUInt32BE(at + 4);
  }

  bytes(size: number): Buffer {
    const at = this.#take(size);
    return this.#source.subarray(at, at + size);
  }

  get at(): number {
    return this.#at;
  }

  /** The bytes from some place to where reading goes on. */
  copy(start: number): Buffer {
    return Buffer.from(this.#source.subarray(start, this.#at));
  }

  /** Goes on behind some bytes, if they come next. @returns whether they do */
  skip(bytes: Buffer): boolean {
    const end = this.#at + bytes.length;
    if (end > this.#source.length || this.#source.compare(bytes, 0, bytes.length, this.#at, end) !== 0)
      return false;
    this.#at = end;
    return true;
  }

  /** A name; null for none. */
  shortText(): string | null {
    const bytes = this.bytes(this.u8());
    if (bytes.length === 0) return null;
    if (bytes.includes(0) || !isUtf8(bytes)) throw malformed('has an impossible name');
    return bytes.toString();
  }

  upTo(most: number, value: number): number {
    if (value > most) throw malformed('has a field out of bounds');
    return value;
  }

  end(): void {
    if (this.#at !== this.#source.length) throw malformed('is longer than what it says');
  }

  #take(size: number): number {
    const at = this.#at;
    this.#at += size;
    if (this.#at > this.#source.length) throw malformed('is shorter than what it says');
    return at;
  }
}

/** The error for bytes that no index has. */
export function malformed(what: string): VaultError {
  return new VaultError('damaged', `An entry of a folder's index ${what}.`);
}
