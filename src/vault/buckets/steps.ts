/** What is done with a step once it is decided: it is carried out, or only told, one after the other, so that no plan is kept in memory. */
import type { PlannedStep, PlanOptions } from '../call.ts';
import type { Session } from '../session.ts';
import type { ReadBucket } from './bucket-set.ts';

/**
 * Takes steps that belong together. Whoever decides them has a `ReadSession` alone: what writes is the work that they come with.
 *
 * @param told what the work would come to, if buckets take what they are given
 */
export type Take = <T>(
  steps: readonly PlannedStep[],
  told: T,
  work: (session: Session) => Promise<T>,
) => Promise<T>;

export function doing(session: Session): Take {
  return (_steps, _told, work) => work(session);
}

/** It has nothing at hand that could write. */
export function telling(onPlanned?: PlanOptions['onPlanned']): Take {
  return async (steps, told) => {
    for (const step of steps) await onPlanned?.(step);
    return told;
  };
}

/** The step that gives an object to a bucket. */
export function storing(
  object: string,
  { url }: ReadBucket,
  { reason, bytes }: Pick<PlannedStep, 'reason' | 'bytes'>,
): PlannedStep {
  return { action: 'store', object, reason, bytes, file: null, bucket: url };
}
