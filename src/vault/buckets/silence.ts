/**
 * Not waiting for a bucket that has fallen silent, where others suffice. A slow line looks the same from outside: an upload that takes
 * minutes. But whoever is only slow answers something small within seconds.
 */
import type { GetCall } from '../../buckets/bucket.ts';
import { settleAll } from '../../concurrency/gather.ts';
import { MAX_JSON_SIZE } from '../../format/limits.ts';
import { isVaultError, VaultError } from '../../errors.ts';

/** How long a bucket that others suffice without is waited for before it is asked, and how long it has to answer then, in ms. */
export const PATIENCE_MS = 10_000;

/** What is known of one bucket's silence. */
export class Silence {
  readonly #url: string;
  readonly #ask: (call: GetCall) => Promise<unknown>;
  #gone = new AbortController();
  #probing: Promise<void> | null = null;

  /** @param ask asks the bucket for something small */
  constructor(url: string, ask: (call: GetCall) => Promise<unknown>) {
    this.#url = url;
    this.#ask = ask;
  }

  /**
   * Whoever is refused has the bucket asked again: what runs for long, as a server, uses it once it answers.
   *
   * @throws `unavailable` if the bucket was found silent
   */
  check(): void {
    if (!this.#gone.signal.aborted) return;
    void this.probe();
    throw this.#error();
  }

  /** Runs something that ends when the bucket is found silent. */
  async end<T>(run: (signal: AbortSignal) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    this.check();
    const gone = this.#gone.signal;
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal?.reason);
    if (signal?.aborted === true) abort();
    signal?.addEventListener('abort', abort);
    gone.addEventListener('abort', abort);
    try {
      return await run(controller.signal);
    } catch (error) {
      if (isVaultError(error, 'interrupted') && signal?.aborted !== true && gone.aborted) throw this.#error();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      gone.removeEventListener('abort', abort);
    }
  }

  /** See `VaultBucket.probe`. */
  probe(): Promise<void> {
    this.#probing ??= this.#probe().finally(() => {
      this.#probing = null;
    });
    return this.#probing;
  }

  async #probe(): Promise<void> {
    const { promise: answered, resolve } = Promise.withResolvers<true>();
    const end = new AbortController();
    // That it is busy, or has no such object, is an answer, too.
    const take = (error: unknown): void => {
      if (!isVaultError(error, 'unavailable') || !error.unreachable) resolve(true);
    };
    const asked = this.#ask({
      maxSize: MAX_JSON_SIZE,
      signal: end.signal,
      onBytes: () => resolve(true),
      onRetry: take,
    });
    asked.then(() => resolve(true), take);
    let timer: NodeJS.Timeout | undefined;
    const silent = new Promise<false>((late) => {
      timer = setTimeout(() => late(false), PATIENCE_MS);
    });
    if (!(await Promise.race([answered, silent]))) this.#gone.abort();
    else if (this.#gone.signal.aborted) this.#gone = new AbortController();
    clearTimeout(timer);
    end.abort();
  }

  #error(): VaultError {
    return new VaultError(
      'unavailable',
      `${this.#url} has stopped answering, and is left out. Is its disk, or its server, still there?`,
      { unreachable: true },
    );
  }
}

/**
 * Waits for work in several buckets. Whenever it takes long and the others suffice, those that have not come are asked whether they answer
 * at all.
 *
 * @throws what failed first, once all have settled
 * @param work of each bucket, as `VaultBucket.attempt` does it
 * @param suffices whether what has been done is enough by now
 */
export async function awaitUnlessSilent(
  work: readonly { readonly bucket: { probe(): Promise<void> }; readonly done: Promise<unknown> }[],
  suffices: () => boolean,
): Promise<void> {
  const pending = new Set(work);
  for (const one of work) {
    const settled = (): void => void pending.delete(one);
    one.done.then(settled, settled);
  }
  const timer = setInterval(() => {
    if (suffices()) for (const { bucket } of pending) void bucket.probe();
  }, PATIENCE_MS);
  try {
    await settleAll(work.map(({ done }) => done));
  } finally {
    clearInterval(timer);
  }
}
