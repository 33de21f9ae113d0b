/** What `status` and `info` say of safety is what the buckets list, whatever the catalog has heard. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { putBytes, testVault, twoMachines } from './harness.ts';

const random = seededRandom(33);
const BODY = random.bytes(200_000);

test('a file that another machine has stored is as safe as it lies', async () => {
  await using made = await testVault();
  const { here, there } = await twoMachines(made);
  const { vault: theirs } = await there.open();
  await putBytes(theirs, BODY, { name: 'a' });
  const { vault } = await here.open();
  await vault.verify({ depth: 'listing' });
  const standing = { versions: 1, degraded: 0, safety: new Map([[1, 1]]) };
  expect(await vault.status()).toMatchObject(standing);
  const { uniqueBytes } = await theirs.status();
  // A listing tells the size of a sealed chunk to k - 1 bytes.
  const more = (await vault.status()).uniqueBytes - uniqueBytes;
  expect([more >= 0, more <= 4]).toEqual([true, true]);
  const { placed, survives, placement, storedBytes } = await vault.inspect('a');
  expect({ placed, survives }).toEqual({ placed: { k: 2, m: 1 }, survives: 1 });
  expect(placement.map(({ shards }) => shards.length)).toEqual(placement.map(() => 3));
  expect(storedBytes).toBe((await theirs.inspect('a')).storedBytes);
});

test('what a bucket has of a file is as large as the objects there, compressed or not', async () => {
  await using made = await testVault({ compression: 'auto' });
  const { vault, buckets } = made;
  for (const [name, body] of [
    ['random', BODY],
    ['text', Buffer.from(Array.from({ length: 40_000 }, (_, line) => `${line}\n`).join(''))],
  ] as const) {
    await putBytes(vault, body, { name });
    const { placement, storedBytes } = await vault.inspect(name);
    for (const { url, storage } of buckets) {
      const said = placement.reduce(
        (sum, { shards, shardBytes }) => sum + (shards.includes(url) ? shardBytes : 0),
        0,
      );
      const there = [...storage].filter(([object]) =>
        placement.some(({ chunkId }) => object.includes(chunkId)),
      );
      expect(said).toBe(there.reduce((sum, [, bytes]) => sum + bytes.length, 0));
    }
    const all = placement.reduce((sum, { shards, shardBytes }) => sum + shards.length * shardBytes, 0);
    expect(storedBytes).toBe(all);
  }
});

test('a file whose shards have gone is told as it lies, though the catalog knows where they were', async () => {
  await using made = await testVault();
  const { vault } = made;
  await putBytes(vault, BODY, { name: 'a' });
  const wipe = (at: number): void => {
    const storage = made.buckets[at]?.storage;
    for (const name of storage?.keys() ?? []) if (name.startsWith('chunks/')) storage?.delete(name);
  };
  wipe(0);
  expect(await vault.status()).toMatchObject({ degraded: 1, safety: new Map([[0, 1]]) });
  const { survives, placement } = await vault.inspect('a');
  expect([survives, placement.every(({ shards }) => shards.includes(null))]).toEqual([0, true]);
  for (const at of [1, 2]) {
    wipe(at);
    expect(await vault.status()).toMatchObject({ degraded: 1, safety: new Map([[-1, 1]]) });
    const left = (await vault.inspect('a')).placement.map(({ shards }) =>
      shards.filter((url) => url !== null),
    );
    expect(left).toEqual(left.map(() => (at === 1 ? ['memory:3'] : [])));
  }
});

test('a file that another machine has removed is none that cannot be read', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  const { here, there } = await twoMachines(made);
  const { vault: theirs } = await there.open();
  await theirs.remove(['a'], { graceMs: 0 });
  await theirs.sweep({ waitMs: 0 });
  const { vault } = await here.open();
  expect(await vault.status()).toMatchObject({ versions: 0, removed: 1, degraded: 0, safety: new Map() });
});
