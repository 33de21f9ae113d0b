/** Reads a folder of this machine for being stored: from groups of its entries to bodies of chunks, and to the index of what was read. */
import { lotOf } from '../../crypto/cutting.ts';
import { throwIfAborted, VaultError } from '../../errors.ts';
import type { Lender } from '../../concurrency/semaphore.ts';
import { EntryEncoder, isIndexEnd } from '../../format/folder-index.ts';
import type { EntryContent, FolderEntry, FolderTotals } from '../../format/folder-index.ts';
import { MAX_CUT_SIZE } from '../../format/limits.ts';
import { INLINE_SIZE } from '../../format/manifest.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import { bodyOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import type { Accounts } from '../folders/accounts.ts';
import { shown } from '../folders/disk-path.ts';
import { LARGE_FILE_SIZE } from '../folders/grouping.ts';
import type { Group, Member } from '../folders/grouping.ts';
import type { FileFacts, LocalLogWriter, LoggedGroup } from '../folders/local-log.ts';
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

/** A group, and what is known of it, if it is unchanged and the buckets have its chunks. */
export interface KnownGroup extends Group<TreeMember> {
  readonly logged: LoggedGroup | null;
}

/** What the writer is told, in order: bytes to store, a chunk that is stored, and the end of a group. */
export type Piece =
  | { readonly kind: 'content' | 'index'; readonly memory: ChunkMemory; readonly length: number }
  | { readonly kind: 'known'; readonly ref: ChunkRef }
  | { readonly kind: 'end'; readonly group: LoggedFiles | null };

type LoggedFiles = Exclude<Parameters<LocalLogWriter['endGroup']>[0], null>;

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
  #entries: Buffer[] = [];
  #entriesSize = 0;
  #bodies: Buffer[] = [];
  /** Link groups whose content is stored: from the scan's number to that of the index. */
  readonly #links = new Map<number, number>();
  indexSize = 0;
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

  /** @throws `invalid-input` if the index cannot have an entry; `interrupted` */
  async *pieces(groups: AsyncIterable<KnownGroup>): AsyncGenerator<Piece, void, undefined> {
    let isCut = false;
    for await (const group of groups) {
      throwIfAborted(this.#options.signal);
      yield* group.logged === null ? this.#read(group.members) : this.#refer(group.members, group.logged);
      for (const body of this.#bodies.splice(0)) {
        isCut = true;
        yield await this.#indexPiece(body);
      }
    }
    const rest = Buffer.concat(this.#entries);
    if (!isCut && rest.length <= INLINE_SIZE) this.inlineIndex = rest;
    else if (rest.length > 0) yield await this.#indexPiece(rest);
  }

  async #indexPiece(body: Buffer): Promise<Piece> {
    const memory = await this.#options.indexMemory.borrow();
    bodyOf(memory).set(body);
    return { kind: 'index', memory, length: body.length };
  }

  /** A group whose chunks are stored, and whose files are as they were. */
  *#refer(members: readonly TreeMember[], logged: LoggedGroup): Generator<Piece, void, undefined> {
    const readAtMs = this.#options.now();
    for (const { scanned, hasContent } of members) {
      const { size } = scanned.state;
      this.#add(scanned.entry, hasContent ? { size, extents: size === 0 ? null : logged.extents } : null);
    }
    for (const ref of logged.refs()) yield { kind: 'known', ref };
    const files = members.filter(isToRead).map(({ scanned }) => factsOf(scanned.entry.path, scanned.state));
    yield { kind: 'end', group: { files, extents: logged.extents, readAtMs } };
  }

  async *#read(members: readonly TreeMember[]): AsyncGenerator<Piece, void, undefined> {
    const { contentMemory } = this.#options;
    const readAtMs = this.#options.now();
    const files: FileFacts[] = [];
    let extents: EntryContent['extents'] = null;
    let isSure = true;
    let body: ChunkMemory | null = null;
    let filled = 0;
    const flush = function* (): Generator<Piece, void, undefined> {
      if (body === null) return;
      const piece: Piece = { kind: 'content', memory: body, length: filled };
      [body, filled] = [null, 0];
      if (piece.length > 0) yield piece;
      else contentMemory.giveBack(piece.memory);
    };
    try {
      for (const member of members) {
        const { scanned, hasContent } = member;
        if (!isToRead(member)) {
          this.#add(scanned.entry, hasContent ? { size: 0, extents: null } : null);
          continue;
        }
        const file = await this.#open(scanned);
        isSure &&= file !== null;
        if (file === null) continue;
        try {
          const { size } = file.state;
          const isLarge = size >= LARGE_FILE_SIZE;
          if (isLarge || size > MAX_CUT_SIZE - filled) yield* flush();
          const start = filled;
          if (isLarge) yield* this.#cut(file);
          else {
            body ??= await contentMemory.borrow();
            filled += await file.read(bodyOf(body).subarray(filled, filled + size));
          }
          const read = await file.finish();
          // Also of one that failed: it was to have more.
          if (read.changed) isSure = false;
          // What has gone on its way already cannot be left out.
          if (read.failure !== null && !isLarge) {
            filled = start;
            this.#options.onMissed(missedBy(scanned.entry.path, read.failure));
            continue;
          }
          this.#tellOf(file.entry.path, read);
          this.#add(file.entry, read);
          files.push(factsOf(file.entry.path, file.state));
          extents = read.extents;
          this.#options.onBytes(read.size);
          if (extents !== null && members.filter(isToRead).length > 1) isSure = false;
        } finally {
          await file.close();
        }
      }
      yield* flush();
    } finally {
      if (body !== null) contentMemory.giveBack(body);
    }
    yield { kind: 'end', group: isSure ? { files, extents, readAtMs } : null };
  }

  async *#cut(file: ScannedFile): AsyncGenerator<Piece, void, undefined> {
    const { contentMemory, cut, signal } = this.#options;
    const read = (target: Uint8Array): Promise<number> => {
      throwIfAborted(signal);
      return file.read(target);
    };
    const chunks = cutByContent(read, bodiesOf(contentMemory), new ContentCutter(cut));
    for await (const { memory, length } of chunks) yield { kind: 'content', memory, length };
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
  #add(entry: FolderEntry, content: Pick<EntryContent, 'size' | 'extents'> | null): void {
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
    const offset = this.#encoder.totals.contentSize;
    const bytes = this.#encoder.encode({
      ...entry,
      linkGroup,
      content: content === null ? null : { size: content.size, extents: content.extents, offset },
    });
    this.#entries.push(bytes);
    this.#entriesSize += bytes.length;
    this.indexSize += bytes.length;
    if (!isIndexEnd(() => this.#lot(path), this.#entriesSize)) return;
    this.#bodies.push(Buffer.concat(this.#entries.splice(0)));
    this.#entriesSize = 0;
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
