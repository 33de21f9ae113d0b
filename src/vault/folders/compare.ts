/** What differs between two trees, by their entries alone: content is not read. */
import { comparePaths } from '../../format/folder-index.ts';
import type { FolderEntry } from '../../format/folder-index.ts';

/**
 * `content`: bytes, as far as size and time of modification tell, where a link leads, or the time of what is no folder. `kind`: a file has become a folder, or the
 * like. `metadata`: permissions or owner.
 */
export type ChangeKind = 'added' | 'removed' | 'content' | 'kind' | 'metadata';

export interface Change {
  readonly path: Buffer;
  readonly kind: ChangeKind;
  /** Null where there is none. */
  readonly before: FolderEntry | null;
  readonly after: FolderEntry | null;
}

/** @param before, after both in the order of an index */
export async function* compareTrees(
  before: AsyncIterable<FolderEntry>,
  after: AsyncIterable<FolderEntry>,
): AsyncGenerator<Change, void, undefined> {
  await using one = new Side(before);
  await using other = new Side(after);
  let [a, b] = [await one.next(), await other.next()];
  while (a !== null || b !== null) {
    const order = a === null ? 1 : b === null ? -1 : comparePaths(a.path, b.path);
    if (a !== null && order < 0) yield { path: a.path, kind: 'removed', before: a, after: null };
    else if (b !== null && order > 0) yield { path: b.path, kind: 'added', before: null, after: b };
    else if (a !== null && b !== null) {
      const kind = changeOf({ entry: a, size: one.sizeOf(a) }, { entry: b, size: other.sizeOf(b) });
      if (kind !== null) yield { path: a.path, kind, before: a, after: b };
    }
    if (order <= 0) a = await one.next();
    if (order >= 0) b = await other.next();
  }
}

/** One of the trees. */
class Side implements AsyncDisposable {
  readonly #entries: AsyncIterator<FolderEntry>;
  /** Of files with several paths, which only the first path tells. */
  readonly #sizes = new Map<number, number>();

  constructor(entries: AsyncIterable<FolderEntry>) {
    this.#entries = entries[Symbol.asyncIterator]();
  }

  async next(): Promise<FolderEntry | null> {
    const next = await this.#entries.next();
    if (next.done === true) return null;
    const { linkGroup, content } = next.value;
    if (linkGroup !== null && content !== null) this.#sizes.set(linkGroup, content.size);
    return next.value;
  }

  sizeOf({ content, linkGroup }: FolderEntry): number | null {
    return content?.size ?? (linkGroup === null ? null : (this.#sizes.get(linkGroup) ?? null));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entries.return?.();
  }
}

interface Sized {
  readonly entry: FolderEntry;
  readonly size: number | null;
}

function changeOf({ entry: a, size }: Sized, { entry: b, size: otherSize }: Sized): ChangeKind | null {
  if (a.kind !== b.kind) return 'kind';
  // A folder's own time says no more than what has changed in it.
  if (a.kind !== 'folder' && !isSameTime(a, b)) return 'content';
  if (size !== otherSize) return 'content';
  if (a.target !== null && b.target?.equals(a.target) !== true) return 'content';
  if (a.device?.major !== b.device?.major || a.device?.minor !== b.device?.minor) return 'content';
  const isSameOwner = a.owner?.uid === b.owner?.uid && a.owner?.gid === b.owner?.gid;
  // A link's own permissions mean nothing.
  return isSameOwner && (a.kind === 'symlink' || a.mode === b.mode) ? null : 'metadata';
}

/** To the microsecond: what was restored has no more. */
function isSameTime({ modified: a }: FolderEntry, { modified: b }: FolderEntry): boolean {
  return a?.seconds === b?.seconds && microsOf(a) === microsOf(b);
}

function microsOf(time: FolderEntry['modified']): number {
  return Math.floor((time?.nanoseconds ?? 0) / 1000);
}
