/** What the listings say of chunks: which are whole, and whether the catalog knows where they lie. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { SHARD_HEADER_SIZE, type Redundancy } from '../../format/shard.ts';
import { SEAL_OVERHEAD } from '../../format/limits.ts';
import { batchesOf } from '../../concurrency/batched.ts';
import { listChunks, type ListedChunk } from '../chunks/chunk-listing.ts';
import { IdSet } from '../chunks/id-set.ts';
import { isRight } from '../chunks/places.ts';
import { isComplete, isEnough, objectNameOf, rowOfSet, setsOf } from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import type { ReadSession } from '../session.ts';
import type { Ground } from './ground.ts';

/** Rows looked up or recorded in one transaction. */
const BATCH = 500;

export interface ChunkCensus {
  /** Chunks of which the listings show a complete set. */
  readonly whole: IdSet;
  /** Rows of places in the catalog that were not what the listings say, and were made anew (or would be). */
  readonly placesRepaired: number;
}

/**
 * Lists all chunks.
 *
 * @param options `redundancy` and `spare`: what counts as whole, see `isWhole`. `places`: whether the catalog's rows are
 *   looked at, and put right. `onWhole`: told of every whole one. `onListed`: of every one
 */
export async function takeCensus(
  session: ReadSession,
  ground: Ground,
  options: {
    readonly redundancy: Redundancy | null;
    readonly spare: number;
    readonly places: boolean;
    readonly onWhole?: ((id: string) => void) | undefined;
    readonly onListed?: ((chunk: ListedChunk) => void) | undefined;
    readonly signal: AbortSignal | undefined;
  },
): Promise<ChunkCensus> {
  const { places, signal } = options;
  const whole = new IdSet();
  let placesRepaired = 0;
  const listed = listChunks(ground.sources, { signal, onFailure: ground.noteFailure });
  for await (const some of batchesOf(listed, BATCH)) {
    if (options.onListed !== undefined) some.forEach(options.onListed);
    const found = some
      .map(({ id, shards }) => ({
        id,
        shards: shards.filter((shard) => !ground.isNamed(objectNameOf(shard))),
      }))
      .filter(({ shards }) => isWhole(shards, options));
    for (const { id } of found) {
      whole.add(id);
      options.onWhole?.(id);
    }
    if (!places) continue;
    const wrong = await wrongPlaces(session, found, options);
    placesRepaired += wrong.length;
    await ground.take([], undefined, ({ catalog }) => catalog.chunks.put(wrong));
  }
  return { whole, placesRepaired };
}

interface Wish {
  /** What a set shall be coded with; null for anything. */
  readonly redundancy: Redundancy | null;
  /** How many buckets may be lost, or lie: see `isEnough`. */
  readonly spare: number;
}

/** Whether shards hold a complete set, none of it in a bucket that is being emptied. */
export function isWhole(shards: readonly ListedShard[], wish: Wish): boolean {
  return wholeSet(shards, wish) !== undefined;
}

function wholeSet(shards: readonly ListedShard[], { redundancy, spare }: Wish): ShardSet | undefined {
  const staying = shards.filter(({ bucket }) => bucket.state === 'active');
  return setsOf(staying).find((set) =>
    redundancy === null ? isEnough(set, spare) : isComplete(set) && isCoded(set, redundancy),
  );
}

export function isCoded(set: Redundancy, { k, m }: Redundancy): boolean {
  return set.k === k && set.m === m;
}

/** The rows that should stand in the place of those that name a shard that is not there. */
async function wrongPlaces(
  session: ReadSession,
  chunks: readonly ListedChunk[],
  wish: Wish,
): Promise<ChunkRow[]> {
  const rows = await session.catalog.chunks.locate(chunks.map(({ id }) => id));
  return chunks.flatMap(({ id, shards }) => {
    const set = wholeSet(shards, wish);
    const row = rows.get(id);
    if (set === undefined || (row !== undefined && isRight(row, shards))) return [];
    return [rowOfSet(set, sealedSizeOf(set))];
  });
}

/** Bytes of the sealed chunk, as far as object sizes tell: readers go by the shards' headers. */
export function sealedSizeOf({ objectSize, k }: ShardSet): number {
  return Math.max(SEAL_OVERHEAD, (objectSize - SHARD_HEADER_SIZE) * k);
}
