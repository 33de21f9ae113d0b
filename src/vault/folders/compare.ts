/** What differs between two trees, by their entries alone: content is not read. */
import { comparePaths } from '../../format/folder-index.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { isIn } from './selection.ts';

const SLASH = 0x2f;

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

/** An entry; or the path of one that is left out with all that is in it, or with a slash behind it, of a folder all that is in it. */
export type Compared = FolderEntry | { readonly leftOut: Buffer };

/**
 * What differs, except for what either tree leaves out.
 *
 * @param before, after both in the order of an index
 */
export async function* compareTrees(
  before: AsyncIterable<Compared>,
  after: AsyncIterable<Compared>,
): AsyncGenerator<Change, void, undefined> {
  await using one = new Side(before);
  await using other = new Side(after);
  let [a, b] = [await one.next(), await other.next()];
  // The last one that lies in none before it.
  let leftOut: Buffer | null = null;
  const isOut = (path: Buffer): boolean => leftOut !== null && isIn(path, leftOut);
  for (;;) {
    const order = a === null ? 1 : b === null ? -1 : comparePaths(pathOf(a), pathOf(b));
    const [x, y] = [order <= 0 ? a : null, order >= 0 ? b : null];
    const first = x ?? y;
    if (first === null) return;
    const path = pathOf(first);
    if ((x !== null && 'leftOut' in x) || (y !== null && 'leftOut' in y)) {
      if (!isOut(path)) leftOut = path.at(-1) === SLASH ? path.subarray(0, -1) : path;
    } else if (!isOut(path)) {
      const kind = x === null ? 'added' : y === null ? 'removed' : changeOf(one.sized(x), other.sized(y));
      if (kind !== null) yield { path, kind, before: x, after: y };
    }
    if (order <= 0) a = await one.next();
    if (order >= 0) b = await other.next();
  }
}

/** One of the trees. */
class Side implements AsyncDisposable {
  readonly #entries: AsyncIterator<Compared>;
  /** Of files with several paths, which only the first path tells. */
  readonly #sizes = new Map<number, number>();

  constructor(entries: AsyncIterable<Compared>) {
    this.#entries = entries[Symbol.asyncIterator]();
  }

  async next(): Promise<Compared | null> {
    const next = await this.#entries.next();
    if (next.done === true) return null;
    if ('leftOut' in next.value) return next.value;
    const { linkGroup, content } = next.value;
    if (linkGroup !== null && content !== null) this.#sizes.set(linkGroup, content.size);
    return next.value;
  }

  sized(entry: FolderEntry): Sized {
    const { content, linkGroup } = entry;
    const size = content?.size ?? (linkGroup === null ? null : (this.#sizes.get(linkGroup) ?? null));
    return { entry, size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entries.return?.();
  }
}

function pathOf(one: Compared): Buffer {
  return 'leftOut' in one ? one.leftOut : one.path;
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
