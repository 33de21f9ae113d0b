import { expect, test } from 'vitest';
import { changeCatalog } from '../support/catalog-place.ts';
import { all, getBytes, putBytes, testVault } from './harness.ts';

/** Stores files, newest last, and changes the rows of some behind the vault's back. */
async function vaultWithDamaged(names: readonly string[], damaged: readonly string[]) {
  const made = await testVault();
  for (const name of names) {
    await putBytes(made.vault, Buffer.from(`content of ${name}`), { name });
    if (damaged.includes(name)) {
      await changeCatalog(
        made.db,
        'update files set created_at = created_at + 1 where seq = (select max(seq) from files)',
      );
    }
  }
  return made;
}

test('A file whose row was changed keeps no other file from being listed', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['two']);
  const listed: string[] = [];
  const list = async (): Promise<void> => {
    for await (const { name } of made.vault.list()) listed.push(name);
  };
  await expect(list()).rejects.toMatchObject({ code: 'damaged' });
  expect(listed).toEqual(['three', 'one']);
});

test('Several of them are counted', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['one', 'three']);
  await expect(all(made.vault.list())).rejects.toThrow(/^2 files cannot be listed\./);
});

test('A file whose row was changed keeps no new version from being stored under its name', async () => {
  await using made = await vaultWithDamaged(['one'], ['one']);
  await expect(made.vault.get('one')).rejects.toMatchObject({ code: 'damaged' });
  const stored = await putBytes(made.vault, Buffer.from('content of one'), { name: 'one' });
  expect(stored).toMatchObject({ unchanged: false, chunksStored: 0 });
  expect((await getBytes(made.vault, 'one')).toString()).toBe('content of one');
});
