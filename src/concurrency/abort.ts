/** Interruption: the one place where an aborted signal becomes an error. */
import { throwIfAborted } from '../errors.ts';

/**
 * Waits for something that cannot be told to stop; an abort ends the wait, not the work.
 *
 * @throws what the work throws; `interrupted` if the signal is aborted first
 */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  throwIfAborted(signal);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    try {
      throwIfAborted(signal);
    } catch (error) {
      aborted.reject(error);
    }
  };
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
