/** Bounded, ordered, abort-safe stages over async iterables. Nothing in this package starts work that nobody awaits. */
import { interrupted } from '../errors.ts';

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
 * @param work what to do with one item; must respect the signal
 * @param options `inFlight`: at least 1. `signal`: the caller's, aborts everything. `discard`: takes an item that came
 *   out of the source too late to be worked on
 * @throws what the source or `work` threw first; `interrupted` if the caller's signal was aborted
 */
export async function* mapOrdered<T, U>(
  source: Source<T>,
  work: (item: T, signal: AbortSignal) => Promise<U>,
  options: MapOptions<T>,
): AsyncGenerator<U, void, undefined> {
  const stage = new Stage(source, work, options);
  try {
    for (let next = await stage.next(); next !== null; next = await stage.next()) yield next.value;
  } finally {
    await stage.end();
  }
  stage.throwFailure();
}

/** See `mapOrdered`. */
export interface MapOptions<T> {
  readonly inFlight: number;
  readonly signal?: AbortSignal | undefined;
  readonly discard?: ((item: T) => void) | undefined;
}

/**
 * What has been started and not yet yielded, in order. Everything here only changes this state and calls `#wake`; racing the
 * promises themselves would leave a reaction behind on each for every turn.
 */
class Stage<T, U> {
  readonly #work: (item: T, signal: AbortSignal) => Promise<U>;
  readonly #options: MapOptions<T>;
  readonly #abort = new AbortController();
  readonly #items: AsyncIterator<T> | Iterator<T>;
  readonly #started: Started<U>[] = [];
  readonly #failures: unknown[] = [];
  #pulling: Promise<void> | null = null;
  #exhausted = false;
  #wake: (() => void) | null = null;

  constructor(source: Source<T>, work: (item: T, signal: AbortSignal) => Promise<U>, options: MapOptions<T>) {
    this.#work = work;
    this.#options = options;
    this.#items = iterate(typeof source === 'function' ? source(this.#abort.signal) : source);
    if (options.signal?.aborted === true) this.#onAbort();
    options.signal?.addEventListener('abort', this.#onAbort);
  }

  /** The next result in order; null at the end, also at that which a failure makes. */
  async next(): Promise<{ readonly value: U } | null> {
    while (this.#failures.length === 0) {
      const ready = this.#started[0]?.result ?? null;
      if (ready !== null) {
        this.#started.shift();
        return ready;
      }
      if (!this.#exhausted && this.#pulling === null && this.#started.length < this.#options.inFlight) {
        this.#pulling = this.#pull();
      } else if (this.#exhausted && this.#started.length === 0) {
        return null;
      } else {
        const change = Promise.withResolvers<void>();
        this.#wake = change.resolve;
        await change.promise;
      }
    }
    return null;
  }

  /** Aborts what is under way, and waits for it. */
  async end(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    // With nothing under way there is nobody to be told, and to make an abort takes long.
    if (this.#exhausted && this.#started.length === 0) return;
    this.#abort.abort();
    await Promise.all([this.#pulling, ...this.#started.map((entry) => entry.settled)]);
    if (this.#exhausted) return;
    try {
      await this.#items.return?.();
    } catch (error) {
      // What went wrong first counts, not what its clean-up says.
      if (this.#failures.length === 0) throw error;
    }
  }

  throwFailure(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  readonly #onAbort = (): void => {
    const { signal } = this.#options;
    this.#fail(interrupted(signal));
  };

  #fail(error: unknown): void {
    this.#failures.push(error);
    this.#abort.abort(error);
    this.#wake?.();
  }

  async #pull(): Promise<void> {
    try {
      const next = await this.#items.next();
      if (next.done === true) this.#exhausted = true;
      else if (this.#abort.signal.aborted) this.#options.discard?.(next.value);
      else this.#start(next.value);
    } catch (error) {
      this.#exhausted = true;
      this.#fail(error);
    }
    this.#pulling = null;
    this.#wake?.();
  }

  #start(item: T): void {
    const entry: Started<U> = { result: null, settled: Promise.resolve() };
    entry.settled = this.#run(item, entry);
    this.#started.push(entry);
  }

  async #run(item: T, entry: Started<U>): Promise<void> {
    try {
      entry.result = { value: await this.#work(item, this.#abort.signal) };
      this.#wake?.();
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** One item under way: its result once there is one, and when it has settled either way. */
interface Started<U> {
  result: { readonly value: U } | null;
  settled: Promise<void>;
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
