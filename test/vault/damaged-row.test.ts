import { expect, test } from 'vitest';
import { changeCatalog } from '../support/catalog-place.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

/** Stores files, newest last, and changes the rows of some behind the vault's back. */
async function vaultWithDamaged(names: readonly string[], damaged: readonly string[]): Promise<TestVault> {
  const made = await testVault();
  for (const name of names) {
    const { version } = await putBytes(made.vault, Buffer.from(`content of ${name}`), { name });
    expect(version).toBe(1);
    if (damaged.includes(name)) await damageNewest(made);
  }
  return made;
}

async function damageNewest({ db }: TestVault): Promise<void> {
  const newest = 'created_at = (select max(created_at) from files)';
  await changeCatalog(db, `update files set created_at = created_at + 1 where ${newest}`);
}

test('A file whose row was changed keeps no other file from being listed', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['two']);
  const listed: string[] = [];
  const list = async (): Promise<void> => {
    for await (const { name } of made.vault.list()) listed.push(name);
  };
  await expect(list()).rejects.toMatchObject({ code: 'damaged' });
  expect(listed.toSorted()).toEqual(['one', 'three']);
});

test('Several of them are counted', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['one', 'three']);
  await expect(all(made.vault.list())).rejects.toThrow(/^2 of the catalog’s records/);
});

test('A file whose row was changed keeps no new version from being stored under its name', async () => {
  await using made = await vaultWithDamaged(['one'], ['one']);
  const stored = await putBytes(made.vault, Buffer.from('other content of one'), { name: 'one' });
  expect(stored).toMatchObject({ unchanged: false });
  expect((await getBytes(made.vault, stored.hash)).toString()).toBe('other content of one');
});

test('repair makes it anew from the manifest', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['two']);
  const { vault } = made;
  expect(await vault.repair({ dryRun: true })).toMatchObject({ recordsRepaired: 1 });
  await expect(all(vault.list())).rejects.toMatchObject({ code: 'damaged' });
  expect(await vault.repair()).toMatchObject({ outcome: 'whole', recordsRepaired: 1, bytesStored: 0 });
  expect((await all(vault.list())).map(({ name }) => name).toSorted()).toEqual(['one', 'three', 'two']);
  expect((await getBytes(vault, 'two')).toString()).toBe('content of two');
  expect(await vault.repair()).toMatchObject({ recordsRepaired: 0 });
});

test('A record that was made anew knows the content: putting it again stores nothing', async () => {
  const content = Buffer.alloc(5 * CHUNK_SIZE, 'content');
  await using made = await testVault();
  const stored = await putBytes(made.vault, content, { name: 'one' });
  await changeCatalog(made.db, 'update files set created_at = 5');
  await made.vault.repair();
  expect(await putBytes(made.vault, content, { name: 'one' })).toMatchObject({
    hash: stored.hash,
    unchanged: true,
  });
});

test('With no manifest to be read it stays, and is told', async () => {
  await using made = await vaultWithDamaged(['one'], ['one']);
  const hashes = made.objects('manifests/').map((name) => name.slice(-64));
  for (const { storage } of made.buckets) {
    for (const name of storage.keys()) if (name.startsWith('manifests/')) storage.delete(name);
  }
  expect(await made.vault.repair()).toMatchObject({
    outcome: 'lost',
    recordsRepaired: 0,
    filesLost: [hashes[0]],
  });
});
