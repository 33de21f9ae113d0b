/** Locking all that live files need, or making its locks longer: for cron, where files are to be kept for a rolling time. */
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { describeFailure, type BucketFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import { startRetaining, type Retaining } from '../buckets/retaining.ts';
import { neededObjects, sharedNames } from '../files/needed-objects.ts';
import type { Session } from '../session.ts';
import type { RepairOptions } from './options.ts';

export interface RetainedFiles {
  /** Until when, in milliseconds since 1970. */
  readonly untilMs: number;
  /** Objects that are locked until then. */
  readonly objects: number;
  /** Those of them whose lock was to end earlier, or that had none. */
  readonly extended: number;
  /** Objects whose lock could not be made longer. */
  readonly failed: number;
  /** Files of which it is not known what they need. */
  readonly filesUnknown: number;
  /** Whether what is locked is enough to get every file back. */
  readonly enough: boolean;
}

/** Locks under way at once. */
const IN_FLIGHT = 16;

/** What keeps objects, if a repair is to lock any. @throws `invalid-input` if no bucket can, before anything is repaired */
export async function retainingFor(
  session: Session,
  options: RepairOptions,
): Promise<{ readonly retaining: Retaining; readonly isEnough: boolean } | null> {
  const { retainUntilMs: untilMs } = options;
  if (untilMs === undefined) return null;
  const { m: spare } = session.keyring.keyring.redundancy;
  return startRetaining(session.buckets.active, { untilMs, spare }, options);
}

/** Locks what live files need, or those that are named. Removed files are not kept any longer than they are. */
export async function retainFiles(
  session: Session,
  usable: readonly ReadBucket[],
  options: RepairOptions & { readonly retaining: Retaining; readonly isEnough: boolean },
): Promise<RetainedFiles> {
  const { references, retaining, isEnough, signal, onWarning } = options;
  const unknown = new Set<string>();
  const failed = new Set<ReadBucket>();
  const onFailure = (failure: BucketFailure): void => {
    failed.add(failure.bucket);
    onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
  };
  const onUnknown = (hash: string): void => void unknown.add(hash);
  const needed = neededObjects(session, usable, { references, signal, onFailure, onUnknown });
  await forEachBounded(needed, (object, aborted) => retaining.extend(object, aborted), {
    inFlight: IN_FLIGHT,
    signal,
  });
  await retaining.extendShared(sharedNames(session), signal);
  const { untilMs, kept: objects, extended, unkept } = retaining;
  const enough = isEnough && failed.size === 0;
  return { untilMs, objects, extended, failed: unkept, filesUnknown: unknown.size, enough };
}
