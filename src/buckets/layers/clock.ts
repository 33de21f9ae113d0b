import { interrupted, isVaultError, throwIfAborted } from '../../errors.ts';
import type { VaultError } from '../../errors.ts';
import type { Clock } from '../../host.ts';

/** How long a driver may take to clean up after its signal was aborted, in milliseconds; then nobody waits for it. */
export const GRACE_MS = 2_000;

function nothing(): void {
  // What a timer or a listener is before it is set.
}

/**
 * Resolves after a while.
 *
 * @param options `delayMs`: how long; `signal`: ends it with `interrupted`; `sleepers`: holds, while this waits, a
 *   function that ends the wait early
 */
export async function sleep(
  clock: Clock,
  options: {
    readonly delayMs: number;
    readonly signal: AbortSignal | undefined;
    readonly sleepers?: Set<() => void>;
  },
): Promise<void> {
  const { delayMs, signal, sleepers } = options;
  throwIfAborted(signal);
  await new Promise<void>((resolve, reject) => {
    const leave = (): void => {
      cancel();
      sleepers?.delete(wake);
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      leave();
      reject(interrupted(signal));
    };
    const wake = (): void => {
      leave();
      resolve();
    };
    const cancel = clock.schedule(delayMs, wake);
    sleepers?.add(wake);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Runs something that must not take longer than a limit. When time is up its signal is aborted and the promise
 * rejects, at the latest after a short grace, even if what runs never settles; what it still does then is ignored.
 *
 * @param run what to do; its signal is aborted by the limit and by the caller's signal
 * @param options `timeoutMs`: the limit, asked for again when it has come, as it may have grown; `expired`: makes the error for
 *   it; `signal`: the caller's
 * @throws `expired()` after the limit, `interrupted` after the caller's signal, else what `run` throws
 */
export async function within<T>(
  run: (signal: AbortSignal) => Promise<T>,
  options: {
    readonly timeoutMs: () => number;
    readonly expired: (timeoutMs: number) => VaultError;
    readonly signal: AbortSignal | undefined;
    readonly clock: Clock;
  },
): Promise<T> {
  const { clock, signal } = options;
  throwIfAborted(signal);
  const controller = new AbortController();
  let verdict: VaultError | null = null;
  let cancel = nothing;
  let onAbort = nothing;
  try {
    return await new Promise<T>((resolve, reject) => {
      const end = (error: VaultError): void => {
        cancel();
        verdict = error;
        cancel = clock.schedule(GRACE_MS, () => {
          reject(error);
        });
        controller.abort(error);
      };
      onAbort = () => {
        end(interrupted(signal));
      };
      const startMs = clock.monotonic();
      const look = (): void => {
        const timeoutMs = options.timeoutMs();
        const leftMs = timeoutMs - (clock.monotonic() - startMs);
        if (leftMs > 0) cancel = clock.schedule(leftMs, look);
        else end(options.expired(timeoutMs));
      };
      cancel = clock.schedule(options.timeoutMs(), look);
      signal?.addEventListener('abort', onAbort, { once: true });
      run(controller.signal).then(resolve, reject);
    });
  } catch (error) {
    // What ran was aborted and says so; why it was is known here alone.
    throw verdict !== null && isVaultError(error, 'interrupted') ? verdict : error;
  } finally {
    cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}
