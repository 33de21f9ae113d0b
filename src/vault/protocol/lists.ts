/** Lists of removal: signed objects that name what a sweep is about to remove, or has removed, in every bucket. */
import { drawId } from '../../crypto/keys.ts';
import { openSweepList, signSweepList, underAnyRoot, type SignedUnder } from '../../crypto/signing.ts';
import { MAX_SWEEP_OBJECTS } from '../../format/limits.ts';
import { MAX_SWEEP_SIZE, parseSweepObjectName, SWEEP_PREFIX, sweepObjectName } from '../../format/removal.ts';
import type { SweepList } from '../../format/removal.ts';
import {
  tooFewBuckets,
  type BucketFailure,
  type ReadBucket,
  type VaultBucket,
} from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { readCopyAs, spread } from '../buckets/spread.ts';
import type { ReadSession, Session } from '../session.ts';
import { slicesOf } from '../../concurrency/batched.ts';

/** A bucket's copy of a list; null if it has none that this vault has signed. */
export function readList(
  session: ReadSession,
  bucket: ReadBucket,
  id: string,
  signal: AbortSignal | undefined,
): Promise<SignedUnder<SweepList> | null> {
  return readCopyAs(bucket, sweepObjectName(id), {
    maxSize: MAX_SWEEP_SIZE,
    open: (bytes) => underAnyRoot(session.keys, (keys) => openSweepList(keys, bytes, id)),
    signal,
  });
}

/** Lists, each with the number of the root that has signed it. */
export type Lists = readonly SignedUnder<SweepList>[];

/** The objects that lists name, with the last of the roots that have signed one: it says nothing of what was stored since. */
export function rootsOfNamed(lists: Lists): ReadonlyMap<string, number> {
  const roots = new Map<string, number>();
  for (const { root, objects } of lists)
    for (const name of objects) roots.set(name, Math.max(root, roots.get(name) ?? 0));
  return roots;
}

/**
 * Every list, done or not. One that an older root has signed counts as done, and waits for nothing: nobody goes on with it.
 *
 * @param onForged told of what is named as one and is none of this vault
 * @throws what a bucket says; `unsupported` for a list of a newer version
 */
export async function readLists(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  signal: AbortSignal | undefined,
  onForged?: (name: string) => void,
): Promise<Lists> {
  const lists: SignedUnder<SweepList>[] = [];
  for await (const { name, holders } of mergedListing(buckets, SWEEP_PREFIX, { signal })) {
    const id = parseSweepObjectName(name);
    if (id === null) continue;
    const copies: SignedUnder<SweepList>[] = [];
    for (const { bucket } of holders) {
      const copy = await readList(session, bucket, id, signal);
      if (copy !== null) copies.push(copy);
    }
    // A list that is done anywhere is done: that is written last.
    const [list] = copies.toSorted((a, b) => b.root - a.root || progressOf(b) - progressOf(a));
    if (list === undefined) onForged?.(name);
    if (list === undefined) continue;
    if (list.root < session.keys.rootNumber) {
      const doneAtMs = list.doneAtMs ?? Math.min(list.atMs, session.clock.now());
      // Nor is a marker old because it says so.
      lists.push({ ...list, doneAtMs, waitsFor: null });
      continue;
    }
    // One that lacks somewhere was cut short, or was taken away and is shown again by a bucket that was put back from earlier: puts
    // that have begun since have not seen it.
    const stands = copies.length === buckets.length || list.doneAtMs !== null;
    lists.push(stands ? list : { ...list, waitsFor: null });
  }
  return lists;
}

/**
 * Writes a list into every bucket. One whose policy lets nothing be replaced keeps an earlier state of it: of several the one counts that
 * has come furthest, and the next sweep goes on with a list that has not.
 *
 * @param replace false where most buckets have it already as it is: nothing is written there, and kept for another while
 * @returns those that do not take it
 */
async function spreadList(
  session: Session,
  buckets: readonly VaultBucket[],
  list: SweepList,
  signal: AbortSignal | undefined,
  replace = true,
): Promise<readonly BucketFailure[]> {
  const object = { name: sweepObjectName(list.id), bytes: signSweepList(session.keys, list) };
  const written = await spread(buckets, object, { signal, replace });
  const [others, refused] = [true, false].map((isOther) =>
    written.failed.filter(({ error }) => (error.code === 'already-exists') === isOther),
  );
  const replaced = buckets.filter((bucket) => others?.some((failure) => failure.bucket === bucket));
  const again = replaced.length === 0 ? null : await spread(replaced, object, { signal, replace: true });
  return [...(refused ?? []), ...(again?.failed ?? [])].filter(({ error }) => error.code !== 'retained');
}

/** As `spreadList`. @throws what a bucket says that does not take it; the next sweep goes on then */
export async function putList(...call: Parameters<typeof spreadList>): Promise<void> {
  const failed = await spreadList(...call);
  if (failed.length > 0)
    throw tooFewBuckets('Nothing was removed, since a bucket did not take the list.', failed);
}

/** How far a list has come: done, waiting, or just written. */
function progressOf({ doneAtMs, waitsFor }: SweepList): number {
  return doneAtMs !== null ? 2 : waitsFor === null ? 0 : 1;
}

/**
 * Puts objects that were replaced on a list of removal, for the next sweep: it looks again whether a complete set stands without
 * them.
 *
 * @param buckets all of the vault's; if one cannot be reached, nothing is listed, and they stay for now
 * @returns buckets that did not take it; the next sweep goes on then
 */
export async function listForRemoval(
  session: Session,
  buckets: readonly ReadBucket[],
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<readonly BucketFailure[]> {
  const { all } = session.buckets;
  if (buckets.length < all.length) return [];
  for (const list of newLists(session, names)) {
    const failed = await spreadList(session, all, list, signal);
    if (failed.length > 0) return failed;
  }
  return [];
}

/** Writes what is to go into new lists, in every bucket. @throws what a bucket says; what was written is resumed by the next sweep */
export async function writeLists(
  session: Session,
  buckets: readonly VaultBucket[],
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<SweepList[]> {
  const lists: SweepList[] = [];
  for (const list of newLists(session, names)) {
    await putList(session, buckets, list, signal);
    lists.push(list);
  }
  return lists;
}

function* newLists({ clock }: Session, names: readonly string[]): Generator<SweepList, void, undefined> {
  for (const objects of slicesOf(names, MAX_SWEEP_OBJECTS))
    yield { id: drawId(), atMs: clock.now(), doneAtMs: null, waitsFor: null, objects };
}
