/** Small objects around removal that have served, and those that somebody has forged. */
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { deletionObjectName, sweepObjectName } from '../../format/removal.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { removeFrom, REMOVALS_AT_ONCE } from '../buckets/spread.ts';
import { requireRightClock } from '../protocol/clocks.ts';
import { readLists } from '../protocol/lists.ts';
import { listMarkers, outlived } from '../protocol/markers.ts';
import type { Session } from '../session.ts';

/** Done lists stay for so long: longer than anybody's knowledge of what is there. */
const DONE_LISTS_STAY_MS = 3 * 86_400_000;

/**
 * Removes lists that were done days ago, markers of the dead, and what is named as a list and is none of this vault.
 *
 * @param settled hashes of files whose records of removal go, too
 */
export async function tidy(
  session: Session,
  buckets: readonly VaultBucket[],
  { settled, signal }: { readonly settled: readonly string[]; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const nowMs = session.clock.now();
  const forged: string[] = [];
  const lists = await readLists(session, buckets, signal, (name) => forged.push(name));
  const done = lists.filter(({ doneAtMs }) => doneAtMs !== null && nowMs - doneAtMs >= DONE_LISTS_STAY_MS);
  const { old } = await listMarkers(buckets, nowMs, { known: outlived(lists, nowMs), signal });
  const aged = [...done.map(({ id }) => sweepObjectName(id)), ...old];
  if (aged.length > 0) await requireRightClock(session.clock, buckets, 'Nothing was removed', signal);
  const remove = async (name: string, aborted: AbortSignal): Promise<void> => {
    await removeFrom(buckets, name, aborted);
  };
  const going = [...aged, ...forged, ...settled.map(deletionObjectName)];
  await forEachBounded(going, remove, { inFlight: REMOVALS_AT_ONCE, signal });
}
