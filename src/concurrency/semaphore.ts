/** Bounded amounts of things: turns that are taken, pieces that are borrowed, and quantities that are spent. First come, first served. */
import { interrupted, throwIfAborted } from '../errors.ts';

/** Lets a number of things happen at once; the others wait, first come, first served. */
export class Gate {
  #free: number;
  /** Who waits, in order: a Set so that one that gives up leaves at no cost. */
  readonly #waiting = new Set<() => void>();

  /** @param width how many at once, at least 1 */
  constructor(width: number) {
    this.#free = width;
  }

  /**
   * Runs something when it is its turn.
   *
   * @throws `interrupted` if the signal is aborted before its turn; then it is never run
   */
  async pass<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    throwIfAborted(signal);
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    try {
      return await run();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(enter);
        reject(interrupted(signal));
      };
      const enter = (): void => {
        this.#waiting.delete(enter);
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiting.add(enter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

/** A bounded number of things to borrow, made when first needed, first come first served. */
export class Lender<M> {
  readonly #free: M[] = [];
  readonly #make: () => M;
  #unmade: number;
  readonly #waiting: ((thing: M) => void)[] = [];

  /**
   * @param most how many there may be
   * @param make makes one
   */
  constructor(most: number, make: () => M) {
    this.#unmade = most;
    this.#make = make;
  }

  /** Waits for a free one. */
  borrow(): Promise<M> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#unmade > 0) {
      this.#unmade -= 1;
      return Promise.resolve(this.#make());
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Gives one back, to whoever has waited longest. */
  giveBack(thing: M): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(thing);
    else next(thing);
  }
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
