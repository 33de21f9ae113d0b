import { interrupted, isFailure, throwIfAborted, VaultError } from '../../errors.ts';
import { aroundRetention, bytesOf } from '../bucket.ts';
import type { Bucket, BucketCall, GetCall, ListCall, ListedObject, PutCall } from '../bucket.ts';
import type { RemoveCall, Retention } from '../bucket.ts';
import { within } from './clock.ts';
import { systemClock } from '../../host.ts';
import type { Clock } from '../../host.ts';

/** How long a connection may be silent before it counts as dead, in milliseconds. */
export const DEFAULT_TIMEOUT_MS = 60_000;

/**
 * How long a bucket that has not answered yet may be silent, in milliseconds: a disk has time to spin up, and a host that
 * swallows what it is sent is noticed while somebody still waits.
 */
const DEFAULT_CONTACT_TIMEOUT_MS = 15_000;

/**
 * Each so many bytes have as long again. With the default, a shard of 512 KiB has 90 seconds: 48 of them at once get
 * through a line of 280 KiB per second.
 */
const BYTES_PER_TIMEOUT = 1024 * 1024;

/**
 * Bytes beyond those that have arrived that a `get` is given time for: `maxSize` is a bound and may be far from the size, and
 * a line that has fallen silent is not waited for as long as a large object would take.
 */
const ALLOWED_AHEAD = 2 * 1024 * 1024;

/** Options of `timed`. */
export interface TimedOptions {
  /** Milliseconds that an attempt may take, and as many more for each MiB that it moves. Default 60,000, or 15,000 for a bucket that has not answered yet. */
  readonly timeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/**
 * A bucket whose every attempt ends: one that takes too long is aborted and rejects with `unavailable`, even if
 * the driver ignores its signal. A listing must deliver something, or end, in that time again and again.
 *
 * Time counts from the call, so this belongs right around a driver, inside of whatever makes requests wait.
 *
 * @param bucket the driver
 */
export function timed(bucket: Bucket, options: TimedOptions = {}): Bucket {
  return new TimedBucket(bucket, options);
}

class TimedBucket implements Bucket {
  readonly label: string;
  readonly retention: Retention | undefined;
  readonly putAll: Bucket['putAll'];
  readonly removeAll: Bucket['removeAll'];
  readonly #bucket: Bucket;
  readonly #answeredMs: number;
  readonly #contactMs: number;
  readonly #clock: Clock;
  #isReached = false;

