/** Reads a folder of this machine for being stored: from groups of its entries to bodies of chunks, and to the index of what was read. */
import { lotOf } from '../../crypto/cutting.ts';
import { throwIfAborted, VaultError } from '../../errors.ts';
import type { Lender } from '../../concurrency/semaphore.ts';
import { dataSize, EntryEncoder, isIndexEnd, MOST_INDEX_BODY } from '../../format/folder-index.ts';
import type { EntryContent, FolderEntry, FolderTotals } from '../../format/folder-index.ts';
import { MAX_CUT_SIZE } from '../../format/limits.ts';
import { INLINE_SIZE } from '../../format/manifest.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import { bodyOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import type { Accounts } from '../folders/accounts.ts';
import { shown } from '../folders/disk-path.ts';
import { LARGE_FILE_SIZE } from '../folders/grouping.ts';
import type { Member } from '../folders/grouping.ts';
import type { GroupPart, KnownData } from '../folders/group-parts.ts';
import type { FileFacts, LoggedGroup, ReadGroup } from '../folders/local-log.ts';
import { missedBy, reason } from '../folders/scan.ts';
import type { FileState, Missed, ScannedEntry } from '../folders/scan.ts';
import { openScanned } from '../folders/scanned-file.ts';
import type { ScannedFile } from '../folders/scanned-file.ts';
import { bodiesOf } from './content.ts';
import { ContentCutter } from './content-cutter.ts';
import { cutByContent } from './cut-by-content.ts';

/** An entry in its group. */
export interface TreeMember extends Member {
  readonly scanned: ScannedEntry;
  /** Whether it is a file, and the first of its paths. */
  readonly hasContent: boolean;
}

/** What the writer is told, in order: bytes to store, a chunk that is stored, and the end of a group. */
export type Piece =
  | { readonly kind: 'content' | 'index'; readonly memory: ChunkMemory; readonly length: number }
  | { readonly kind: 'known'; readonly ref: ChunkRef }
  | { readonly kind: 'end'; readonly group: ReadGroup | LoggedGroup | null };

export interface TreeReaderOptions {
  readonly root: string;
  readonly accounts: Accounts;
  /** The key for cutting, 32 bytes. */
  readonly cut: Buffer;
  readonly contentMemory: Lender<ChunkMemory>;
  readonly indexMemory: Lender<ChunkMemory>;
  readonly signal: AbortSignal;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onMissed: (missed: Missed) => void;
  /** Told of bytes of files that have been read, or need not be. */
  readonly onBytes: (count: number) => void;
}

export class TreeReader {
  readonly #options: TreeReaderOptions;
  readonly #encoder = new EntryEncoder();
  readonly #lot: (name: Uint8Array) => number;
  /** Entries of the index that are in no chunk yet, and of those the ones that make whole chunks. */
  readonly #entries = Buffer.allocUnsafeSlow(MOST_INDEX_BODY);
  #entriesSize = 0;
  #bodies: Buffer[] = [];
  /** Link groups whose content is stored: from the scan's number to that of the index. */
  readonly #links = new Map<number, number>();
  indexSize = 0;
  /** Bytes of content so far. */
  contentSize = 0;
  /** Files so far, each hard link's once. */
  files = 0;
  /** The index itself where it is small; set at the end. */
  inlineIndex: Buffer | null = null;
  /** The folder itself. */
  root: FolderEntry | null = null;

  constructor(options: TreeReaderOptions) {
    this.#options = options;
    this.#lot = lotOf(options.cut);
  }

  get totals(): FolderTotals {
    return this.#encoder.totals;
  }

