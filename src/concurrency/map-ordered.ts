/** Bounded, ordered, abort-safe stages over async iterables. Nothing in this package starts work that nobody awaits. */
import { VaultError } from '../errors.ts';

/** Items to work on; the function form is for a source that can be told to give up waiting. */
export type Source<T> = AsyncIterable<T> | Iterable<T> | ((signal: AbortSignal) => AsyncIterable<T>);

/**
 * Applies `work` to every item with at most `inFlight` of them under way, and yields the results in the
 * order of the items. The source is pulled only when there is room, so memory is `inFlight` items.
 *
 * The first failure (of the source, of `work`, or the caller's signal) aborts the signal that the others were given; the
 * error is thrown once all of them have settled, so that nothing runs on after the iteration has ended. The
 * same happens if the consumer stops early.
 *
 * @param source items; its `return` is called when iteration ends early. A source that may wait for long (standard
 *   input) takes the signal and rejects when it is aborted
 * @param work what to do with one item; must heed the signal
 * @param options `inFlight`: at least 1. `signal`: the caller's, aborts everything. `discard`: takes an item that came
 *   out of the source too late to be worked on
 * @throws what the source or `work` threw first; `interrupted` if the caller's signal was aborted
 */
export async function* mapOrdered<T, U>(
  source: Source<T>,
  work: (item: T, signal: AbortSignal) => Promise<U>,
  options: {
    readonly inFlight: number;
    readonly signal?: AbortSignal | undefined;
    readonly discard?: (item: T) => void;
  },
): AsyncGenerator<U, void, undefined> {
  const abort = new AbortController();
  const items = iterate(typeof source === 'function' ? source(abort.signal) : source);
  // What has been started and not yet yielded, in order. Everything below only changes this state and calls
  // `wake`; racing the promises themselves would leave a reaction behind on each for every turn.
  const started: { result: { readonly value: U } | null; readonly settled: Promise<void> }[] = [];
  let pulling: Promise<void> | null = null;
  let exhausted = false;
  let wake: (() => void) | null = null;
  const failures: unknown[] = [];

  const fail = (error: unknown): void => {
    failures.push(error);
    abort.abort(error);
    wake?.();
  };
  const start = (item: T): void => {
    const entry: (typeof started)[number] = { result: null, settled: run() };
    async function run(): Promise<void> {
      try {
        const value = await work(item, abort.signal);
        entry.result = { value };
        wake?.();
      } catch (error) {
        fail(error);
      }
    }
    started.push(entry);
  };
  const pull = async (): Promise<void> => {
    try {
      const next = await items.next();
      if (next.done === true) exhausted = true;
      else if (!abort.signal.aborted) start(next.value);
      else options.discard?.(next.value);
    } catch (error) {
      exhausted = true;
      fail(error);
    }
    pulling = null;
    wake?.();
  };
  const endSource = async (): Promise<void> => {
    try {
      await items.return?.();
    } catch (error) {
      // What went wrong first counts, not what its clean-up says.
      if (failures.length === 0) throw error;
    }
  };
  const onAbort = (): void => {
    fail(new VaultError('interrupted', 'The operation was interrupted.', { cause: options.signal?.reason }));
  };
  if (options.signal?.aborted === true) onAbort();
  options.signal?.addEventListener('abort', onAbort);
  try {
    while (failures.length === 0) {
      const ready = started[0]?.result ?? null;
      if (ready !== null) {
        started.shift();
        yield ready.value;
      } else if (!exhausted && pulling === null && started.length < options.inFlight) {
        pulling = pull();
      } else if (exhausted && started.length === 0) {
        break;
      } else {
        const change = Promise.withResolvers<void>();
        wake = change.resolve;
        await change.promise;
      }
    }
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    abort.abort();
    await Promise.all([pulling, ...started.map((entry) => entry.settled)]);
    if (!exhausted) await endSource();
  }
  if (failures.length > 0) throw failures[0];
}

function iterate<T>(source: AsyncIterable<T> | Iterable<T>): AsyncIterator<T> | Iterator<T> {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
}

/**
 * Runs `work` for every item, at most `inFlight` at a time, in no particular order of completion.
 *
 * @throws like `mapOrdered`
 */
export async function forEachBounded<T>(
  source: Source<T>,
  work: (item: T, signal: AbortSignal) => Promise<void>,
  options: { readonly inFlight: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const results = mapOrdered(source, work, options);
  while ((await results.next()).done !== true);
}
