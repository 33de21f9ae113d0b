/** Bounded amounts of things: turns that are taken, pieces that are borrowed, and quantities that are spent. First come, first served. */
import { interrupted, throwIfAborted } from '../errors.ts';

/** Lets a number of things happen at once; the others wait, first come, first served. */
export class Gate {
  readonly #places: Budget;

  /** @param width how many at once, at least 1 */
  constructor(width: number) {
    this.#places = new Budget(width);
  }

  /**
   * Runs something when it is its turn.
   *
   * @throws `interrupted` if the signal is aborted before its turn; then it is never run
   */
  pass<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    return this.#places.spend(1, run, signal);
  }
}

/** A bounded number of things to borrow, made when first needed, first come first served. */
export class Lender<M> {
  readonly #free: M[] = [];
  readonly #make: () => M;
  readonly #most: number;
  #unmade: number;
  readonly #waiting: ((thing: M) => void)[] = [];

  /**
   * @param most how many there may be
   * @param make makes one
   */
  constructor(most: number, make: () => M) {
    this.#most = most;
    this.#unmade = most;
    this.#make = make;
  }

  /** How many there are, if all are free; 0 while any is borrowed. */
  get idle(): number {
    return this.#free.length + this.#unmade === this.#most ? this.#free.length : 0;
  }

  /** Forgets the free ones. Others are made when they are needed. */
  forget(): void {
    this.#unmade += this.#free.splice(0).length;
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
  /** Who waits, in order, and for how much: a Map so that one that gives up leaves at no cost. */
  readonly #waiting = new Map<() => void, number>();

  /** @param total how much may be taken at a time */
  constructor(total: number) {
    this.#total = total;
  }

  /** Whether anybody waits. */
  get isWanted(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Does work that takes some of it, as soon as there is so much. What takes more than there is in all gets its
   * turn alone.
   *
   * @throws `interrupted` if the signal is aborted before; then the work is never begun
   */
  async spend<T>(amount: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    throwIfAborted(signal);
    if (this.isWanted || !this.#fits(amount)) await this.#turn(amount, signal);
    else this.#taken += amount;
    try {
      return await work();
    } finally {
      this.#taken -= amount;
      this.#callOn();
    }
  }

  async #turn(amount: number, signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(start);
        reject(interrupted(signal));
        // There may be enough for those behind it.
        this.#callOn();
      };
      const start = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiting.set(start, amount);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  #callOn(): void {
    for (const [start, amount] of this.#waiting) {
      if (!this.#fits(amount)) return;
      this.#waiting.delete(start);
      this.#taken += amount;
      start();
    }
  }

  #fits(amount: number): boolean {
    return this.#taken === 0 || this.#taken + amount <= this.#total;
  }
}