  /**
   * @param groups of parts
   * @throws `invalid-input` if the index cannot have an entry; `interrupted`
   */
  async *pieces(
    groups: AsyncIterable<readonly GroupPart<TreeMember>[]>,
  ): AsyncGenerator<Piece, void, undefined> {
    let isCut = false;
    for await (const parts of groups) {
      throwIfAborted(this.#options.signal);
      const [first] = parts;
      const whole = first?.known?.whole ?? null;
      if (first !== undefined && first.known !== null && whole !== null) {
        yield* this.#refer(first.members, first.known, null);
        yield { kind: 'end', group: whole };
      } else {
        const read = new GroupRead(this.#options.now(), this.contentSize);
        for (const { members, known } of parts) {
          yield* known === null ? this.#read(members, read) : this.#refer(members, known, read);
        }
        yield { kind: 'end', group: read.finish(this.contentSize) };
      }
      for (const body of this.#bodies.splice(0)) {
        isCut = true;
        yield await this.#indexPiece(body);
      }
    }
    const rest = this.#takeEntries();
    if (!isCut && rest.length <= INLINE_SIZE) this.inlineIndex = rest;
    else if (rest.length > 0) yield await this.#indexPiece(rest);
  }

  async #indexPiece(body: Buffer): Promise<Piece> {
    const memory = await this.#options.indexMemory.borrow();
    bodyOf(memory).set(body);
    return { kind: 'index', memory, length: body.length };
  }

  /** Files whose chunks are stored, and which are as they were. @param read told of them; null: nobody need be */
  *#refer(
    members: readonly TreeMember[],
    known: KnownData,
    read: GroupRead | null,
  ): Generator<Piece, void, undefined> {
    const { extents, gaps } = known;
    let at = this.contentSize;
    let file = 0;
    for (const member of members) {
      const { entry, state } = member.scanned;
      if (!isToRead(member)) {
        this.#add(entry, member.hasContent ? NO_CONTENT : null);
        continue;
      }
      const content = { size: state.size, extents, offset: at + (gaps?.[file] ?? 0) };
      this.#add(entry, content);
      read?.add(factsOf(entry.path, state), content);
      at = content.offset + dataSize(content);
      file += 1;
    }
    for (const ref of known.refs()) {
      this.contentSize += ref.length;
      yield { kind: 'known', ref };
    }
  }

  async *#read(members: readonly TreeMember[], group: GroupRead): AsyncGenerator<Piece, void, undefined> {
    const { contentMemory } = this.#options;
    let body: ChunkMemory | null = null;
    let filled = 0;
    const flush = (): Piece[] => {
      if (body === null) return [];
      const piece: Piece = { kind: 'content', memory: body, length: filled };
      this.contentSize += filled;
      [body, filled] = [null, 0];
      if (piece.length > 0) return [piece];
      contentMemory.giveBack(piece.memory);
      return [];
    };
    try {
      for (const member of members) {
        const { scanned, hasContent } = member;
        if (!isToRead(member)) {
          this.#add(scanned.entry, hasContent ? NO_CONTENT : null);
          continue;
        }
        const file = await this.#open(scanned);
        if (file === null) {
          group.isSure = false;
          continue;
        }
        try {
          const { size } = file.state;
          const isLarge = size >= LARGE_FILE_SIZE;
          if (isLarge || size > MAX_CUT_SIZE - filled) yield* flush();
          const [start, offset] = [filled, this.contentSize + filled];
          if (isLarge) yield* this.#cut(file);
          else {
            body ??= await contentMemory.borrow();
            filled += await file.read(bodyOf(body).subarray(filled, filled + size));
          }
          const read = await file.finish();
          // Also of one that failed: it was to have more.
          if (read.changed) group.isSure = false;
          // What has gone on its way already cannot be left out.
          if (read.failure !== null && !isLarge) {
            filled = start;
            this.#options.onMissed(missedBy(scanned.entry.path, read.failure));
            continue;
          }
          this.#tellOf(file.entry.path, read);
          const content = { size: read.size, extents: read.extents, offset };
          this.#add(file.entry, content);
          group.add(factsOf(file.entry.path, file.state), content);
          this.#options.onBytes(read.size);
        } finally {
          await file.close();
        }
      }
      yield* flush();
    } finally {
      if (body !== null) contentMemory.giveBack(body);
    }
  }

  async *#cut(file: ScannedFile): AsyncGenerator<Piece, void, undefined> {
    const { contentMemory, cut, signal } = this.#options;
    const read = (target: Uint8Array): Promise<number> => {
      throwIfAborted(signal);
      return file.read(target);
    };
    const chunks = cutByContent(read, bodiesOf(contentMemory, MAX_CUT_SIZE), new ContentCutter(cut));
    for await (const { memory, length } of chunks) {
      this.contentSize += length;
      yield { kind: 'content', memory, length };
    }
  }

  async #open(scanned: ScannedEntry): Promise<ScannedFile | null> {
    const { root, accounts, onMissed } = this.#options;
    try {
      return await openScanned(root, scanned, accounts);
    } catch (error) {
      onMissed(missedBy(scanned.entry.path, error));
      return null;
    }
  }

  #tellOf(
    path: Buffer,
    { changed, failure }: { readonly changed: boolean; readonly failure: unknown },
  ): void {
    if (!changed) return;
    const message =
      failure === null
        ? `${shown(path)} changed while it was read: what is stored of it may be a mixture.`
        : `${shown(path)} could not be read to its end, and is stored as far as it could: ${reason(failure)}.`;
    this.#options.onMissed({ path, why: 'changed', message });
  }

  /** Adds an entry to the index. @param content of a file; null for another path of one that has come, and for what is no file */
  #add(entry: FolderEntry, content: EntryContent | null): void {
    this.root ??= entry;
    if (content !== null) this.files += 1;
    const { path, linkGroup: link } = entry;
    let linkGroup: number | null = null;
    if (link !== null) {
      if (content !== null) this.#links.set(link, this.#links.size + 1);
      linkGroup = this.#links.get(link) ?? null;
      if (linkGroup === null) {
        const message = `${shown(path)} is another path of a file that could not be read.`;
        this.#options.onMissed({ path, why: 'unreadable', message });
        return;
      }
    }
    // What has no data has it right behind that of the file before.
    const offset =
      content === null || dataSize(content) === 0 ? this.#encoder.totals.contentSize : content.offset;
    const moved = content === null || content.offset === offset ? content : { ...content, offset };
    const bytes = this.#encoder.encode({ ...entry, linkGroup, content: moved });
    this.#entries.set(bytes, this.#entriesSize);
    this.#entriesSize += bytes.length;
    this.indexSize += bytes.length;
    if (!isIndexEnd(() => this.#lot(path), this.#entriesSize)) return;
    this.#bodies.push(this.#takeEntries());
  }

  #takeEntries(): Buffer {
    const taken = Buffer.from(this.#entries.subarray(0, this.#entriesSize));
    this.#entriesSize = 0;
    return taken;
  }
}

