/** Keeps a pending put known as alive while it runs. */
import type { Catalog } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';

/** A put that has not been renewed for this long counts as dead, wherever it ran. */
export const LEASE_MS = 10 * 60_000;
const RENEW_EVERY_MS = 60_000;

/**
 * Runs work under a lease on a pending put.
 *
 * The lease decides when sweep may clean up, and nothing else: a put that was swept while its machine slept learns it
 * from the catalog (`stale`), whatever it does next.
 *
 * @param work gets a signal that is aborted when the caller's is, or when the put turns out to have been swept
 */
export async function withLease<T>(
  catalog: Catalog,
  generation: string,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController();
  const timer = setInterval(() => void renew(), RENEW_EVERY_MS);
  async function renew(): Promise<void> {
    try {
      await catalog.renewPut(generation);
    } catch (error) {
      // Anything else is a passing trouble of the database: the next renewal, or the work itself, will tell.
      if (isVaultError(error, 'stale')) lost.abort(error);
    }
  }
  try {
    return await work(signal === undefined ? lost.signal : AbortSignal.any([signal, lost.signal]));
  } catch (error) {
    if (lost.signal.aborted && signal?.aborted !== true) throw lost.signal.reason;
    throw error;
  } finally {
    clearInterval(timer);
  }
}
