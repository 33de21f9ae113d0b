import { expect, test } from 'vitest';
import { changeCatalog } from '../support/catalog-place.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';

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

test('verify finds it, by listings alone, and repair makes it anew from the manifest', async () => {
  await using made = await vaultWithDamaged(['one', 'two', 'three'], ['two']);
  const { vault } = made;
  const { outcome, affected, files } = await vault.verify({ depth: 'listing' });
  expect(outcome).toBe('degraded');
  expect(files).toMatchObject({ whole: 2, degraded: 1 });
  expect(affected).toMatchObject([
    { name: null, condition: 'degraded', problems: [{ what: 'record', problem: 'damaged', bucket: null }] },
  ]);
  expect(await vault.repair()).toMatchObject({ outcome: 'whole', recordsRepaired: 1, bytesStored: 0 });
  expect((await all(vault.list())).map(({ name }) => name)).toEqual(['three', 'two', 'one']);
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
  for (const { storage } of made.buckets) {
    for (const name of storage.keys()) if (name.startsWith('manifests/')) storage.delete(name);
  }
  const { outcome, affected, recordsRepaired } = await made.vault.repair();
  expect({ outcome, recordsRepaired }).toEqual({ outcome: 'lost', recordsRepaired: 0 });
  expect(affected).toHaveLength(1);
});
