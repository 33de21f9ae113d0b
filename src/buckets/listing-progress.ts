import { VaultError } from '../errors.ts';
import { MAX_IDLE_PAGES, MAX_KEYS_PER_PAGE, MAX_LISTED_KEYS, MAX_TOKEN_LENGTH } from './bounds.ts';

/** Watches that a listing of a service with pages goes forward and ends, whatever the service sends. */
export class ListingProgress {
  readonly #tried: string;
  #keys = 0;
  #idlePages = 0;
  /** The greatest key so far; null before the first. */
  #greatest: string | null = null;
  #token: string | null = null;

  /** @param tried what was tried and on what, how messages begin: `Could not list ...` */
  constructor(tried: string) {
    this.#tried = tried;
  }

  /**
   * Takes note of one page.
   *
   * @param keys all keys of the page, also those that are no objects of ours; null for one that cannot be read
   * @param prefix what all of them must start with
   * @throws `damaged` if a limit is passed
   */
  page(keys: readonly (string | null)[], prefix: string): void {
    if (keys.length > MAX_KEYS_PER_PAGE) {
      throw this.broken(`a page has more than ${MAX_KEYS_PER_PAGE} names`);
    }
    this.#keys += keys.length;
    if (this.#keys > MAX_LISTED_KEYS) throw this.broken(`it has more than ${MAX_LISTED_KEYS} names`);
    const before = this.#greatest;
    for (const key of keys) {
      if (key === null) continue;
      if (!key.startsWith(prefix)) throw this.broken('it has names that were not asked for');
      if (this.#greatest === null || key > this.#greatest) this.#greatest = key;
    }
    this.#idlePages = this.#greatest === before ? this.#idlePages + 1 : 0;
    if (this.#idlePages > MAX_IDLE_PAGES) throw this.broken('it does not go forward');
  }

  /**
   * How the listing goes on after a page that is not the last.
   *
   * @param token what the service says
   * @throws `damaged` if that is nothing, the same as before, or too long to be sent back
   */
  next(token: string | null): string {
    if (token === null || token === '') throw this.broken('the answer does not tell how to go on');
    if (token === this.#token) throw this.broken('it begins again where it began before');
    if (token.length > MAX_TOKEN_LENGTH) throw this.broken('the answer’s way to go on is too long');
    this.#token = token;
    return token;
  }

  /** The error for a listing that no working service gives. */
  broken(reason: string): VaultError {
    return new VaultError('damaged', `${this.#tried}: ${reason}. Whatever answers there does not work.`);
  }
}