  constructor(bucket: Bucket, options: TimedOptions) {
    this.label = bucket.label;
    this.#bucket = bucket;
    this.#answeredMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#contactMs = options.timeoutMs ?? DEFAULT_CONTACT_TIMEOUT_MS;
    this.#clock = options.clock ?? systemClock;
    this.retention = aroundRetention(bucket.retention, (task, call, work) =>
      this.#within(task, { timeoutMs: () => this.#timeoutMs(), call }, (signal) => work({ ...call, signal })),
    );
    const all = bucket.putAll?.bind(bucket);
    this.putAll =
      all &&
      ((objects, call = {}) =>
        this.#within(
          `storing ${objects.length} objects`,
          { timeoutMs: () => this.#allowedMs(bytesOf(objects)), call },
          (signal) => all(objects, { ...call, signal }),
        ));
    const removeAll = bucket.removeAll?.bind(bucket);
    this.removeAll =
      removeAll &&
      ((names, call = {}) =>
        this.#within(
          `removing ${names.length} objects`,
          { timeoutMs: () => this.#timeoutMs(), call },
          (signal) => removeAll(names, { ...call, signal }),
        ));
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    await this.#within(
      `storing ${name}`,
      { timeoutMs: () => this.#allowedMs(bytes.length), call },
      async (signal) => {
        await this.#bucket.put(name, bytes, { ...call, signal });
      },
    );
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    const startMs = this.#clock.monotonic();
    let lastMs = startMs;
    let arrived = 0;
    const onBytes = (count: number): void => {
      arrived += count;
      this.#isReached = true;
      lastMs = this.#clock.monotonic();
      call.onBytes?.(count);
    };
    const ahead = Math.min(call.maxSize ?? 0, ALLOWED_AHEAD);
    // Silence ends it, and so does a trickle, which a hostile bucket could keep up for ever.
    const timeoutMs = (): number =>
      Math.min(this.#allowedMs(arrived + ahead), lastMs - startMs + this.#allowedMs(ahead));
    return await this.#within(
      `reading ${name}`,
      { timeoutMs, call },
      async (signal) => await this.#bucket.get(name, { ...call, signal, onBytes }),
    );
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    await this.#within(`removing ${name}`, { timeoutMs: () => this.#timeoutMs(), call }, async (signal) => {
      await this.#bucket.remove(name, { ...call, signal });
    });
  }

  async *list(prefix: string, call: ListCall = {}): AsyncIterable<ListedObject> {
    throwIfAborted(call.signal);
    const controller = new AbortController();
    const entries = this.#bucket.list(prefix, { ...call, signal: controller.signal })[Symbol.asyncIterator]();
    // One timer watches all entries: a timer for each would cost more than a page of them does.
    const timeoutMs = (): number => this.#timeoutMs();
    const watch = new Watch(this.#clock, timeoutMs, () => this.#expired('listing', timeoutMs()));
    const onAbort = (): void => {
      watch.end(interrupted(call.signal));
    };
    call.signal?.addEventListener('abort', onAbort, { once: true });
    let ended = false;
    try {
      for (;;) {
        const entry = await this.#noting(watch.wait(entries.next(), controller));
        if (entry.done === true) {
          ended = true;
          return;
        }
        yield entry.value;
        throwIfAborted(call.signal);
      }
    } finally {
      call.signal?.removeEventListener('abort', onAbort);
      watch.close();
      if (!ended) {
        controller.abort();
        // Not awaited: behind an entry that never comes it would never come either.
        void Promise.resolve(entries.return?.()).catch(() => undefined);
      }
    }
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }

  async #within<T>(
    task: string,
    options: { readonly timeoutMs: () => number; readonly call: BucketCall },
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return await this.#noting(
      within(run, {
        timeoutMs: options.timeoutMs,
        expired: (timeoutMs) => this.#expired(task, timeoutMs),
        signal: options.call.signal,
        clock: this.#clock,
      }),
    );
  }

  /** Takes note of whether the bucket answers. */
  async #noting<T>(attempt: Promise<T>): Promise<T> {
    try {
      const result = await attempt;
      this.#isReached = true;
      return result;
    } catch (error) {
      if (isFailure(error) && !error.unreachable) this.#isReached = true;
      throw error;
    }
  }

  #timeoutMs(): number {
    return this.#isReached ? this.#answeredMs : this.#contactMs;
  }

  /** How long moving so many bytes may take. */
  #allowedMs(bytes: number): number {
    return this.#timeoutMs() * (1 + bytes / BYTES_PER_TIMEOUT);
  }

  #expired(task: string, timeoutMs: number): VaultError {
    const seconds = Math.round(timeoutMs / 1000);
    return new VaultError(
      'unavailable',
      `${this.label} did not answer within ${seconds} s while ${task}. A slow line needs more time, or fewer requests at once.`,
      { unreachable: true },
    );
  }
}

/** Ends the wait for the next of many things when it takes too long. */
class Watch {
  readonly #clock: Clock;
  readonly #timeoutMs: () => number;
  readonly #expired: () => VaultError;
  #waiting: { readonly sinceMs: number; readonly reject: (error: VaultError) => void } | null = null;
  #cancel: () => void;

  constructor(clock: Clock, timeoutMs: () => number, expired: () => VaultError) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#expired = expired;
    this.#cancel = this.#look(timeoutMs());
  }

  /** What `next` settles to, or the error with which `end` or the limit ends it; then `controller` is aborted. */
  async wait<T>(next: Promise<T>, controller: AbortController): Promise<T> {
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#waiting = {
          sinceMs: this.#clock.monotonic(),
          reject: (error) => {
            controller.abort(error);
            reject(error);
          },
        };
        next.then(resolve, reject);
      });
    } finally {
      this.#waiting = null;
    }
  }

  end(error: VaultError): void {
    this.#waiting?.reject(error);
  }

  close(): void {
    this.#cancel();
  }

  #look(delayMs: number): () => void {
    return this.#clock.schedule(delayMs, () => {
      const waitedMs = this.#waiting === null ? 0 : this.#clock.monotonic() - this.#waiting.sinceMs;
      const timeoutMs = this.#timeoutMs();
      if (waitedMs >= timeoutMs) this.end(this.#expired());
      else this.#cancel = this.#look(timeoutMs - waitedMs);
    });
  }
}
