/**
 * The whole concurrency story: bounded, ordered, abort-safe stages over async iterables. Nothing else in
 * this package starts work that nobody awaits.
 */
import { VaultError } from './errors.ts';

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

/** A run of bytes in a piece of memory that was borrowed for it. */
export interface FilledChunk<M> {
  readonly memory: M;
  /** Bytes read into the memory's body. */
  readonly length: number;
  /** Whether the source ended with this chunk. */
  readonly isLast: boolean;
}

/**
 * Cuts a source of bytes into chunks of the full size, except the last one. A source of no bytes gives one chunk
 * of length 0, so that there always is a last one.
 *
 * One chunk is read ahead, to know which is the last; at least two pieces of memory are needed.
 *
 * @param read fills the given bytes from the source as far as it goes, and returns how many were filled; fewer than asked means
 *   that the source has ended
 * @param memory `borrow`: waits for free memory; `bodyOf`: the bytes in it to fill, all of one length; `giveBack`: called here only for memory that is not
 *   passed on
 */
export async function* chunked<M>(
  read: (target: Uint8Array) => Promise<number>,
  memory: { borrow(): Promise<M>; bodyOf(memory: M): Uint8Array; giveBack(memory: M): void },
): AsyncGenerator<FilledChunk<M>, void, undefined> {
  let held: M | null = null;
  try {
    held = await memory.borrow();
    let length = await read(memory.bodyOf(held));
    while (true) {
      const isFull = length === memory.bodyOf(held).length;
      if (!isFull) break;
      const ahead = await memory.borrow();
      let aheadLength: number;
      try {
        aheadLength = await read(memory.bodyOf(ahead));
      } catch (error) {
        memory.giveBack(ahead);
        throw error;
      }
      if (aheadLength === 0) {
        memory.giveBack(ahead);
        break;
      }
      const chunk = { memory: held, length, isLast: false };
      held = ahead;
      length = aheadLength;
      yield chunk;
    }
    const last = { memory: held, length, isLast: true };
    held = null;
    yield last;
  } finally {
    if (held !== null) memory.giveBack(held);
  }
}

/** A bounded number of things to borrow, made when first needed, first come first served. */
export class Lender<M> {
  readonly #free: M[] = [];
  readonly #make: () => M;
  #unmade: number;
  readonly #waiting: { resolve: (thing: M) => void; reject: (error: unknown) => void }[] = [];
  #closed: VaultError | null = null;

  /**
   * @param most how many there may be
   * @param make makes one
   */
  constructor(most: number, make: () => M) {
    this.#unmade = most;
    this.#make = make;
  }

  /** Waits for a free one. @throws what `close` was given */
  borrow(): Promise<M> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#unmade > 0) {
      this.#unmade -= 1;
      return Promise.resolve(this.#make());
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Gives one back, to whoever has waited longest. */
  giveBack(thing: M): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(thing);
    else next.resolve(thing);
  }

  /** Fails everybody who waits or will ask. */
  close(error: VaultError): void {
    this.#closed = error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/**
 * Gathers single requests into batches: what arrives while a batch is under way forms the next one, so that a slow
 * answer makes larger batches instead of a longer queue.
 *
 * @param run answers a batch, by item; an item without an answer gets undefined
 * @param options `most`: items a batch; `inFlight`: batches under way at once
 * @returns a function that answers one item
 */
export function batched<T, U>(
  run: (items: readonly T[]) => Promise<ReadonlyMap<T, U>>,
  options: { readonly most: number; readonly inFlight: number },
): (item: T) => Promise<U | undefined> {
  interface Request {
    readonly item: T;
    readonly resolve: (answer: U | undefined) => void;
    readonly reject: (error: unknown) => void;
  }
  const queue: Request[] = [];
  let running = 0;

  const start = async (): Promise<void> => {
    running += 1;
    // One turn of the event loop, so that everything that is asked for in this one goes together.
    await new Promise((resolve) => setImmediate(resolve));
    while (queue.length > 0) {
      const batch = queue.splice(0, options.most);
      try {
        const answers = await run(batch.map((request) => request.item));
        for (const request of batch) request.resolve(answers.get(request.item));
      } catch (error) {
        for (const request of batch) request.reject(error);
      }
    }
    running -= 1;
  };
  return (item) =>
    new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject });
      if (running < options.inFlight) void start();
    });
}

