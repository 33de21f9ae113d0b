/**
 * Slows down whoever guesses. Each server counts for itself, and forgets: what it keeps is bounded, and no state that another one
 * would need.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isVaultError, VaultError } from '../errors.ts';
import type { Clock } from '../host.ts';

/** Wrong guesses that cost nothing but the time of the check. */
const FREE_GUESSES = 5;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;
/** After this long without a wrong guess all is forgotten. */
const FORGOTTEN_MS = 15 * 60_000;
/** Most things that are guessed at; of more the oldest are forgotten. */
const MOST_KEYS = 10_000;
/** Answers to wrong tokens that wait at once; more are given at once, as an error. */
const MOST_WAITING = 64;
const WRONG_TOKEN_MS = 500;

export class Slowdown {
  readonly #wrong = new Map<string, { count: number; lastMs: number }>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #clock: Clock;
  #waiting = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Tries a password, one at a time for each thing that is guessed at.
   *
   * @param key what is guessed at
   * @param attempt rejects with `wrong-password` if it is wrong
   * @throws `wrong-password` with `retryAfterMs` if too many were wrong lately; then it was not tried
   */
  async guessing<T>(key: string, attempt: () => Promise<T>): Promise<T> {
    const before = this.#running.get(key) ?? Promise.resolve();
    const mine = before.then(() => this.#guess(key, attempt));
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#running.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#running.get(key) === settled) this.#running.delete(key);
    }
  }

  async #guess<T>(key: string, attempt: () => Promise<T>): Promise<T> {
    const retryAfterMs = this.#waitFor(key);
    if (retryAfterMs > 0) {
      const message = 'There were too many wrong passwords lately. Try again later.';
      throw new VaultError('wrong-password', message, { retryAfterMs });
    }
    try {
      const result = await attempt();
      this.#wrong.delete(key);
      return result;
    } catch (error) {
      if (isVaultError(error, 'wrong-password')) this.#count(key);
      throw error;
    }
  }

  /** Holds up the answer to a wrong token. @returns false if so many wait that it is refused instead */
  async wrongToken(): Promise<boolean> {
    if (this.#waiting >= MOST_WAITING) return false;
    this.#waiting += 1;
    await delay(WRONG_TOKEN_MS);
    this.#waiting -= 1;
    return true;
  }

  #waitFor(key: string): number {
    const wrong = this.#wrong.get(key);
    if (wrong === undefined || wrong.count < FREE_GUESSES) return 0;
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (wrong.count - FREE_GUESSES));
    return Math.max(0, wrong.lastMs + waitMs - this.#clock.now());
  }

  #count(key: string): void {
    const nowMs = this.#clock.now();
    const known = this.#wrong.get(key);
    const count = known === undefined || nowMs - known.lastMs > FORGOTTEN_MS ? 0 : known.count;
    // The one that was guessed at last comes last.
    this.#wrong.delete(key);
    this.#wrong.set(key, { count: count + 1, lastMs: nowMs });
    const [oldest] = this.#wrong.keys();
    if (this.#wrong.size > MOST_KEYS && oldest !== undefined) this.#wrong.delete(oldest);
  }
}
