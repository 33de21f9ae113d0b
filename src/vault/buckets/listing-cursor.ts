/** Walks a bucket's listing beside a sorted list of what is expected there, one pass for all of it. */
import type { ListedObject } from '../../buckets/bucket.ts';
import { isVaultError } from '../../errors.ts';
import type { VaultError } from '../../errors.ts';
import type { VaultBucket } from './bucket-set.ts';
import { withSignal } from '../session.ts';

/** Most names of one stem that are kept: a hostile listing must not fill the memory. */
const MOST_OF_A_STEM = 4_096;

export class ListingCursor {
  readonly bucket: VaultBucket;
  readonly #range: {
    readonly prefix: string;
    readonly after: string;
    readonly signal: AbortSignal | undefined;
  };
  #entries: AsyncIterator<ListedObject> | null = null;
  /** Read ahead; null at the start and at the end. */
  #next: ListedObject | null = null;
  #ended = false;
  /** Why the listing could not go on; from then on nothing is known of the bucket. */
  failure: VaultError | null = null;

  /**
   * @param range `prefix`: of all names. `after`: where to start, '' for the beginning
   */
  constructor(
    bucket: VaultBucket,
    range: { readonly prefix: string; readonly after: string; readonly signal: AbortSignal | undefined },
  ) {
    this.bucket = bucket;
    this.#range = range;
  }

  /**
   * The objects whose names start with a stem. Each call's stem must be greater than that of the call before.
   *
   * @returns null if the listing has failed
   * @throws `interrupted`
   */
  async take(stem: string): Promise<readonly ListedObject[] | null> {
    const found: ListedObject[] = [];
    try {
      while (!this.#ended && this.failure === null) {
        const entry = this.#next ?? (await this.#read());
        if (entry === null) break;
        if (entry.name.startsWith(stem)) {
          if (found.length < MOST_OF_A_STEM) found.push(entry);
        } else if (entry.name > stem) {
          this.#next = entry;
          break;
        }
        this.#next = null;
      }
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      this.failure = error;
    }
    return this.failure === null ? found : null;
  }

  /** Ends the listing early. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#entries?.return?.();
  }

  async #read(): Promise<ListedObject | null> {
    const { prefix, after, signal } = this.#range;
    if (this.#entries === null) {
      const storage = await this.bucket.checked(signal);
      const entries = storage.list(prefix, { ...withSignal(signal), ...(after === '' ? {} : { after }) });
      this.#entries = entries[Symbol.asyncIterator]();
    }
    const result = await this.#entries.next();
    if (result.done !== true) return result.value;
    this.#ended = true;
    return null;
  }
}
