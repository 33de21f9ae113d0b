/** Where chunks lie: what the buckets list, beside what the catalog says of it. */
import type { Catalog, ChunkRow } from '../../catalog/catalog.ts';
import { isEnough, mostSealedOf, rowOfSet, setsOf, type ListedShard } from './shard-sets.ts';
import type { ListedChunk } from './chunk-listing.ts';

/** Whether every place of a row has its shard, and none is open. */
export function isRight(row: ChunkRow, shards: readonly ListedShard[]): boolean {
  const { k, m, sealing } = row;
  return row.shards.every(
    (place, index) =>
      place !== null &&
      shards.some(
        ({ bucket, name }) =>
          bucket.number === place.bucket &&
          name.upload === place.upload &&
          name.index === index &&
          name.sealing === sealing &&
          name.k === k &&
          name.m === m,
      ),
  );
}

/**
 * Where a chunk lies by its listed shards: as its row says, if that is right.
 *
 * @param spare how many buckets may lie, see `isEnough`
 * @returns null if nothing of it is listed
 */
export function placeOf(
  shards: readonly ListedShard[],
  row: ChunkRow | undefined,
  spare: number,
): ChunkRow | null {
  if (row !== undefined && isRight(row, shards)) return row;
  const sets = setsOf(shards);
  const best = sets.find((set) => isEnough(set, spare)) ?? sets[0];
  return best === undefined ? null : rowOfSet(best, mostSealedOf(best));
}

/**
 * Where those chunks lie of which the catalog does not say what the buckets list, by id; null for what none lists.
 *
 * @param listed chunks by id, as `listChunks` gives them
 * @throws what listing and catalog throw
 */
export async function otherPlaces(
  { chunks }: { readonly chunks: Pick<Catalog['chunks'], 'walk'> },
  listed: AsyncIterable<ListedChunk>,
  { spare, signal }: { readonly spare: number; readonly signal: AbortSignal | undefined },
): Promise<ReadonlyMap<string, ChunkRow | null>> {
  const others = new Map<string, ChunkRow | null>();
  const rows = chunks.walk({ signal })[Symbol.asyncIterator]();
  const next = async (): Promise<ChunkRow | undefined> => {
    const result = await rows.next();
    return result.done === true ? undefined : result.value;
  };
  try {
    let row = await next();
    for await (const { id, shards } of listed) {
      for (; row !== undefined && row.id < id; row = await next()) others.set(row.id, null);
      const known = row?.id === id ? row : undefined;
      if (known !== undefined) row = await next();
      const place = placeOf(shards, known, spare);
      if (place !== known) others.set(id, place);
    }
    for (; row !== undefined; row = await next()) others.set(row.id, null);
    return others;
  } finally {
    await rows.return?.();
  }
}
