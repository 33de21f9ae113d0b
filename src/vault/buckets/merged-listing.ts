/**
 * The listings of several buckets as one, in order of the names: what verify, sweep, repair, recover and the look before a
 * put go by. It holds one page a bucket in memory.
 */
import type { ListedObject } from '../../buckets/bucket.ts';
import { isFailure, VaultError } from '../../errors.ts';
import type { BucketFailure, ReadBucket } from './bucket-set.ts';

/** One name, and who has it. */
export interface MergedEntry {
  readonly name: string;
  readonly holders: readonly Holder[];
}

export interface Holder extends Omit<ListedObject, 'name'> {
  readonly bucket: ReadBucket;
}

export interface MergeOptions {
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of a bucket whose listing failed: it then counts as not asked. Without this, its error ends the listing. */
  readonly onFailure?: ((failure: BucketFailure) => void) | undefined;
}

interface Side {
  readonly bucket: ReadBucket;
  readonly entries: AsyncIterator<ListedObject>;
  next: ListedObject | null;
}

/**
 * Every name with a prefix that any of the buckets lists, in byte order, each once.
 *
 * @throws what a bucket said, unless `onFailure` takes it; `damaged` for a listing that is not in order
 */
export async function* mergedListing(
  buckets: readonly ReadBucket[],
  prefix: string,
  options: MergeOptions = {},
): AsyncGenerator<MergedEntry, void, undefined> {
  const { after, signal } = options;
  const sides: Side[] = [];
  const advance = async (side: Side): Promise<void> => {
    const before = side.next?.name ?? '';
    try {
      const result = await side.entries.next();
      side.next = result.done === true ? null : result.value;
      if (side.next !== null && side.next.name <= before) {
        throw new VaultError('damaged', `${side.bucket.url} lists its objects out of order.`);
      }
    } catch (error) {
      side.next = null;
      if (options.onFailure === undefined || !isFailure(error)) throw error;
      options.onFailure({ bucket: side.bucket, error });
    }
  };
  try {
    await Promise.all(
      buckets.map(async (bucket) => {
        const entries = listLazily(bucket, prefix, { after, signal });
        const side: Side = { bucket, entries, next: null };
        sides.push(side);
        await advance(side);
      }),
    );
    for (;;) {
      let name: string | null = null;
      for (const { next } of sides)
        if (next !== null && (name === null || next.name < name)) name = next.name;
      if (name === null) break;
      const holding = sides.filter(({ next }) => next?.name === name);
      yield {
        name,
        holders: holding.map(({ bucket, next }) => ({
          bucket,
          size: next?.size ?? 0,
          retainedUntilMs: next?.retainedUntilMs,
        })),
      };
      for (const side of holding) await advance(side);
    }
  } finally {
    await Promise.allSettled(sides.map(async ({ entries }) => entries.return?.()));
  }
}

async function* listLazily(
  bucket: ReadBucket,
  prefix: string,
  call: { readonly after: string | undefined; readonly signal: AbortSignal | undefined },
): AsyncGenerator<ListedObject, void, undefined> {
  const storage = await bucket.checked(call.signal);
  yield* storage.list(prefix, call);
}
