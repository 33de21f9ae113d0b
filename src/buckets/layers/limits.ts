import { throwIfAborted } from '../../errors.ts';
import { aroundRetention, bytesOf } from '../bucket.ts';
import type { Bucket, GetCall, ListCall, ListedObject, PutCall, RemoveCall, Retention } from '../bucket.ts';
import { Gate } from '../../concurrency/semaphore.ts';
import { sleep } from './clock.ts';
import { systemClock } from '../../host.ts';
import type { Clock } from '../../host.ts';

/** What all buckets of a vault share. Made once, by `createLimits`, and given to each. */
export interface Limits {
  readonly gate: Gate;
  readonly upload: Rate | null;
  readonly download: Rate | null;
}

/**
 * Makes limits that several buckets share.
 *
 * @param options `concurrency`: requests in flight at most, at least 1; `uploadBytesPerSecond` and
 *   `downloadBytesPerSecond`: objects' bytes per second, null for no limit
 */
export function createLimits(options: {
  readonly concurrency: number;
  readonly uploadBytesPerSecond: number | null;
  readonly downloadBytesPerSecond: number | null;
  readonly clock?: Clock | undefined;
}): Limits {
  const clock = options.clock ?? systemClock;
  const rate = (bytesPerSecond: number | null): Rate | null =>
    bytesPerSecond === null ? null : new Rate(bytesPerSecond, clock);
  return {
    gate: new Gate(options.concurrency),
    upload: rate(options.uploadBytesPerSecond),
    download: rate(options.downloadBytesPerSecond),
  };
}

/**
 * A bucket whose requests wait for their turn among all buckets with the same limits. Listings are not
 * counted: each has one request in flight at a time, and whoever reads it may be waiting for a turn himself.
 *
 * Belongs inside of `retrying`, so that nothing keeps its turn while it waits to try again.
 */
export function limited(bucket: Bucket, limits: Limits): Bucket {
  return new LimitedBucket(bucket, limits);
}

/** Bytes of objects that say little more than that a bucket is there. */
const SMALL = 64 * 1024;
/** Bytes of most shards. */
const USUAL = 1024 * 1024;

class LimitedBucket implements Bucket {
  readonly label: string;
  readonly retention: Retention | undefined;
  readonly putAll: Bucket['putAll'];
  readonly removeAll: Bucket['removeAll'];
  readonly #bucket: Bucket;
  readonly #limits: Limits;

  constructor(bucket: Bucket, limits: Limits) {
    this.label = bucket.label;
    this.#bucket = bucket;
    this.#limits = limits;
    this.retention = aroundRetention(bucket.retention, (_, call, work) =>
      limits.gate.pass(call.signal, () => work(call)),
    );
    const all = bucket.putAll?.bind(bucket);
    this.putAll =
      all &&
      (async (objects, call = {}) => {
        await limits.upload?.take(bytesOf(objects), call.signal);
        return await limits.gate.pass(call.signal, () => all(objects, call));
      });
    const removeAll = bucket.removeAll?.bind(bucket);
    this.removeAll =
      removeAll && ((names, call = {}) => limits.gate.pass(call.signal, () => removeAll(names, call)));
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    await this.#limits.upload?.take(bytes.length, call.signal);
    await this.#limits.gate.pass(call.signal, async () => {
      await this.#bucket.put(name, bytes, call);
    });
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    const { download, gate } = this.#limits;
    const read = async (): Promise<Uint8Array> =>
      gate.pass(call.signal, async () => this.#bucket.get(name, call));
    if (download === null) return await read();
    if ((call.maxSize ?? Infinity) > SMALL) return await download.spend(read, call.signal);
    // Whether a bucket is there at all is asked while others wait.
    const bytes = await read();
    download.charge(bytes.length);
    return bytes;
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    await this.#limits.gate.pass(call.signal, async () => {
      await this.#bucket.remove(name, call);
    });
  }

  list(prefix: string, call: ListCall = {}): AsyncIterable<ListedObject> {
    return this.#bucket.list(prefix, call);
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }
}

/**
 * A token bucket without an upper bound on one request: each begins when what went before it is paid for, and its own
 * bytes are paid for by those after it. So the average holds for objects of any size, and a single one never waits.
 */
export class Rate {
  readonly #bytesPerMs: number;
  readonly #clock: Clock;
  /** When all that was taken is paid for, in the clock's milliseconds. */
  #paidAtMs = 0;
  readonly #turns: Gate;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#clock = clock;
    this.#turns = new Gate(Math.max(1, Math.floor(bytesPerSecond / USUAL)));
  }

  /**
   * Waits until it is this request's turn, in the order of calls.
   *
   * @param size bytes that it takes
   * @throws `interrupted`; then nothing was taken
   */
  async take(size: number, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    const nowMs = this.#clock.monotonic();
    const startMs = Math.max(nowMs, this.#paidAtMs);
    this.#paidAtMs = startMs + size / this.#bytesPerMs;
    if (startMs <= nowMs) return;
    try {
      await sleep(this.#clock, { delayMs: startMs - nowMs, signal });
    } catch (error) {
      this.#paidAtMs -= size / this.#bytesPerMs;
      throw error;
    }
  }

  /** Takes bytes that are there already. */
  charge(size: number): void {
    this.#paidAtMs = Math.max(this.#clock.monotonic(), this.#paidAtMs) + size / this.#bytesPerMs;
  }

  /**
   * Gets what takes nobody knows how many bytes. No more of it at a time than a second's worth, since all that is under way has begun
   * before any of it is paid for.
   *
   * @throws `interrupted`; what `work` throws
   */
  async spend<T extends { readonly length: number }>(
    work: () => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#turns.pass(signal, async () => {
      await this.take(0, signal);
      const got = await work();
      this.charge(got.length);
      return got;
    });
  }
}
