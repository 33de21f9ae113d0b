import { describe, expect, test } from 'vitest';
import type { Redundancy } from '../../src/format/shard.ts';
import { VaultBucket } from '../../src/vault/buckets/bucket-set.ts';
import type { BucketState } from '../../src/vault/buckets/bucket-set.ts';
import { IdSet } from '../../src/vault/chunks/id-set.ts';
import type { ListedShard } from '../../src/vault/chunks/shard-sets.ts';
import type { LiveFiles } from '../../src/vault/remove/live.ts';
import { beyondOneSet, planRemoval } from '../../src/vault/remove/plan.ts';
import { testVault } from './harness.ts';

/** Buckets by their numbers, those from 10 on being emptied. */
const buckets = new Map<number, VaultBucket>();
function bucket(number: number): VaultBucket {
  const state: BucketState = number < 10 ? 'active' : 'draining';
  const made =
    buckets.get(number) ??
    new VaultBucket(
      { number, id: '00'.repeat(16), url: `memory:${number}`, state },
      { vaultId: '00'.repeat(16), opener: () => Promise.reject(new Error('not to be opened')) },
    );
  buckets.set(number, made);
  return made;
}

/** Shards of one sealing, the first in the first of these buckets and so on. */
function shards(
  sealing: string,
  { k, m }: Redundancy,
  places: readonly (number | null)[],
  upload = 'a',
): ListedShard[] {
  return places.flatMap((place, index) =>
    place === null
      ? []
      : [
          {
            bucket: bucket(place),
            name: {
              chunkId: 'ab'.repeat(32),
              sealing: sealing.repeat(8),
              index,
              k,
              m,
              upload: upload.repeat(16),
            },
            size: 100,
          },
        ],
  );
}

const VAULT = { k: 2, m: 1 };
const OTHER = { k: 3, m: 1 };
const POORER = { k: 2, m: 0 };

describe('Of the shards of a chunk that is needed there go', () => {
  test('none, where there is one set', () => {
    expect(beyondOneSet(shards('1', VAULT, [1, 2, 3]), VAULT)).toEqual([]);
  });

  test.each([
    ['that is not complete', shards('1', VAULT, [1, 2, null])],
    ['that has two shards in one bucket', shards('1', VAULT, [1, 2, 2])],
    ['that bears less loss than the vault', shards('1', POORER, [1, 2])],
  ])('none beside a set %s', (_, set) => {
    const beside = shards('2', VAULT, [1, null, 2]);
    expect(beyondOneSet([...set, ...beside], VAULT)).toEqual([]);
  });

  test('those that a complete set does not need', () => {
    const twice = shards('1', VAULT, [4, null, null], 'b');
    const begun = shards('2', VAULT, [1, 2, null]);
    const poorer = shards('3', POORER, [1, 2]);
    const beyond = beyondOneSet([...begun, ...shards('1', VAULT, [1, 2, 3]), ...twice, ...poorer], VAULT);
    expect(beyond).toEqual([...begun, ...twice, ...poorer]);
  });

  test('those of another redundancy than the vault’s', () => {
    const [own, other] = [shards('1', VAULT, [1, 2, 3]), shards('2', OTHER, [1, 2, 3, 4])];
    expect(beyondOneSet([...other, ...own], VAULT)).toEqual(other);
  });

  test('those of a set that needs a bucket which is being emptied, whatever its redundancy', () => {
    const leaving = shards('1', VAULT, [1, 2, 10]);
    const moved = shards('2', VAULT, [1, 2, 3]);
    expect(beyondOneSet([...leaving, ...moved], VAULT)).toEqual(leaving);
    const other = shards('2', OTHER, [1, 2, 3, 4]);
    expect(beyondOneSet([...leaving, ...other], VAULT)).toEqual(leaving);
  });

  test('none of the only complete set, also where it needs a bucket which is being emptied', () => {
    const begun = shards('2', VAULT, [1, 2, null]);
    expect(beyondOneSet([...shards('1', VAULT, [1, 2, 10]), ...begun], VAULT)).toEqual(begun);
  });
});

/** Objects of one round. */
const MOST = 100_000;

/** Files whose manifests are to go, each of 10 bytes in two buckets. */
function dead(count: number, blockedBy: string | null = null): LiveFiles {
  const holders = [1, 2].map((number) => ({ bucket: bucket(number), size: 10 }));
  const files = Array.from({ length: count }, (_, i) => ({
    hash: i.toString(16).padStart(64, '0'),
    holders,
    row: null,
  }));
  return {
    ids: new IdSet(),
    dead: files,
    expired: [],
    settled: [],
    learned: 0,
    missing: [],
    blockedBy,
  };
}

describe('A round of a sweep', () => {
  test.each([
    ['', null],
    [', also where no chunk may go', 'something'],
  ])('takes so many objects and no more, and says that there are more%s', async (_, blockedBy) => {
    await using made = await testVault();
    const all = made.session.buckets.all;
    const plan = await planRemoval(made.session, all, { live: dead(MOST + 1, blockedBy), named: new Set() });
    const bytesOf = ({ found }: typeof plan): number =>
      [...found.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    expect([plan.more, bytesOf(plan)]).toEqual([true, 20 * MOST]);
    expect(plan.names).toHaveLength(MOST);
    const named = new Set(plan.names);
    const rest = await planRemoval(made.session, all, { live: dead(MOST + 1, blockedBy), named });
    expect([rest.more, bytesOf(rest)]).toEqual([false, 20]);
    expect(rest.names).toHaveLength(1);
  });
});
