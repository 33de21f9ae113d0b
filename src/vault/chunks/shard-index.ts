/** Where all shards lie, by the buckets' own listings. Takes about 200 bytes of memory for each chunk. */
import type { ChunkRow, ShardPlace } from '../../catalog/catalog.ts';
import { CHUNK_PREFIX, parseShardObjectName, shardObjectSize } from '../../format/shard.ts';
import type { ShardName } from '../../format/shard.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { withSignal } from '../session.ts';

export interface ShardIndex {
  /**
   * The catalog's row of a chunk.
   *
   * @param sealedSize the chunk's, in bytes: shards of another size are not its
   * @returns null if no bucket has any shard of it
   */
  rowOf(chunkId: string, sealedSize: number): ChunkRow | null;

  /**
   * A row with the shards that it lacks, as far as buckets have them; if that is not enough to read the chunk, and it is
   * there with another redundancy, the row of that.
   *
   * @returns null if nothing is to be had that the row lacks
   */
  completed(row: ChunkRow): ChunkRow | null;
}

interface FoundShard extends ShardPlace {
  readonly k: number;
  readonly m: number;
  readonly index: number;
  readonly size: number;
}

/**
 * Lists the shards of all given buckets.
 *
 * @param options `passesOver`: whether an object is not to be built upon, because it will go
 * @throws if any listing fails: half an index would look like a loss
 */
export async function listShards(
  buckets: readonly VaultBucket[],
  {
    passesOver,
    signal,
  }: {
    readonly passesOver: (bucket: VaultBucket, name: string, shard: ShardName) => boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<ShardIndex> {
  // The listed fields as text: a string of 40 bytes takes a fifth of an object of six fields.
  const shards = new Map<string, string>();
  for (const bucket of buckets) {
    const storage = await bucket.open();
    for await (const { name, size } of storage.list(CHUNK_PREFIX, withSignal(signal))) {
      const shard = parseShardObjectName(name);
      if (shard === null || passesOver(bucket, name, shard)) continue;
      const { chunkId, k, m, index, generation } = shard;
      const fields = [k, m, index, generation, bucket.number, size].join(' ');
      const others = shards.get(chunkId);
      shards.set(chunkId, others === undefined ? fields : `${others},${fields}`);
    }
  }
  const found = (chunkId: string): FoundShard[] => {
    const fields = shards.get(chunkId);
    return fields === undefined ? [] : fields.split(',').map(parseFields);
  };
  const rowOf = (chunkId: string, sealedSize: number): ChunkRow | null =>
    bestRow(chunkId, sealedSize, found(chunkId));
  return {
    rowOf,
    completed(row) {
      const { id, k, m, sealedSize } = row;
      if (!row.shards.includes(null)) return null;
      const size = shardObjectSize(sealedSize, k);
      const fitting = found(id).filter((shard) => shard.k === k && shard.m === m && shard.size === size);
      const next = withShards(row, fitting);
      const best = countPlaces(next) < k ? rowOf(id, sealedSize) : null;
      if (best !== null && countPlaces(best) >= best.k) return best;
      return countPlaces(next) > countPlaces(row) ? next : null;
    },
  };
}

function parseFields(text: string): FoundShard {
  const [k, m, index, generation = '', bucket, size] = text.split(' ');
  return {
    k: Number(k),
    m: Number(m),
    index: Number(index),
    generation,
    bucket: Number(bucket),
    size: Number(size),
  };
}

/** Of the redundancies that a chunk is found with, the one with most shards to spare. */
function bestRow(chunkId: string, sealedSize: number, found: readonly FoundShard[]): ChunkRow | null {
  const fitting = found.filter(({ k, size }) => size === shardObjectSize(sealedSize, k));
  const groups = Map.groupBy(fitting, ({ k, m }) => `${k}+${m}`);
  let best: { readonly row: ChunkRow; readonly spare: number } | null = null;
  for (const group of groups.values()) {
    const [first] = group;
    if (first === undefined) continue;
    const { k, m } = first;
    const none = Array.from<null>({ length: k + m }).fill(null);
    const row = withShards({ id: chunkId, k, m, sealedSize, shards: none }, group);
    const spare = countPlaces(row) - k;
    if (best === null || spare > best.spare) best = { row, spare };
  }
  return best?.row ?? null;
}

/** The row with places for the shards that it lacks, out of those found. */
function withShards(row: ChunkRow, found: readonly FoundShard[]): ChunkRow {
  const shards = [...row.shards];
  const used = new Set(shards.map((place) => place?.bucket));
  for (const { index, bucket, generation } of found) {
    // One shard a bucket: two in one would be lost together.
    if (shards[index] !== null || used.has(bucket)) continue;
    shards[index] = { bucket, generation };
    used.add(bucket);
  }
  // A second shard in a bucket is still better than none.
  for (const { index, bucket, generation } of found) shards[index] ??= { bucket, generation };
  return { ...row, shards };
}

function countPlaces({ shards }: ChunkRow): number {
  return shards.filter((place) => place !== null).length;
}
