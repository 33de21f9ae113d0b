/** A stored folder: its entries, and their content. */
import { VaultError } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import { dataSize } from '../../format/folder-index.ts';
import type { FolderEntry, FolderTotals } from '../../format/folder-index.ts';
import type { FolderPart } from '../../format/manifest.ts';
import type { CallOptions } from '../call.ts';
import type { FileInfo } from '../files/records.ts';
import { openStored, readContent, storedFile } from '../read/get.ts';
import type { ContentOptions, GetOptions, OpenedStored, StoredFile } from '../read/get.ts';
import type { Session } from '../session.ts';
import { contentReader } from './content-runs.ts';
import type { RunAt } from './content-runs.ts';
import { RangeReader, Ranges } from './range-reader.ts';
import { entriesOf, selectStored, type SelectedEntry } from './selection.ts';
import type { Wanted } from './selection.ts';
import type { ReadContent } from './with-holes.ts';

export interface StoredFolder extends FileInfo {
  /** Bytes of its files, also of a locked one. */
  readonly contentSize: number;
  /** Entries, itself included. */
  readonly entryCount: number;
  /**
   * Its entries in order, itself first, without reading content.
   *
   * @throws as a file's content
   */
  list(options?: CallOptions): AsyncGenerator<FolderEntry, void, undefined>;
  /**
   * Entries to be restored.
   *
   * @param wanted null: all
   * @throws `file-not-found` if there are none
   */
  select(wanted: Wanted | null, options?: Omit<ContentOptions, 'start' | 'end'>): Promise<SelectedEntries>;
}

export interface SelectedEntries {
  /** How many they are, without folders that are there because of what is in them. */
  readonly count: number;
  /** Bytes of their files. */
  readonly size: number;
  /** What was wanted by its path, if it is no folder. */
  readonly only: FolderEntry | null;
  entries(): AsyncGenerator<FolderEntry, void, undefined>;
  /** What `entriesOf` makes the same entries of, also in another thread; null where only this one can tell what is wanted. */
  readonly index: StoredIndex | null;
  /**
   * Reads only the chunks that it takes. Close it when nothing more is read.
   *
   * @param busy threads beside the main one that whoever reads keeps busy; none unless given
   */
  reader(busy?: number): { readonly readContent: ReadContent; readonly runAt: RunAt; close(): Promise<void> };
}

export interface StoredIndex {
  readonly totals: FolderTotals;
  readonly wanted: { readonly path: Buffer } | null;
  /** Each run is valid until the next one is asked for. */
  bytes(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** What a reference means. */
export type Stored =
  | { readonly kind: 'file'; readonly file: StoredFile }
  /** `path`: what is behind the folder's name; '' for the folder itself. */
  | { readonly kind: 'folder'; readonly folder: StoredFolder; readonly path: string };

/** See `Vault.find`. */
export async function findStored(
  session: Session,
  reference: string,
  options: GetOptions = {},
): Promise<Stored> {
  let unknown: unknown = null;
  for (let end = reference.length; end > 0; end = reference.lastIndexOf('/', end - 1)) {
    const path = reference.slice(end + 1);
    try {
      const opened = await openStored(session, reference.slice(0, end), options);
      const { folder } = opened.content;
      if (folder !== null) return { kind: 'folder', folder: storedFolder(session, opened, folder), path };
      if (end === reference.length) return { kind: 'file', file: storedFile(session, opened) };
    } catch (error) {
      if (!(error instanceof VaultError) || error.code !== 'file-not-found') throw error;
      unknown ??= error;
    }
  }
  throw unknown ?? new VaultError('file-not-found', `No file has the name "${reference}".`);
}

function storedFolder(session: Session, opened: OpenedStored, part: FolderPart): StoredFolder {
  const { info, content, explain } = opened;
  const { size: contentSize, entries: entryCount } = part;
  const totals = { entries: entryCount, size: contentSize, contentSize: content.table.size };
  const explained = async function* <T>(what: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    try {
      yield* what;
    } catch (error) {
      throw await explain(error);
    }
  };
  const indexBytes = ({ signal, onWarning }: CallOptions): AsyncGenerator<Uint8Array, void, undefined> =>
    readContent(session, { table: part.index, chunks: info.indexChunks }, { signal, onWarning });
  const list = (options: CallOptions = {}): AsyncGenerator<FolderEntry, void, undefined> =>
    explained(entriesOf(indexBytes(options), totals, null));
  return {
    ...info,
    contentSize,
    entryCount,
    list,
    async select(wanted, options = {}) {
      const found = await measure(explained(selectStored(indexBytes(options), totals, wanted)), wanted, {
        entryCount,
        contentSize,
      });
      if (found.count === 0) {
        const what =
          wanted !== null && 'path' in wanted ? `called "${wanted.path.toString()}"` : 'of that pattern';
        const rest = info.name.startsWith('-') ? '-- ' : '';
        throw new VaultError(
          'file-not-found',
          `The folder "${info.name}" has no entry ${what}. "vault ls ${rest}${typedWord(`${info.name}/`)}" lists them.`,
        );
      }
      const { only, isWanted } = found;
      const isTold = wanted === null || 'path' in wanted;
      return {
        ...found,
        async *entries() {
          if (only !== null) yield only;
          else yield* explained(entriesOf(indexBytes(options), totals, wanted));
        },
        index: isTold ? { totals, wanted, bytes: () => explained(indexBytes(options)) } : null,
        reader(busy = 0) {
          const opening = Math.max(1, session.workers.most - busy);
          // Else whatever writes would wait while this thread opens the first of them.
          session.workers.warm(Math.min(opening, info.chunks), 'open', found.size);
          const ranges = new RangeReader(
            session,
            { table: content.table, chunks: info.chunks },
            { ...options, isWanted, opening },
          );
          const runAt: RunAt = async (offset) => {
            try {
              return await ranges.runAt(offset);
            } catch (error) {
              throw await explain(error);
            }
          };
          return { readContent: contentReader(runAt), runAt, close: () => ranges.close() };
        },
      };
    },
  };
}

/** What is wanted, together. Of all of a folder its manifest says it. */
async function measure(
  entries: AsyncIterable<SelectedEntry>,
  wanted: Wanted | null,
  whole: { readonly entryCount: number; readonly contentSize: number },
): Promise<
  Pick<SelectedEntries, 'count' | 'size' | 'only'> & {
    isWanted: (span: { start: number; end: number }) => boolean;
  }
> {
  if (wanted === null) {
    return { count: whole.entryCount, size: whole.contentSize, only: null, isWanted: () => true };
  }
  const ranges = new Ranges();
  let count = 0;
  let size = 0;
  let only: FolderEntry | null = null;
  for await (const { entry, isParent } of entries) {
    if (isParent) continue;
    count += 1;
    const { content } = entry;
    if ('path' in wanted && entry.path.length === 0 && entry.kind !== 'folder') only = entry;
    if (content === null) continue;
    size += content.size;
    ranges.add(content.offset, dataSize(content));
  }
  return { count, size, only, isWanted: ranges.lookup() };
}
