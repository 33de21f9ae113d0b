/** Small objects that are stored at the same time go together, and so do objects that are removed. */
import { batched } from '../../concurrency/batched.ts';
import { isVaultError } from '../../errors.ts';
import { MOST_REMOVED } from '../bucket.ts';
import type { Bucket, BucketCall, GetCall, ListCall, ListedObject, NewObject, PutCall } from '../bucket.ts';
import type { RemoveCall, Retention } from '../bucket.ts';

/** What is larger takes long alone. */
const MOST_BYTES = 64 * 1024;
/** Objects that go together; fewer than `FEWEST` go one by one, as a put of a single file does. */
const MOST = 64;
const FEWEST = 8;
/** Batches of a folder under way: what comes meanwhile makes the next one larger. */
const PUTS_IN_FLIGHT = 1;
/** Requests under way that remove: a cloud takes a while for each. */
const REMOVALS_IN_FLIGHT = 2;

interface Waiting extends NewObject {
  readonly call: PutCall;
}

interface Leaving {
  readonly name: string;
  readonly call: RemoveCall;
}

type Remove = (leaving: Leaving) => Promise<true | undefined>;
type Gather = (waiting: Waiting) => Promise<true | undefined>;

/**
 * A bucket that stores small objects together where that is quicker (`putAll`): those with drawn names, and those that replace
 * others. It also removes objects together (`removeAll`). When that fails each is put or removed on its own, and tells what is wrong
 * with it.
 *
 * Belongs outside of `limited`, so that what waits for its turn alone does not keep others waiting, and inside of `retrying`.
 */
export function gathering(bucket: Bucket): Bucket {
  return bucket.putAll === undefined && bucket.removeAll === undefined ? bucket : new GatheringBucket(bucket);
}

class GatheringBucket implements Bucket {
  readonly label: string;
  readonly retention: Retention | undefined;
  readonly #bucket: Bucket;
  /** By the folder that they lie in, and whether they replace others. */
  readonly #folders = new Map<string, Gather>();
  /** Those that stay if they are kept, and the others. */
  readonly #removals: { readonly unlessRetained: Remove; readonly anyway: Remove } | null;

  constructor(bucket: Bucket) {
    this.label = bucket.label;
    this.retention = bucket.retention;
    this.#bucket = bucket;
    const remove = (unlessRetained: boolean): Remove =>
      batched<Leaving, true>((all) => this.#removeAll(all, unlessRetained), {
        most: MOST_REMOVED,
        inFlight: REMOVALS_IN_FLIGHT,
      });
    this.#removals =
      bucket.removeAll === undefined ? null : { unlessRetained: remove(true), anyway: remove(false) };
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    const { drawn = false, replace = false, retainUntilMs } = call;
    const isPlain =
      this.#bucket.putAll !== undefined &&
      (drawn || replace) &&
      retainUntilMs === undefined &&
      call.signal?.aborted !== true;
    if (isPlain && bytes.length <= MOST_BYTES && (await this.#gather({ name, bytes, call })) === true) return;
    await this.#bucket.put(name, bytes, call);
  }

  async get(name: string, call?: GetCall): Promise<Uint8Array> {
    return await this.#bucket.get(name, call);
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    const which = call.unlessRetained === true ? 'unlessRetained' : 'anyway';
    const remove = call.signal?.aborted === true ? undefined : this.#removals?.[which];
    if ((await remove?.({ name, call })) !== true) await this.#bucket.remove(name, call);
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
      const options = { most: MOST, inFlight: PUTS_IN_FLIGHT };
      gather = batched<Waiting, true>((all) => this.#putAll(all, replace), options);
      this.#folders.set(key, gather);
    }
    return gather(waiting);
  }

  #putAll(all: readonly Waiting[], replace: boolean): Promise<ReadonlyMap<Waiting, true>> {
    return together(all, async (signal) => {
      const onDate = (dateMs: number): void => {
        for (const { call } of all) call.onDate?.(dateMs);
      };
      // All are stored, or none for sure.
      return (await this.#bucket.putAll?.(all, { signal, onDate, replace })) === true ? all : [];
    });
  }

  #removeAll(all: readonly Leaving[], unlessRetained: boolean): Promise<ReadonlyMap<Leaving, true>> {
    return together(all, async (signal) => {
      const names = all.map(({ name }) => name);
      const gone = await this.#bucket.removeAll?.(names, { signal, unlessRetained });
      return all.filter(({ name }) => gone?.has(name) === true);
    });
  }
}

/** Does something for several who ask for it, if they are enough. @returns those for whom it is done */
async function together<T extends Asker>(
  all: readonly T[],
  run: (signal: AbortSignal) => Promise<readonly T[]>,
): Promise<ReadonlyMap<T, true>> {
  if (all.length < FEWEST) return new Map();
  const wanted = new Wanted(all);
  try {
    return new Map((await run(wanted.signal)).map((one) => [one, true]));
  } catch (error) {
    // Each on its own tells what it is: an abort, too.
    if (isVaultError(error)) return new Map();
    throw error;
  } finally {
    wanted.end();
  }
}

interface Asker {
  readonly call: BucketCall;
}

/** Whether any of those who wait still does: the abort of one is not the others'. */
class Wanted {
  readonly #controller = new AbortController();
  /** Those that have not been aborted. */
  readonly #left: Set<AbortSignal | undefined>;

  constructor(all: readonly Asker[]) {
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
