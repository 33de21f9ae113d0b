/** A part of a stored folder's entries. */
import { EntryDecoder } from '../../format/folder-index.ts';
import type { EntryContent, FolderEntry, FolderTotals } from '../../format/folder-index.ts';

/** An entry and all in it, by its path; or every entry that matches, by its path as text, and the folders that those lie in. */
export type Wanted = { readonly path: Buffer } | { readonly matches: (path: string) => boolean };

export interface SelectedEntry {
  /** With the content of its file if no path of that has come before, so that it can be had by this one. */
  readonly entry: FolderEntry;
  /** Whether it is there only because of what lies in it. */
  readonly isParent: boolean;
}

/**
 * The wanted entries that the bytes of an index tell of.
 *
 * @throws `damaged` if it is not the index of such a folder; what `bytes` throws
 */
export async function* entriesOf(
  bytes: AsyncIterable<Uint8Array>,
  totals: FolderTotals,
  wanted: Wanted | null,
): AsyncGenerator<FolderEntry, void, undefined> {
  for await (const { entry } of selectStored(bytes, totals, wanted)) yield entry;
}

/** As `selectEntries`, of what the bytes of an index tell of; what comes before a wanted path is no more than looked at. */
export async function* selectStored(
  bytes: AsyncIterable<Uint8Array>,
  totals: FolderTotals,
  wanted: Wanted | null,
): AsyncGenerator<SelectedEntry, void, undefined> {
  if (wanted === null || !('path' in wanted)) {
    yield* selectEntries(decoded(bytes, totals), wanted);
    return;
  }
  const decoder = new EntryDecoder(totals);
  const below = new Below(wanted.path);
  for await (const run of bytes) {
    for (const entry of decoder.push(run, (each) => below.has(each))) yield below.take(entry);
    if (below.isOver) return;
  }
  decoder.end();
}

async function* decoded(
  bytes: AsyncIterable<Uint8Array>,
  totals: FolderTotals,
): AsyncGenerator<FolderEntry, void, undefined> {
  const decoder = new EntryDecoder(totals);
  for await (const run of bytes) yield* decoder.push(run);
  decoder.end();
}

/**
 * The wanted entries in order. What is wanted by its path is the root of what comes out, and has the path ''.
 *
 * @param wanted null: all of them
 */
export async function* selectEntries(
  entries: AsyncIterable<FolderEntry>,
  wanted: Wanted | null,
): AsyncGenerator<SelectedEntry, void, undefined> {
  if (wanted === null) {
    for await (const entry of entries) yield { entry, isParent: false };
    return;
  }
  if ('path' in wanted) {
    const below = new Below(wanted.path);
    for await (const entry of entries) {
      if (below.has(entry)) yield below.take(entry);
      else if (below.isOver) return;
    }
    return;
  }
  const links = new Links();
  /** Folders around the present entry that have not been wanted so far. */
  let parents: FolderEntry[] = [];
  for await (const entry of entries) {
    parents = parents.filter(({ path }) => isIn(entry.path, path));
    if (!wanted.matches(entry.path.toString())) {
      links.pass(entry);
      if (entry.kind === 'folder') parents.push(entry);
      continue;
    }
    for (const parent of parents.splice(0)) yield { entry: parent, isParent: true };
    yield { entry: links.take(entry), isParent: false };
  }
}

/** Whether there is anything wanted. */
export async function isAnyWanted(
  entries: AsyncIterable<FolderEntry>,
  wanted: Wanted | null,
): Promise<boolean> {
  for await (const { isParent } of selectEntries(entries, wanted)) if (!isParent) return true;
  return false;
}

/** Without `isDeep` of a folder what is right in it, and of a pattern what it fits; with it all below that, too. */
export async function* entriesIn(
  entries: AsyncIterable<FolderEntry>,
  wanted: Wanted | null,
  isDeep: boolean,
): AsyncGenerator<FolderEntry, void, undefined> {
  const base = wanted !== null && 'path' in wanted ? wanted.path.toString('latin1') : '';
  let last = '';
  for await (const { entry, isParent } of selectEntries(entries, wanted)) {
    const below = entry.path.toString('latin1');
    if (isParent || (below === '' && entry.kind === 'folder')) continue;
    if (!isDeep && last !== '' && below.startsWith(`${last}/`)) continue;
    last = below;
    const path = [base, below].filter((part) => part !== '').join('/');
    yield { ...entry, path: Buffer.from(path, 'latin1') };
  }
}

const SLASH = 0x2f;

/** Whether a path lies in a folder. */
export function isIn(path: Buffer, folder: Buffer): boolean {
  if (folder.length === 0) return path.length > 0;
  return path[folder.length] === SLASH && path.subarray(0, folder.length).equals(folder);
}

/** The content of files with several paths goes to the first path that is wanted. */
class Links {
  readonly #contents = new Map<number, EntryContent>();

  pass({ linkGroup, content }: FolderEntry): void {
    if (linkGroup !== null && content !== null) this.#contents.set(linkGroup, content);
  }

  take(entry: FolderEntry): FolderEntry {
    const content = entry.linkGroup === null ? undefined : this.#contents.get(entry.linkGroup);
    if (content === undefined || entry.linkGroup === null) return entry;
    this.#contents.delete(entry.linkGroup);
    return { ...entry, content };
  }
}

/** What is at a path and below it, of entries in order. */
class Below {
  readonly #root: Buffer;
  readonly #links = new Links();
  #isFound = false;
  /** Whether no more can come. */
  isOver = false;

  constructor(root: Buffer) {
    this.#root = root;
  }

  /** Whether the next entry is one of them. */
  has(entry: FolderEntry): boolean {
    const isOne = entry.path.equals(this.#root) || isIn(entry.path, this.#root);
    if (!isOne) this.#links.pass(entry);
    this.isOver ||= this.#isFound && !isOne;
    this.#isFound ||= isOne;
    return isOne;
  }

  /** One of them, by its path below the root. */
  take(entry: FolderEntry): SelectedEntry {
    const { length } = this.#root;
    const path = entry.path.subarray(length === 0 || length === entry.path.length ? length : length + 1);
    return { entry: { ...this.#links.take(entry), path }, isParent: false };
  }
}
