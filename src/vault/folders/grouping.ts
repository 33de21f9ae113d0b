/**
 * Which files of a folder share a chunk. Large ones stand alone; small ones gather whole, in path order, in groups whose ends
 * depend on the names around them and not on what came long before: a file more or less changes one or two groups, and a group
 * of unchanged files is known by its members, without being read.
 */
import { lotOf } from '../../crypto/cutting.ts';
import { MAX_CUT_SIZE } from '../../format/limits.ts';

/** A file of this size and more begins and ends on the borders of chunks. */
export const LARGE_FILE_SIZE = 256 * 1024;
/** A group ends by chance from here on, */
const LEAST_GROUP_WEIGHT = 256 * 1024;
/** after so much more on average, */
const FURTHER_WEIGHT = 768 * 1024;
/** and here at the latest: it is one chunk. */
const MOST_GROUP_WEIGHT = MAX_CUT_SIZE;
/** What an entry weighs beside its bytes: what is known of it takes memory, too, and there may be millions without any bytes. */
const ENTRY_WEIGHT = 256;

/** An entry of a folder. */
export interface Member {
  /** Relative, with "/" between its parts. */
  readonly path: Buffer;
  /** Bytes of content that it is to have, as known before it is read; 0 for what has none, a folder or a link. */
  readonly size: number;
}

export interface Group<M> {
  readonly members: readonly M[];
  /** Whether it is one large file, to be cut by content; else its bytes are one chunk, or none. */
  readonly large: boolean;
}

/**
 * Gathers entries into groups: at most 16,384 entries and 4 MiB of content in each, but for a large file.
 *
 * An end by chance is drawn from the last two parts of a path: folders can be renamed and moved, and what is in them is
 * gathered as before.
 *
 * @param entries in the order of the index
 * @param memberOf what an entry is to a group; asked once for each, in order
 * @param cutKey the writer's, 32 bytes
 */
export async function* groupsOf<E, M extends Member>(
  entries: AsyncIterable<E> | Iterable<E>,
  memberOf: (entry: E) => M,
  cutKey: Uint8Array,
): AsyncGenerator<Group<M>, void, undefined> {
  const lot = lotOf(cutKey);
  let members: M[] = [];
  let weight = 0;
  const end = (): Group<M> => {
    const group = { members, large: false };
    members = [];
    weight = 0;
    return group;
  };
  for await (const one of entries) {
    const entry = memberOf(one);
    const large = entry.size >= LARGE_FILE_SIZE;
    const more = entry.size + ENTRY_WEIGHT;
    if (members.length > 0 && (large || weight + more > MOST_GROUP_WEIGHT)) yield end();
    if (large) {
      yield { members: [entry], large };
      continue;
    }
    members.push(entry);
    weight += more;
    if (weight >= LEAST_GROUP_WEIGHT && lot(tailOf(entry.path)) < more / FURTHER_WEIGHT) yield end();
  }
  if (members.length > 0) yield end();
}

const SLASH = 0x2f;

/** The last two parts of a path. */
function tailOf(path: Buffer): Buffer {
  const last = path.lastIndexOf(SLASH);
  return last <= 0 ? path : path.subarray(path.lastIndexOf(SLASH, last - 1) + 1);
}
