/**
 * Which files of a group are read and stored, and which are referred to where they are stored already. A group that is unchanged
 * is one part with all of its chunks. Where some files have changed, those alone go into new chunks, between references to the old
 * chunk of the others: it is listed once for each run of them, and has bytes that are no file's any more.
 */
import type { ChunkRef } from '../../format/manifest.ts';
import type { Group, Member } from './grouping.ts';
import { isWhole } from './local-log.ts';
import type { DataPlace, LoggedGroup, Remembered } from './local-log.ts';

/** Files of a group, one after the other. */
export interface GroupPart<M> {
  readonly members: readonly M[];
  /** Where all their data is; null: they are to be read. */
  readonly known: KnownData | null;
}

/** Of `gaps` there are as many as there are files with data, and one more. */
export interface KnownData extends Pick<LoggedGroup, 'extents' | 'gaps'> {
  /** What is logged of the group, if these are all its files; else null. */
  readonly whole: LoggedGroup | null;
  refs(): Iterable<ChunkRef>;
}

/** A group of less data is read and stored as a whole: what is kept of it would not be worth its chunk. */
const LEAST_KEPT = 64 * 1024;
/** Parts of a group; with more it is read as a whole. Each takes an entry in two tables, and what reads all of a folder a look. */
const MOST_PARTS = 16;

/** A group that is read as a whole. */
export function unknown<M>({ members }: Group<M>): readonly GroupPart<M>[] {
  return [{ members, known: null }];
}

/**
 * @param isToRead whether a member has data
 * @param remembered of the members with data, in order
 */
export function partsOf<M extends Member>(
  group: Group<M>,
  isToRead: (member: M) => boolean,
  { whole, places }: Remembered,
): readonly GroupPart<M>[] {
  const files = group.members.filter(isToRead);
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (whole !== null)
    return isWhole(whole, size) ? [{ members: group.members, known: knownOf(whole) }] : unknown(group);
  if (group.large || size < LEAST_KEPT || !places.some((place) => place !== null)) return unknown(group);
  const runs: Run<M>[] = [];
  let file = 0;
  for (const member of group.members) {
    let run = runs.at(-1);
    if (run !== undefined && !isToRead(member)) {
      run.members.push(member);
      continue;
    }
    const place = isToRead(member) ? (places[file++] ?? null) : null;
    if (run === undefined || !goesOn(run, place))
      runs.push((run = { members: [], ref: place?.ref ?? null, gaps: [], end: 0 }));
    run.members.push(member);
    if (place === null) continue;
    run.gaps.push(place.start - run.end);
    run.end = place.start + member.size;
  }
  return isWorthIt(runs) ? runs.map(toPart) : unknown(group);
}

function knownOf(whole: LoggedGroup): KnownData {
  const { extents, gaps } = whole;
  return { whole, extents, gaps, refs: () => whole.refs() };
}

interface Run<M> {
  readonly members: M[];
  /** The chunk that has their data; null: none has. */
  readonly ref: ChunkRef | null;
  /** Before each of them. */
  readonly gaps: number[];
  /** Where the data of the last one ends. */
  end: number;
}

/** Whether what lies there is behind what the run has, in the same chunk. */
function goesOn<M>({ ref, end }: Run<M>, place: DataPlace | null): boolean {
  if (place === null || ref === null) return place === ref;
  return place.ref.tag.equals(ref.tag) && place.start >= end;
}

/** Whether chunks are kept with at least half of their bytes. */
function isWorthIt<M extends Member>(runs: readonly Run<M>[]): boolean {
  if (runs.length > MOST_PARTS) return false;
  const chunks = new Map<string, number>();
  let kept = 0;
  for (const { members, ref } of runs) {
    if (ref === null) continue;
    chunks.set(ref.tag.toString('latin1'), ref.length);
    for (const { size } of members) kept += size;
  }
  let all = 0;
  for (const length of chunks.values()) all += length;
  return kept * 2 >= all;
}

function toPart<M>({ members, ref, gaps, end }: Run<M>): GroupPart<M> {
  if (ref === null) return { members, known: null };
  return {
    members,
    known: { whole: null, refs: () => [ref], extents: null, gaps: [...gaps, ref.length - end] },
  };
}
