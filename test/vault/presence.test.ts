/** What the buckets' listings say is there. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { getBytes, putBytes, snapshotOf, testVault } from './harness.ts';

test.each([
  ['less than a page', 19_000, 0],
  // Nobody reads on for ever: storing it once more is safe.
  ['more than a page', 21_000, 1],
])(
  'a chunk behind %s of objects that are none reads back, whether found or stored again',
  async (_, decoys, stored) => {
    const bytes = seededRandom(33).bytes(30_000);
    await using made = await testVault({ buckets: 1 });
    await putBytes(made.vault, bytes, { name: 'a' });
    await using copy = await (await snapshotOf(made)).copy();
    const { storage } = copy.buckets[0] ?? { storage: new Map<string, Uint8Array>() };
    const shard = [...storage.keys()].find((name) => name.startsWith('chunks/')) ?? '';
    for (let i = 0; i < decoys; i += 1)
      storage.set(shard.replace(/\..*/, `.+${10_000 + i}`), new Uint8Array(1));
    const { vault } = await copy.open();
    expect(await putBytes(vault, bytes, { name: 'b' })).toMatchObject({ chunksStored: stored });
    expect(Buffer.from(bytes).equals(await getBytes(vault, 'b'))).toBe(true);
  },
);
