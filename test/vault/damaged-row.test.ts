import { describe, expect, test } from 'vitest';
import { changeCatalog, DATABASE, literal } from '../support/catalog-place.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

/** Stores files, newest last, and changes the rows of some behind the vault's back. */
async function vaultWithDamaged(names: readonly string[], damaged: readonly string[]): Promise<TestVault> {
  const made = await testVault();
  for (const name of names) {
    await putBytes(made.vault, Buffer.from(`content of ${name}`), { name });
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

/** Three versions of a name, while the clock goes backwards, and is too far ahead to number them: only their numbers order them. */
async function threeVersions(): Promise<TestVault> {
  let clock = Date.UTC(2200, 0);
  const made = await testVault({ now: () => (clock -= 3_600_000) });
  for (const number of [1, 2, 3]) await putBytes(made.vault, Buffer.from(`${number}`), { name: 'one' });
  return made;
}

describe('A new version is numbered after one whose row was changed', () => {
  const NEWEST = 'version = (select max(version) from files)';
  const LIES: readonly (readonly [string, string])[] = [
    ['its record is cut off', `update files set record = substr(record, 1, 30) where ${NEWEST}`],
    ['it claims to be a later one', `update files set version = 900 where ${NEWEST}`],
    ['it claims another time', `update files set created_at = 5 where ${NEWEST}`],
    ['all rows are changed', 'update files set created_at = 5'],
  ];

  test.each(LIES)('though %s', async (_, lie) => {
    await using made = await threeVersions();
    const { vault, db } = made;
    await changeCatalog(db, lie);
    expect(await putBytes(vault, Buffer.from('4'), { name: 'one' })).toMatchObject({ version: 4 });
    expect((await getBytes(vault, 'one')).toString()).toBe('4');
    // A catalog that is made anew has the same order.
    await changeCatalog(db, 'delete from files');
    await vault.repair();
    expect((await getBytes(vault, 'one')).toString()).toBe('4');
    expect(
      (await all(vault.list({ all: true }))).map(({ version }) => version).toSorted((a, b) => a - b),
    ).toEqual([1, 2, 3, 4]);
  });

  test.each(LIES)('and the content that it has is known again, though %s', async (_, lie) => {
    await using made = await threeVersions();
    await changeCatalog(made.db, lie);
    expect(await putBytes(made.vault, Buffer.from('3'), { name: 'one' })).toMatchObject({
      version: 3,
      unchanged: true,
    });
  });

  test('though a row of a file that is none comes before it', async () => {
    await using made = await threeVersions();
    const { vault, db } = made;
    await changeCatalog(
      db,
      `insert into files (hash, writer, name_tag, record, version, created_at, expires_at, hidden_at)
       select ${literal(Buffer.alloc(32))}, writer, name_tag, record, 900, 5, expires_at, hidden_at
       from files where ${NEWEST}`,
    );
    const stored = await putBytes(vault, Buffer.from('4'), { name: 'one' });
    expect(stored).toMatchObject({ version: 4 });
    expect((await getBytes(vault, stored.hash)).toString()).toBe('4');
    // Every bucket says that it has no such file.
    expect((await getBytes(vault, 'one')).toString()).toBe('4');
    await changeCatalog(db, 'delete from files');
    await vault.repair();
    expect((await getBytes(vault, 'one')).toString()).toBe('4');
  });

  test('though a bucket is down', async () => {
    await using made = await threeVersions();
    await changeCatalog(made.db, 'update files set created_at = 5');
    const [first] = made.buckets;
    if (first === undefined) throw new RangeError('It has three buckets.');
    first.wrap = (bucket) => faulty(bucket, always('unavailable'));
    expect(await putBytes(made.vault, Buffer.from('4'), { name: 'one' })).toMatchObject({ version: 4 });
  });

  test('and is refused while that one cannot be known', async () => {
    await using made = await threeVersions();
    await changeCatalog(made.db, 'update files set created_at = 5');
    let down = true;
    for (const bucket of made.buckets) {
      bucket.wrap = (plain) =>
        faulty(plain, ({ operation, name }) =>
          down && operation === 'get' && name.startsWith('manifests/')
            ? { kind: 'fail', when: 'before', error: storageError() }
            : null,
        );
    }
    const before = made.objects();
    await expect(putBytes(made.vault, Buffer.from('4'), { name: 'one' })).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(made.objects()).toEqual(before);
    down = false;
    expect(await putBytes(made.vault, Buffer.from('4'), { name: 'one' })).toMatchObject({ version: 4 });
  });

  test('but not after one that was removed, whose row shows it again', async () => {
    await using made = await threeVersions();
    await made.vault.remove(['one']);
    await changeCatalog(made.db, 'update files set hidden_at = null, created_at = 5');
    expect(await putBytes(made.vault, Buffer.from('3'), { name: 'one' })).toMatchObject({
      version: 3,
      unchanged: false,
    });
  });
});

/** As whoever may write to the catalog makes it: with the tag of the name, and a version beyond all others. */
const forge = (db: string): Promise<void> =>
  changeCatalog(
    db,
    `insert into files select ${literal(Buffer.alloc(32, 9))}, writer, name_tag, record, 9000000, created_at + 1, expires_at, hidden_at from files`,
  );

describe('A row that stands first under a name, and that no bucket bears out,', () => {
  test('keeps nobody from getting the file, and from removing it', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, Buffer.from('content'), { name: 'one' });
    await forge(made.db);
    expect((await getBytes(made.vault, 'one')).toString()).toBe('content');
    expect(await made.vault.remove(['one'], {})).toMatchObject({ removed: [{ hash }] });
    expect(await made.vault.undelete(['one'])).toMatchObject({ restored: [{ hash }] });
    await made.session.guard.end();
  });

  test('is told of where a manifest is damaged that may be meant', async () => {
    await using made = await testVault();
    await putBytes(made.vault, Buffer.from('old'), { name: 'one' });
    const { hash } = await putBytes(made.vault, Buffer.from('new'), { name: 'one' });
    await changeCatalog(made.db, 'update files set record = substr(record, 1, 30) where version = 2');
    for (const { storage } of made.buckets) storage.set(`manifests/${hash}`, Buffer.alloc(900));
    await expect(getBytes(made.vault, 'one')).rejects.toMatchObject({ code: 'damaged' });
  });

  test('is told of if it is alone', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, Buffer.from('content'), { name: 'one' });
    await forge(made.db);
    await made.catalog.files.forget([hash]);
    await expect(getBytes(made.vault, 'one')).rejects.toMatchObject({ code: 'damaged' });
  });

  test('is not taken for the newest version if that has a row that was changed', async () => {
    await using made = await testVault();
    await putBytes(made.vault, Buffer.from('old'), { name: 'one' });
    await putBytes(made.vault, Buffer.from('new'), { name: 'one' });
    await changeCatalog(made.db, 'update files set record = substr(record, 1, 30) where version = 2');
    expect((await getBytes(made.vault, 'one')).toString()).toBe('new');
  });
});

