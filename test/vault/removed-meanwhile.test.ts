import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, putBytes, testVault } from './harness.ts';

test('a file that is removed while it is read is said to be removed, not damaged', async () => {
  await using made = await testVault();
  const { vault } = made;
  // More chunks than are read ahead.
  const { hash } = await putBytes(vault, seededRandom(1).bytes(600 * CHUNK_SIZE), { name: 'file' });
  const file = await vault.get(hash);
  const runs = file.content()[Symbol.asyncIterator]();
  await runs.next();
  await vault.remove([hash]);
  const rest = async (): Promise<void> => {
    while ((await runs.next()).done !== true);
  };
  await expect(rest()).rejects.toMatchObject({ code: 'file-not-found' });
});

test('a file that is removed before its manifest is read is said to be removed, not damaged', async () => {
  await using made = await testVault();
  const { vault, buckets } = made;
  const { hash } = await putBytes(vault, Buffer.from('content'), { name: 'file' });
  const other = await made.reopen();
  let removal: Promise<unknown> | null = null;
  for (const bucket of buckets) {
    bucket.wrap = (storage) => ({
      ...storage,
      get: async (name, call) => {
        if (name.startsWith('manifests/')) await (removal ??= vault.remove([hash]));
        return storage.get(name, call);
      },
    });
  }
  await expect(other.get(hash)).rejects.toMatchObject({ code: 'file-not-found' });
});

test('a file that is removed while a sweep looks at it is not said to be unknown', async () => {
  await using made = await testVault();
  const { vault, buckets } = made;
  const { hash } = await putBytes(vault, Buffer.from('content'), { name: 'file' });
  const sweeping = await made.reopen();
  const hidden = Promise.withResolvers<void>();
  const read = Promise.withResolvers<void>();
  let removal: Promise<unknown> | null = null;
  for (const bucket of buckets) {
    bucket.wrap = (storage) => ({
      ...storage,
      async *list(prefix, call) {
        if (prefix.startsWith('manifests/')) {
          removal ??= vault.remove([hash]);
          await hidden.promise;
        }
        yield* storage.list(prefix, call);
      },
      async remove(name, call) {
        hidden.resolve();
        await read.promise;
        await storage.remove(name, call);
      },
      async get(name, call) {
        const bytes = await storage.get(name, call);
        if (name.startsWith('manifests/')) {
          read.resolve();
          await removal;
        }
        return bytes;
      },
    });
  }
  expect(await sweeping.sweep()).toMatchObject({ unknownFiles: [], unreachable: [] });
});
