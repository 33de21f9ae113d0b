/** A bucket that shows complete sets of shards which need no other bucket: no reason to leave anything out elsewhere. */
import { expect, test } from 'vitest';
import { parseShardObjectName } from '../../src/format/shard.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHEAP_KDF, getBytes, putBytes, testVault } from './harness.ts';
import { lie } from './lying-bucket.ts';

const random = seededRandom(92);

test.each([
  ['a bucket is taken out', (made) => made.vault.removeBucket('memory:1', { waitMs: 0 })],
  [
    'a bucket has lost everything, which is repaired',
    async (made) => {
      const lost = made.buckets[0]?.storage ?? new Map<string, Uint8Array>();
      for (const name of lost.keys()) if (name.startsWith('chunks/')) lost.delete(name);
      await made.vault.repair();
    },
  ],
] satisfies [string, (made: Awaited<ReturnType<typeof testVault>>) => Promise<unknown>][])(
  'another one lies while %s, and every file is read',
  async (_, change) => {
    await using made = await testVault({ buckets: 5, redundancy: { k: 2, m: 2 } });
    const bodies = Array.from({ length: 6 }, () => random.bytes(20_000));
    for (const [i, body] of bodies.entries()) await putBytes(made.vault, body, { name: `${i}` });
    const secret = random.bytes(20_000);
    const lock = { password: 'lock', cost: CHEAP_KDF };
    const locked = await putBytes(made.vault, secret, { name: 'locked', lock });
    await made.session.guard.end();
    const names = made.buckets.flatMap(({ storage }) => [...storage.keys()]);
    const chunks = new Set(names.flatMap((name) => parseShardObjectName(name)?.chunkId ?? []));
    const [, , , , liar] = made.buckets;
    if (liar === undefined) throw new RangeError('There are five.');
    lie(liar, chunks);
    await change(made);
    // With 2+2 one more may be lost.
    made.buckets[1]?.storage.clear();
    for (const [i, body] of bodies.entries())
      expect((await getBytes(made.vault, `${i}`)).equals(body)).toBe(true);
    const file = await made.vault.get(locked.hash, { lockPassword: () => Promise.resolve('lock') });
    const runs = await Array.fromAsync(file.content({}), (run) => Buffer.from(run));
    expect(Buffer.concat(runs).equals(secret)).toBe(true);
  },
);
