/** Small objects that are stored at the same time go together. */
import { batched } from '../../concurrency/batched.ts';
import { isVaultError } from '../../errors.ts';
import type { Bucket, GetCall, ListCall, ListedObject, NewObject, PutCall } from '../bucket.ts';
import type { RemoveCall, Retention } from '../bucket.ts';

/** What is larger takes long alone. */
const MOST_BYTES = 64 * 1024;
/** Objects that go together; fewer than `FEWEST` go one by one, as a put of a single file does. */
const MOST = 64;
const FEWEST = 8;
/** What comes meanwhile makes the next one larger. */
const IN_FLIGHT = 1;

interface Waiting extends NewObject {
  readonly call: PutCall;
}

type Gather = (waiting: Waiting) => Promise<true | undefined>;

/**
 * A bucket that stores small objects together where that is quicker (`putAll`): those with drawn names, and those that replace
 * others. When that fails each is put on its own, and tells what is wrong with it.
 *
 * Belongs outside of `limited`, so that what waits for its turn alone does not keep others waiting, and inside of `retrying`.
 */
export function gathering(bucket: Bucket): Bucket {
  return bucket.putAll === undefined ? bucket : new GatheringBucket(bucket);
}

class GatheringBucket implements Bucket {
  readonly label: string;
  readonly retention: Retention | undefined;
  readonly #bucket: Bucket;
  /** By the folder that they lie in, and whether they replace others. */
  readonly #folders = new Map<string, Gather>();

  constructor(bucket: Bucket) {
    this.label = bucket.label;
    this.retention = bucket.retention;
    this.#bucket = bucket;
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    const { drawn = false, replace = false, retainUntilMs } = call;
    const isPlain = (drawn || replace) && retainUntilMs === undefined && call.signal?.aborted !== true;
    if (isPlain && bytes.length <= MOST_BYTES && (await this.#gather({ name, bytes, call })) === true) return;
    await this.#bucket.put(name, bytes, call);
  }

  async get(name: string, call?: GetCall): Promise<Uint8Array> {
    return await this.#bucket.get(name, call);
  }

  async remove(name: string, call?: RemoveCall): Promise<void> {
    await this.#bucket.remove(name, call);
  }

  list(prefix: string, call?: ListCall): AsyncIterable<ListedObject> {
    return this.#bucket.list(prefix, call);
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }

  #gather(waiting: Waiting): ReturnType<Gather> {
    const { name, call } = waiting;
    const replace = call.replace === true;
    const key = `${replace} ${name.slice(0, name.lastIndexOf('/'))}`;
    let gather = this.#folders.get(key);
    if (gather === undefined) {
      const options = { most: MOST, inFlight: IN_FLIGHT };
      gather = batched<Waiting, true>((all) => this.#putAll(all, replace), options);
      this.#folders.set(key, gather);
    }
    return gather(waiting);
  }

  /** @returns those that are stored: all, or none for sure */
  async #putAll(all: readonly Waiting[], replace: boolean): Promise<ReadonlyMap<Waiting, true>> {
    if (all.length < FEWEST) return NONE;
    const wanted = new Wanted(all);
    try {
      const onDate = (dateMs: number): void => {
        for (const { call } of all) call.onDate?.(dateMs);
      };
      const stored = await this.#bucket.putAll?.(all, { signal: wanted.signal, onDate, replace });
      return stored === true ? new Map(all.map((one) => [one, true])) : NONE;
    } catch (error) {
      // Each on its own tells what it is: an abort, too.
      if (isVaultError(error)) return NONE;
      throw error;
    } finally {
      wanted.end();
    }
  }
}

const NONE: ReadonlyMap<Waiting, true> = new Map();

/** Whether any of those who wait still does: the abort of one is not the others'. */
class Wanted {
  readonly #controller = new AbortController();
  /** Those that have not been aborted. */
  readonly #left: Set<AbortSignal | undefined>;

  constructor(all: readonly Waiting[]) {
    this.#left = new Set(all.map(({ call }) => call.signal));
    for (const signal of this.#left) signal?.addEventListener('abort', this.#onAbort);
    for (const signal of this.#left) if (signal?.aborted === true) this.#leave(signal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(): void {
    for (const signal of this.#left) signal?.removeEventListener('abort', this.#onAbort);
  }

  readonly #onAbort = ({ currentTarget }: Event): void => {
    if (currentTarget instanceof AbortSignal) this.#leave(currentTarget);
  };

  #leave(signal: AbortSignal): void {
    signal.removeEventListener('abort', this.#onAbort);
    this.#left.delete(signal);
    if (this.#left.size === 0) this.#controller.abort(signal.reason);
  }
}
