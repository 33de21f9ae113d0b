/** What the buckets' listings say is there. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, putBytes, snapshotOf, testVault } from './harness.ts';

test('chunks behind thousands of objects that are none are found', async () => {
  const bytes = seededRandom(33).bytes(3 * CHUNK_SIZE);
  await using made = await testVault({ buckets: 1 });
  await putBytes(made.vault, bytes, { name: 'a' });
  await using copy = await (await snapshotOf(made)).copy();
  const { storage } = copy.buckets[0] ?? { storage: new Map<string, Uint8Array>() };
  const shards = [...storage.keys()].filter((name) => name.startsWith('chunks/'));
  for (const name of shards) {
    // As many as a page, right before the shard.
    for (let i = 1_000; i < 2_100; i += 1) storage.set(name.replace(/\..*/, `.+${i}`), new Uint8Array(1));
  }
  const { vault } = await copy.open();
  expect(await putBytes(vault, bytes, { name: 'b' })).toMatchObject({ chunksStored: 0 });
});
