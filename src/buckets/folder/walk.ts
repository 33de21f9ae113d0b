import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../../errors.ts';
import { isObjectName } from '../bucket.ts';
import type { ListedObject } from '../bucket.ts';
import type { Operation } from './calls.ts';
import { readdir, unlessAbsent } from './files.ts';
import { linked } from './places.ts';
import type { Place, Places } from './places.ts';

/** Names that are looked at in one go; two such batches are under way. */
const BATCH = 256;

/** What the root of a disk has of its own, and only the system's administrator can read. */
const LOST_AND_FOUND = 'lost+found';

/** Which part of a tree of folders to list. */
export interface WalkRange {
  readonly places: Places;
  readonly operation: Operation;
  /** Absolute path of the root, for messages. */
  readonly root: string;
  readonly prefix: string;
  /** Only names greater than this; '' for all. */
  readonly after: string;
}

/** What an entry is: a folder, a file with its bytes, or null for what has gone or is neither. */
type Found = 'folder' | number | null;

/**
 * The files below a folder whose names start with a prefix, in byte order of their whole names. Memory is the
 * names of one folder and of those above it.
 *
 * @param place the folder, open: the one that holds all names with the prefix
 * @throws `damaged` if there is a symbolic link: what it leads to would be missing from the listing, and is not the bucket's
 */
export async function* walk(range: WalkRange, place: Place): AsyncIterable<ListedObject> {
  const at = place.folder === '' ? '' : `${place.folder}/`;
  const names = await namesOf(range, at, place);
  // Folders whose files come later than some that follow: `a/` sorts behind `a-b`.
  const folders: string[] = [];
  let next = lookAt(range, place, names.slice(0, BATCH));
  for (let start = 0; start < names.length; start += BATCH) {
    const batch = await next;
    // Where nothing is waited for, timers and signals have their turn all the same.
    await nextTurn();
    next = lookAt(range, place, names.slice(start + BATCH, start + 2 * BATCH));
    for (const [index, found] of batch.entries()) {
      range.operation.check();
      if (found instanceof Error) throw found;
      const name = at + (names[start + index] ?? '');
      for (let first = folders[0]; first !== undefined && first < name; first = folders[0]) {
        folders.shift();
        yield* walkBelow(range, place, first);
      }
      if (found === 'folder') {
        if (isFolderWanted(range, name)) insert(folders, `${name}/`);
      } else if (found !== null && isFileWanted(range, name)) {
        yield { name, size: found };
      }
    }
  }
  for (const folder of folders) yield* walkBelow(range, place, folder);
}

/** @param folder a folder of the open one, with a slash at its end */
async function* walkBelow(range: WalkRange, above: Place, folder: string): AsyncIterable<ListedObject> {
  const name = folder.slice(0, -1).slice(folder.lastIndexOf('/', folder.length - 2) + 1);
  const place = await range.places.enterBelow(range.operation, above, name);
  // Somebody has removed it meanwhile.
  if (place === null) return;
  try {
    yield* walk(range, place);
  } finally {
    range.places.leave(place);
  }
}

/** What one folder has that may belong to the range, in byte order. */
async function namesOf(range: WalkRange, at: string, place: Place): Promise<string[]> {
  const names = await range.operation.run(() => readdir(place.base));
  range.operation.check();
  return (
    names
      .filter((name) => {
        const whole = at + name;
        return (isFileWanted(range, whole) || isFolderWanted(range, whole)) && isObjectName(whole);
      })
      // Names are ASCII: the order of UTF-16 units, which it uses, is byte order.
      .toSorted()
  );
}

function isFileWanted({ prefix, after }: WalkRange, name: string): boolean {
  return name > after && name.startsWith(prefix);
}

function isFolderWanted({ prefix, after }: WalkRange, name: string): boolean {
  const below = `${name}/`;
  const isWanted = below.startsWith(prefix) && (below > after || after.startsWith(below));
  return isWanted && name !== LOST_AND_FOUND;
}

/** What entries are. Never rejects: it runs ahead of its reader. */
async function lookAt(
  { operation, root }: WalkRange,
  place: Place,
  names: readonly string[],
): Promise<(Found | Error)[]> {
  return await Promise.all(
    names.map(async (name) => {
      try {
        const found = await operation.quick((calls) => unlessAbsent(calls.lstat(`${place.base}/${name}`)));
        if (found?.isSymbolicLink() === true) return linked(join(root, place.folder, name));
        if (found?.isDirectory() === true) return 'folder';
        return found?.isFile() === true ? found.size : null;
      } catch (error) {
        return error instanceof Error ? error : new Error(messageOf(error), { cause: error });
      }
    }),
  );
}

function insert(sorted: string[], name: string): void {
  const index = sorted.findIndex((other) => other > name);
  sorted.splice(index === -1 ? sorted.length : index, 0, name);
}
