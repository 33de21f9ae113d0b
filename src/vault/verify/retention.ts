/** What buckets have against removal, and how much of what live files need is locked. */
import type { RetentionPolicy } from '../../buckets/bucket.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { isFailure } from '../../errors.ts';
import { checkEach, describeFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import type { HeldObject } from '../buckets/retaining.ts';
import type { CallOptions } from '../call.ts';
import { neededObjects, sharedNames } from '../files/needed-objects.ts';
import type { Session } from '../session.ts';
import type { Findings } from './findings.ts';

/** Questions under way at once. */
const IN_FLIGHT = 16;

/**
 * Asks the buckets. One that does not say what it has is none the worse for it: often these credentials may not ask.
 *
 * @param options `locks`: whether every object is asked for that live files need
 */
export async function lookAtRetention(
  session: Session,
  findings: Findings,
  options: {
    readonly locks: boolean;
    readonly references: readonly string[] | undefined;
  } & CallOptions,
): Promise<void> {
  const { locks, references, signal, onWarning } = options;
  const policies = new Map<ReadBucket, RetentionPolicy>();
  await checkEach(findings.usable, async (bucket) => {
    policies.set(bucket, await bucket.policy(signal));
  });
  const counts = new Map(
    [...policies.keys()].map((bucket) => [bucket, { objects: 0, kept: 0, firstEndMs: Infinity }]),
  );
  const look = async (
    { bucket, name, ...listed }: HeldObject,
    aborted: AbortSignal | undefined,
  ): Promise<void> => {
    const count = counts.get(bucket);
    if (count === undefined) return;
    try {
      const { retention } = await bucket.checked(aborted);
      const untilMs = listed.retainedUntilMs ?? (await retention?.until(name, { signal: aborted })) ?? null;
      count.objects += 1;
      if (untilMs === null || untilMs <= session.clock.now()) return;
      count.kept += 1;
      count.firstEndMs = Math.min(count.firstEndMs, untilMs);
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (error.code === 'object-missing') return;
      counts.delete(bucket);
      const message = describeFailure({ bucket, error });
      onWarning?.({ kind: 'not-retained', message, bucket: bucket.url });
    }
  };
  const canKeep = [...policies].flatMap(([bucket, { lock, everyMs }]) =>
    lock === null && everyMs === null ? [] : [bucket],
  );
  const isLooked = locks && canKeep.length > 0;
  if (isLooked) {
    const onFailure = findings.bucketFailed.bind(findings);
    const needed = neededObjects(session, findings.usable, { references, signal, onFailure });
    await forEachBounded(needed, look, { inFlight: IN_FLIGHT, signal });
    for (const name of sharedNames(session))
      for (const bucket of canKeep) await look({ bucket, name }, signal);
  }
  for (const [bucket, policy] of policies) {
    const count = isLooked ? (counts.get(bucket) ?? null) : null;
    const firstEndMs = count === null || count.kept === 0 ? null : count.firstEndMs;
    findings.retentionIs(bucket, { ...policy, locks: count === null ? null : { ...count, firstEndMs } });
  }
}
