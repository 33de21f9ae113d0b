/** Waiting for what cannot be called off. */
import { interrupted } from '../errors.ts';

/**
 * Waits for some work, but not beyond the abort of a signal: a system call on a dead disk ends when it likes.
 *
 * @param work goes on after an abort, unobserved: what it holds (memory, descriptors) must not be used for anything else
 * @param signal undefined waits for the work alone
 * @throws what the work throws; `interrupted` as soon as the signal is aborted
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(interrupted(signal));
  };
  signal.addEventListener('abort', onAbort);
  try {
    if (signal.aborted) onAbort();
    return await Promise.race([aborted.promise, work]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