/**
 * Gets a number of answers out of more candidates than are needed: asks as many as are needed, one more for each that
 * gives none, and one more whenever those asked take long. What is still under way in the end is aborted.
 *
 * @param candidates whom to ask, in order of preference
 * @param ask one candidate's answer; null if it has none. What it throws ends everything
 * @param options `need`: answers wanted. `hedgeMs`: how long to wait before asking one more. `onSlow`: told of every candidate
 *   that has been asked for so long without an answer
 * @returns the answers in the order they came; fewer than needed if the candidates have run out
 * @throws what `ask` threw first; `interrupted` if the caller's signal was aborted
 */
export function gather<T, U extends object>(
  candidates: readonly T[],
  ask: (candidate: T, signal: AbortSignal) => Promise<U | null>,
  options: {
    readonly need: number;
    readonly hedgeMs: number;
    readonly onSlow?: (candidate: T) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<U[]> {
  const abort = new AbortController();
  const answers: U[] = [];
  const waits = new Map<T, number>(); // That those now asked have been through.
  let asked = 0;
  let underWay = 0;
  return new Promise<U[]>((resolve, reject) => {
    const onAbort = (): void => {
      fail(
        new VaultError('interrupted', 'The operation was interrupted.', { cause: options.signal?.reason }),
      );
    };
    const hedge = setInterval(() => {
      for (const [candidate, before] of waits) {
        waits.set(candidate, before + 1);
        if (before === 1) options.onSlow?.(candidate);
      }
      void askOne();
    }, options.hedgeMs);
    const end = (): void => {
      clearInterval(hedge);
      options.signal?.removeEventListener('abort', onAbort);
      abort.abort();
    };
    const fail = (error: unknown): void => {
      end();
      reject(error);
    };
    const askOne = async (): Promise<void> => {
      const candidate = candidates[asked];
      if (candidate === undefined) return;
      asked += 1;
      underWay += 1;
      waits.set(candidate, asked <= options.need ? 1 : 0); // Later ones begin in the middle of a wait.
      try {
        const answer = await ask(candidate, abort.signal);
        underWay -= 1;
        waits.delete(candidate);
        if (answer !== null && answers.length < options.need) answers.push(answer);
        proceed();
      } catch (error) {
        fail(error);
      }
    };
    const proceed = (): void => {
      // Answers that come after the end lead to no more questions.
      if (abort.signal.aborted) return;
      while (underWay + answers.length < options.need && asked < candidates.length) void askOne();
      if (answers.length < options.need && underWay > 0) return;
      end();
      resolve(answers);
    };
    if (options.signal?.aborted === true) onAbort();
    options.signal?.addEventListener('abort', onAbort);
    proceed();
  });
}

/**
 * The results of all, once all have settled, also when some fail: what they share (memory) may then be used again.
 *
 * @throws what failed first
 */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

/** A bounded amount of something, such as bytes of memory, first come first served. */
export class Budget {
  readonly #total: number;
  #taken = 0;
  readonly #waiting: { readonly amount: number; readonly start: () => void }[] = [];

  /** @param total how much may be taken at a time */
  constructor(total: number) {
    this.#total = total;
  }

  /**
   * Does work that takes some of it, as soon as there is so much. What takes more than there is in all gets its
   * turn alone.
   */
  async spend<T>(amount: number, work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#fits(amount)) {
      await new Promise<void>((resolve) => {
        this.#waiting.push({ amount, start: resolve });
      });
    } else {
      this.#taken += amount;
    }
    try {
      return await work();
    } finally {
      this.#taken -= amount;
      for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.amount);) {
        this.#taken += next.amount;
        this.#waiting.shift()?.start();
        next = this.#waiting[0];
      }
    }
  }

  #fits(amount: number): boolean {
    return this.#taken === 0 || this.#taken + amount <= this.#total;
  }
}
