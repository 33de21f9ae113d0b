/** What the buckets' listings say is there. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { putBytes, snapshotOf, testVault } from './harness.ts';

test('a chunk behind thousands of objects that are none is found', async () => {
  const bytes = seededRandom(33).bytes(30_000);
  await using made = await testVault({ buckets: 1 });
  await putBytes(made.vault, bytes, { name: 'a' });
  await using copy = await (await snapshotOf(made)).copy();
  const { storage } = copy.buckets[0] ?? { storage: new Map<string, Uint8Array>() };
  const shard = [...storage.keys()].find((name) => name.startsWith('chunks/')) ?? '';
  // More than a page may have, right before the shard.
  for (let i = 10_000; i < 31_000; i += 1) storage.set(shard.replace(/\..*/, `.+${i}`), new Uint8Array(1));
  const { vault } = await copy.open();
  expect(await putBytes(vault, bytes, { name: 'b' })).toMatchObject({ chunksStored: 0 });
});