/** Of an empty file. */
const NO_CONTENT: EntryContent = { size: 0, offset: 0, extents: null };

/** What is to be remembered of a group. */
class GroupRead {
  /** Whether all its files are as they were before they were read. */
  isSure = true;
  readonly #readAtMs: number;
  readonly #files: FileFacts[] = [];
  readonly #gaps: number[] = [];
  #extents: EntryContent['extents'] = null;
  /** Where the data of the last file ends. */
  #end: number;

  /** @param start where in the content its chunks begin */
  constructor(readAtMs: number, start: number) {
    this.#readAtMs = readAtMs;
    this.#end = start;
  }

  add(file: FileFacts, content: EntryContent): void {
    this.#files.push(file);
    this.#gaps.push(content.offset - this.#end);
    this.#end = content.offset + dataSize(content);
    this.#extents ??= content.extents;
  }

  /** @param end where in the content its chunks end */
  finish(end: number): ReadGroup | null {
    // Holes are remembered of a file alone.
    if (!this.isSure || (this.#extents !== null && this.#files.length > 1)) return null;
    const gaps = [...this.#gaps, end - this.#end];
    const hasGaps = gaps.some((gap) => gap > 0);
    return {
      files: this.#files,
      extents: this.#extents,
      gaps: hasGaps ? gaps : null,
      readAtMs: this.#readAtMs,
    };
  }
}

/** Whether there are bytes of it to be read. */
export function isToRead({ hasContent, size }: TreeMember): boolean {
  return hasContent && size > 0;
}

export function factsOf(path: Buffer, { inode, ctimeNs, mtimeNs, size }: FileState): FileFacts {
  return { path, inode, ctimeNs, mtimeNs, size };
}

/** The folder itself is told first. @throws if it was not: a bug */
export function rootOf({ root }: Pick<TreeReader, 'root'>): FolderEntry {
  if (root === null) throw new VaultError('source-changed', 'The folder could not be read.');
  return root;
}
