import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { placeShards, readOrder } from '../../src/vault/chunks/placement.ts';
import { seededRandom } from '../support/seeded-random.ts';

const bucketNumbers = fc.array(fc.integer({ min: 1, max: 65_535 }), { maxLength: 40 });
const seeds = fc.integer();

describe('placeShards', () => {
  test('gives every shard a bucket of its own, as long as there are buckets', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 32 }), bucketNumbers, seeds, (count, buckets, seed) => {
        const places = placeShards(count, buckets, seededRandom(seed).below);
        expect(places).toHaveLength(count);
        const placed = places.filter((place) => place !== null);
        expect(new Set(placed).size).toBe(placed.length);
        expect(placed.length).toBe(Math.min(count, new Set(buckets).size));
        expect(buckets).toEqual(expect.arrayContaining(placed));
      }),
    );
  });

  test('leaves the last shards without a bucket where there are too few', () => {
    fc.assert(
      fc.property(bucketNumbers, seeds, (buckets, seed) => {
        const places = placeShards(32, buckets, seededRandom(seed).below);
        const distinct = new Set(buckets).size;
        expect(places.slice(distinct).every((place) => place === null)).toBe(true);
      }),
    );
  });

  test('does not change the list it is given', () => {
    const buckets = [3, 1, 2];
    placeShards(3, buckets, seededRandom(1).below);
    expect(buckets).toEqual([3, 1, 2]);
  });

  test('takes every ordered choice of buckets with the same probability', () => {
    const random = seededRandom(2);
    const counts = new Map<string, number>();
    const draws = 60_000;
    for (let i = 0; i < draws; i += 1) {
      const places = placeShards(3, [1, 2, 3, 4, 5], random.below).join();
      counts.set(places, (counts.get(places) ?? 0) + 1);
    }
    expect(counts.size).toBe(5 * 4 * 3);
    // 59 degrees of freedom: a fair choice exceeds 98.3 once in a thousand seeds.
    expect(chiSquare([...counts.values()], draws / 60)).toBeLessThan(98.3);
  });
});

describe('readOrder', () => {
  test('names every stored shard once', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 32 }),
        fc.array(fc.option(fc.integer({ min: 1, max: 9 })), { maxLength: 32 }),
        fc.subarray([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        seeds,
        (k, buckets, down, seed) => {
          const order = readOrder(chunk(k, ...buckets), new Set(down), seededRandom(seed).below);
          const stored = [...buckets.keys()].filter((index) => buckets[index] !== null);
          expect(ascending(order)).toEqual(stored);
        },
      ),
    );
  });

  test('tries data shards before parity shards', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const order = readOrder(chunk(3, 1, 2, 3, 4, 5), new Set(), seededRandom(seed).below);
        expect(ascending(order.slice(0, 3))).toEqual([0, 1, 2]);
      }),
    );
  });

  test('tries buckets that are down last, and still data shards first among them', () => {
    const order = readOrder(chunk(2, 1, 2, 3, 4), new Set([1, 2, 4]), seededRandom(1).below);
    expect(order[0]).toBe(2);
    expect(ascending(order.slice(1, 3))).toEqual([0, 1]);
    expect(order[3]).toBe(3);
  });

  test('treats all shards of plain copies alike', () => {
    const orders = Array.from({ length: 20 }, (_, seed) =>
      readOrder(chunk(1, 1, 2), new Set(), seededRandom(seed).below).join(),
    );
    expect(new Set(orders)).toEqual(new Set(['0,1', '1,0']));
  });

  test('leaves equals to chance', () => {
    const random = seededRandom(4);
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i += 1) {
      const order = readOrder(chunk(1, 1, 2, 3, 4), new Set(), random.below).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    // 23 degrees of freedom, one in a thousand.
    expect(chiSquare([...counts.values()], 1000)).toBeLessThan(49.7);
  });
});

/** How far counts are from all being `expected`: around the degrees of freedom if they were drawn so. */
function chiSquare(counts: readonly number[], expected: number): number {
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** What `readOrder` takes, with one bucket number a shard. */
function chunk(k: number, ...buckets: readonly (number | null)[]): Parameters<typeof readOrder>[0] {
  return {
    k,
    shards: buckets.map((bucket) => (bucket === null ? null : { bucket, upload: '0123456789abcdef' })),
  };
}

function ascending(numbers: readonly (number | null)[]): number[] {
  return numbers.filter((number) => number !== null).toSorted((a, b) => a - b);
}
