/** Which of the listed shards of a chunk fit together, and whether they are a complete set. Pure. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import {
  formatRedundancy,
  parseShardObjectName,
  shardObjectName,
  shardObjectSize,
} from '../../format/shard.ts';
import type { Redundancy, ShardName } from '../../format/shard.ts';
import type { MergedEntry } from '../buckets/merged-listing.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';

export interface ListedShard {
  readonly bucket: ReadBucket;
  readonly name: ShardName;
  /** Bytes of the object. */
  readonly size: number;
  /** As the listing has told it. */
  readonly retainedUntilMs?: number | undefined;
}

/** Shards of one sealing and one redundancy: any k of different indices give the chunk back. */
export interface ShardSet extends Redundancy {
  readonly chunkId: string;
  readonly sealing: string;
  /** Bytes of each shard object. */
  readonly objectSize: number;
  readonly shards: readonly ListedShard[];
}

/** The shards that a listing entry stands for; empty if its name is not a shard's. */
export function shardsOf({ name, holders }: MergedEntry): ListedShard[] {
  const parsed = parseShardObjectName(name);
  if (parsed === null) return [];
  return holders.map((holder) => ({ ...holder, name: parsed }));
}

export function objectNameOf(shard: ListedShard): string {
  return shardObjectName(shard.name);
}

/** The sets that the shards of one chunk form, fullest first. Objects of another size than the others' are a set of their own. */
export function setsOf(shards: readonly ListedShard[]): ShardSet[] {
  const groups = Map.groupBy(shards, ({ name, size }) => `${name.sealing} ${formatRedundancy(name)} ${size}`);
  const sets = [...groups.values()].flatMap((group): ShardSet[] => {
    const [first] = group;
    if (first === undefined) return [];
    const { chunkId, sealing, k, m } = first.name;
    return [{ chunkId, sealing, k, m, objectSize: first.size, shards: group }];
  });
  return sets.toSorted((a, b) => fullness(b) - fullness(a) || (a.sealing < b.sealing ? -1 : 1));
}

/** How far a set is from complete, as a number that is larger for fuller sets; 1 or more: complete; 0 or more: readable. */
function fullness(set: ShardSet): number {
  const stored = chosenShards(set).size;
  return stored < set.k ? stored - set.k : set.m === 0 ? 1 : (stored - set.k) / set.m;
}

/**
 * At most one shard of each index, each in another bucket, as many as can be had: a maximum matching of indices and buckets
 * (Kuhn's augmenting paths), since the first shard found of an index may lie in the only bucket that has another.
 *
 * @returns shards by index
 */
export function chosenShards(set: ShardSet): ReadonlyMap<number, ListedShard> {
  const byIndex = Map.groupBy(set.shards, ({ name }) => name.index);
  const ofBucket = new Map<ReadBucket, ListedShard>();
  const place = (index: number, tried: Set<ReadBucket>): boolean => {
    for (const shard of byIndex.get(index) ?? []) {
      if (tried.has(shard.bucket)) continue;
      tried.add(shard.bucket);
      const holder = ofBucket.get(shard.bucket);
      if (holder === undefined || place(holder.name.index, tried)) {
        ofBucket.set(shard.bucket, shard);
        return true;
      }
    }
    return false;
  };
  for (const index of byIndex.keys()) place(index, new Set());
  return new Map([...ofBucket.values()].map((shard) => [shard.name.index, shard]));
}

/** Whether every shard is there, each in a bucket of its own. */
export function isComplete(set: ShardSet): boolean {
  return chosenShards(set).size === set.k + set.m;
}

/**
 * Whether a set is complete and survives the loss of so many buckets. Only such a set is a reason to leave other shards out, or to remove
 * them: as many buckets as may be lost may also lie, and together they can show any set that needs no others.
 */
export function isEnough(set: ShardSet, spare: number): boolean {
  return set.m >= spare && isComplete(set);
}

/** Whether enough different shards are there to read the chunk. */
export function isReadable(set: ShardSet): boolean {
  return new Set(set.shards.map(({ name }) => name.index)).size >= set.k;
}

/** The catalog's row of a set. @param sealedSize bytes of the sealed chunk */
export function rowOfSet(set: ShardSet, sealedSize: number): ChunkRow {
  const chosen = chosenShards(set);
  const shards = Array.from({ length: set.k + set.m }, (_, index) => {
    const shard = chosen.get(index);
    return shard === undefined ? null : { bucket: shard.bucket.number, upload: shard.name.upload };
  });
  return { id: set.chunkId, k: set.k, m: set.m, sealing: set.sealing, sealedSize, shards };
}

/** Bytes of the largest sealed chunk that gives objects of a set's size: as much as a listing tells of it. */
export function mostSealedOf(set: ShardSet): number {
  return (set.objectSize - shardObjectSize(0, set.k)) * set.k;
}

/** Whether the objects of a set have the size that a sealed chunk of so many bytes gives. */
export function fitsSize(set: ShardSet, sealedSize: number): boolean {
  return set.objectSize === shardObjectSize(sealedSize, set.k);
}

/** The shards that a row records, as a listing would show them. @param buckets among which its buckets are */
export function shardsOfRow(row: ChunkRow, buckets: readonly ReadBucket[]): ListedShard[] {
  const { id: chunkId, k, m, sealing } = row;
  const size = shardObjectSize(row.sealedSize, k);
  return row.shards.flatMap((place, index) => {
    const bucket = buckets.find(({ number }) => number === place?.bucket);
    return place === null || bucket === undefined
      ? []
      : [{ bucket, name: { chunkId, sealing, index, k, m, upload: place.upload }, size }];
  });
}
