import { expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import { all, getBytes, putBytes, testVault } from './harness.ts';

test('A disk that is full when the file shall be listed: the file is told to be in the buckets, and repair lists it', async () => {
  let full = false;
  const wrapCatalog = (catalog: Catalog): Catalog => {
    const put = catalog.files.put.bind(catalog.files);
    catalog.files.put = (rows) =>
      full ? Promise.reject(new VaultError('storage-full', 'There is no room left.')) : put(rows);
    return catalog;
  };
  await using made = await testVault({ wrapCatalog });
  full = true;
  await expect(putBytes(made.vault, Buffer.from('content'), { name: 'one' })).rejects.toMatchObject({
    code: 'storage-full',
    message: expect.stringMatching(/^There is no room left\. The file is in the buckets.*"vault repair"/),
  });
  expect(await all(made.vault.list())).toEqual([]);
  full = false;
  await made.vault.repair();
  expect((await getBytes(made.vault, 'one')).toString()).toBe('content');
});

test('A database that is lost once the buckets have the record: a removal, and what is brought back, is told to stand there, and sync notes it', async () => {
  let lost = false;
  const wrapCatalog = (catalog: Catalog): Catalog => {
    const hide = catalog.files.hide.bind(catalog.files);
    catalog.files.hide = (...args) =>
      lost ? Promise.reject(new VaultError('unavailable', 'It does not answer.')) : hide(...args);
    return catalog;
  };
  await using made = await testVault({ wrapCatalog });
  const { vault } = made;
  await putBytes(vault, Buffer.from('content'), { name: 'one' });
  for (const [change, what, hidden] of [
    [() => vault.remove(['one']), 'removed', true],
    [() => vault.undelete(['one']), 'brought back', false],
  ] as const) {
    lost = true;
    await expect(change()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        new RegExp(`^It does not answer\\. What was ${what} so far is so in the buckets, .*"vault sync"`),
      ),
    });
    expect(await all(vault.list({ deleted: hidden }))).toEqual([]);
    lost = false;
    await vault.sync();
    expect(await all(vault.list({ deleted: hidden }))).toHaveLength(1);
  }
});
