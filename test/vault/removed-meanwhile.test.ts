/** Files that are removed while somebody reads them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, putBytes, testVault } from './harness.ts';

test('a file that is removed and swept while it is read is said to be removed, not damaged', async () => {
  await using made = await testVault();
  const { vault, session } = made;
  // More chunks than are read ahead.
  const { hash } = await putBytes(vault, seededRandom(1).bytes(600 * CHUNK_SIZE), { name: 'file' });
  await session.guard.end();
  const file = await vault.get(hash);
  const runs = file.content()[Symbol.asyncIterator]();
  await runs.next();
  await vault.remove([hash], { graceMs: 0 });
  expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1 });
  const rest = async (): Promise<void> => {
    while ((await runs.next()).done !== true);
  };
  await expect(rest()).rejects.toMatchObject({ code: 'file-not-found' });
});

test('a file that is removed and swept before its manifest is read is said to be removed, not damaged', async () => {
  await using made = await testVault();
  const { vault, buckets } = made;
  const { hash } = await putBytes(vault, Buffer.from('content'), { name: 'file' });
  const other = await made.reopen();
  // What the removal reads itself does not wait for it.
  const removing = new AsyncLocalStorage<true>();
  const remove = (): Promise<void> =>
    removing.run(true, async () => {
      await vault.remove([hash], { graceMs: 0 });
      await vault.sweep({ waitMs: 0 });
    });
  let removal: Promise<void> | null = null;
  for (const bucket of buckets) {
    bucket.wrap = (storage) => ({
      ...storage,
      get: async (name, call) => {
        if (name.startsWith('manifests/') && removing.getStore() !== true) await (removal ??= remove());
        return storage.get(name, call);
      },
    });
  }
  await expect(other.get(hash)).rejects.toMatchObject({ code: 'file-not-found' });
});

test('a file that is removed once a repair has read the records of removal is not shown again meanwhile', async () => {
  await using made = await testVault();
  const { vault, buckets } = made;
  await putBytes(vault, Buffer.from('content'), { name: 'file' });
  const seen: string[] = [];
  let isRemoved = false;
  let read = 0;
  const remove = async (): Promise<void> => {
    await vault.remove(['file']);
    isRemoved = true;
  };
  for (const bucket of buckets) {
    bucket.wrap = (storage) => ({
      ...storage,
      async *list(prefix, call) {
        yield* storage.list(prefix, call);
        if (prefix === 'deleted/' && (read += 1) === buckets.length) await remove();
      },
      async get(name, call) {
        if (isRemoved) for (const { name: listed } of await Array.fromAsync(vault.list())) seen.push(listed);
        return storage.get(name, call);
      },
    });
  }
  await (await made.reopen()).repair();
  expect(isRemoved).toBe(true);
  expect(seen).toEqual([]);
});
