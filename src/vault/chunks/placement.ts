/**
 * Which shard goes to which bucket, and in which order shards are read. Pure: buckets are the numbers that the
 * catalog gives them, and chance comes from the caller.
 */
import type { ChunkRow } from '../../catalog/catalog.ts';

/** A whole number from 0 to `limit` - 1, each equally likely; `limit` is at least 1. */
export type RandomBelow = (limit: number) => number;

/**
 * Chooses a bucket of its own for every shard: a uniformly random choice in random order, so that each shard
 * index lands in each bucket with the same probability.
 *
 * @param count shards to place, k + m
 * @param buckets numbers of the buckets that can be written to; repeated ones count once
 * @returns `count` entries by shard index. With too few buckets the last entries, which are parity shards as
 *   long as there are k buckets, are null: what is stored is then read without decoding
 */
export function placeShards(
  count: number,
  buckets: readonly number[],
  random: RandomBelow,
): (number | null)[] {
  const left = [...new Set(buckets)];
  return Array.from({ length: count }, () => takeRandom(left, random));
}

/**
 * In which order to try the shards of a chunk until k of them have been read: those in buckets that are down
 * come last, since a bucket that is thought to be down may be the only hope; data shards come before parity
 * shards, since k data shards need no decoding (with k = 1 no shard needs any); then chance.
 *
 * @param chunk of the catalog's row: `k`, and the places by shard index
 * @param down numbers of the buckets that failed lately
 * @returns the indices of all stored shards
 */
export function readOrder(
  chunk: Pick<ChunkRow, 'k' | 'shards'>,
  down: ReadonlySet<number>,
  random: RandomBelow,
): number[] {
  const candidates = chunk.shards.flatMap((place, index) => {
    if (place === null) return [];
    const isDown = down.has(place.bucket) ? 1 : 0;
    const decoding = index >= chunk.k && chunk.k > 1 ? 1 : 0;
    return [{ index, isDown, decoding }];
  });
  // The sort is stable, so that equal ones stay as shuffled.
  return shuffled(candidates, random)
    .toSorted((a, b) => a.isDown - b.isDown || a.decoding - b.decoding)
    .map(({ index }) => index);
}

function shuffled<T>(list: readonly T[], random: RandomBelow): T[] {
  const left = [...list];
  return list.flatMap(() => takeRandom(left, random) ?? []);
}

/** Takes one element out of a list, each equally likely; null if it is empty. A step of a Fisher-Yates shuffle. */
function takeRandom<T>(list: T[], random: RandomBelow): T | null {
  if (list.length === 0) return null;
  const [taken] = list.splice(random(list.length), 1);
  return taken ?? null;
}