/** Of another type where the database takes that, else of another length. */
const ILL_TYPED =
  DATABASE === 'sqlite'
    ? ['name_tag', 'writer', 'record', 'version', 'created_at', 'expires_at'].map(
        (column) => `${column} = 'x'`,
      )
    : [`name_tag = ${literal(Buffer.alloc(3))}`, `writer = ${literal(Buffer.alloc(3))}`];

test.each(ILL_TYPED)(
  'A row with a column of another type (%s) keeps no other file from being listed, and repair makes it anew',
  async (change) => {
    await using made = await testVault();
    for (const name of ['one', 'two', 'three']) await putBytes(made.vault, Buffer.from(name), { name });
    const [{ hash } = { hash: '' }] = await all(made.vault.list());
    await changeCatalog(
      made.db,
      `update files set ${change} where hash = ${literal(Buffer.from(hash, 'hex'))}`,
    );
    const listed: string[] = [];
    const list = async (): Promise<void> => {
      for await (const { name } of made.vault.list()) listed.push(name);
    };
    await expect(list()).rejects.toThrow(/^1 of the catalog’s records/);
    expect(listed).toHaveLength(2);
    expect(await made.vault.repair()).toMatchObject({ outcome: 'whole', recordsRepaired: 1 });
    expect(await all(made.vault.list())).toHaveLength(3);
  },
);

test('A newest version whose row goes by another hash is found in the buckets, not the one before', async () => {
  await using made = await testVault();
  for (const content of ['one', 'two', 'three']) {
    await putBytes(made.vault, Buffer.from(content), { name: 'notes' });
  }
  const { hash } = await made.vault.get('notes');
  await changeCatalog(
    made.db,
    `update files set hash = ${literal(Buffer.alloc(32))} where hash = ${literal(Buffer.from(hash, 'hex'))}`,
  );
  expect((await getBytes(made.vault, 'notes')).toString()).toBe('three');
  await made.vault.remove([hash]);
  expect((await getBytes(made.vault, 'notes')).toString()).toBe('two');
});
