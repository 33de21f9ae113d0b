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
