import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { VaultError, messageOf, throwIfAborted } from '../../errors.ts';
import { isObjectName } from '../bucket.ts';
import type { ListedObject } from '../bucket.ts';
import { lstat, seek, stat, unlessAbsent } from './files.ts';

/** Names whose sizes are asked for at once; two such batches are under way. */
const BATCH = 256;

/** What the root of a disk has of its own, and only the system's administrator can read. */
const LOST_AND_FOUND = 'lost+found';

/** Which part of a tree of folders to list. */
export interface WalkRange {
  /** Absolute path of the folder that names are relative to. */
  readonly root: string;
  readonly prefix: string;
  /** Only names greater than this; '' for all. */
  readonly after: string;
  readonly signal: AbortSignal | undefined;
  /** Throws if the disk is not there. */
  readonly confirm: () => Promise<void>;
}

/**
 * The files below a folder whose names start with a prefix, in byte order of their whole names. Memory is the
 * names of one folder and of those above it. A folder that is not there has no files.
 *
 * @throws `damaged` if a symbolic link leads to a folder: what lies behind it would be missing from the listing
 */
export async function* walk(range: WalkRange): AsyncIterable<ListedObject> {
  // All names with the prefix lie in or below the folder that it names, so nothing above is read.
  yield* walkFolder(range, range.prefix.slice(0, range.prefix.lastIndexOf('/') + 1));
}

/** @param at the folder, '' or ending with a slash */
async function* walkFolder(range: WalkRange, at: string): AsyncIterable<ListedObject> {
  const entries = await entriesOf(range, at);
  throwIfAborted(range.signal);
  let next = sizesOf(range, entries.slice(0, BATCH));
  for (let start = 0; start < entries.length; start += BATCH) {
    const sizes = await next;
    next = sizesOf(range, entries.slice(start + BATCH, start + 2 * BATCH));
    for (const [index, size] of sizes.entries()) {
      throwIfAborted(range.signal);
      const name = entries[start + index] ?? '';
      if (size instanceof Error) throw size;
      if (name.endsWith('/')) yield* walkFolder(range, name);
      else if (size !== null) yield { name, size };
    }
  }
}

/**
 * What one folder has that belongs to the range, sorted. Folders end with a slash: as no file has the name of
 * a folder, that puts the names of the whole tree in order, folder by folder.
 */
async function entriesOf(range: WalkRange, at: string): Promise<string[]> {
  const { root, prefix, after } = range;
  const entries: string[] = [];
  const folder = await seek(() => unlessAbsent(opendir(join(root, at), { bufferSize: 1024 })), range.confirm);
  if (folder === null) return entries;
  for await (const entry of folder) {
    const name = at + entry.name;
    if (!isObjectName(name)) continue;
    if (entry.isFile()) {
      if (name > after && name.startsWith(prefix)) entries.push(name);
    } else if (entry.isDirectory()) {
      const below = `${name}/`;
      const wanted = below.startsWith(prefix) && (below > after || after.startsWith(below));
      if (wanted && name !== LOST_AND_FOUND) entries.push(below);
    } else if (
      entry.isSymbolicLink() &&
      (await unlessAbsent(stat(join(root, name))))?.isDirectory() === true
    ) {
      throw new VaultError(
        'damaged',
        `${join(root, name)} is a symbolic link to a folder, which a bucket cannot have inside. ` +
          'Move the whole bucket to where it leads, or mount it there.',
      );
    }
  }
  // Names are ASCII: the order of UTF-16 units, which it uses, is byte order.
  return entries.toSorted();
}

/** The sizes of entries, null for what has gone meanwhile or is a folder. Never rejects: it runs ahead of its reader. */
async function sizesOf(
  { root, confirm }: WalkRange,
  entries: readonly string[],
): Promise<(number | null | Error)[]> {
  return await Promise.all(
    entries.map(async (name) => {
      if (name.endsWith('/')) return null;
      try {
        const found = await seek(() => unlessAbsent(lstat(join(root, name))), confirm);
        return found?.isFile() === true ? found.size : null;
      } catch (error) {
        return error instanceof Error ? error : new Error(messageOf(error), { cause: error });
      }
    }),
  );
}
