import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { memoryBucket } from '../../src/buckets/memory.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { VaultError } from '../../src/errors.ts';
import { openVaultFrom } from '../../src/vault/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { RecoverResult } from '../../src/vault/recover/recover.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import { all, CHUNK_SIZE, getBytes, parts, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

interface Recovered extends AsyncDisposable {
  readonly result: RecoverResult;
  readonly vault: Vault;
}

const refuse = (): Promise<never> => Promise.reject(new Error('recover never writes to the buckets'));

/** Rebuilds a catalog elsewhere from the buckets at the given positions. */
async function recover(
  made: TestVault,
  options: { readonly only?: readonly number[]; readonly password?: string; readonly db?: string } = {},
): Promise<Recovered> {
  await using stack = new AsyncDisposableStack();
  const db = options.db ?? stack.use(await catalogPlace()).location;
  const chosen = made.buckets.filter((_, i) => options.only?.includes(i) ?? true);
  const opener = (url: string): Promise<ReturnType<typeof memoryBucket>> => {
    const bucket = chosen.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new VaultError('bucket-missing', `No bucket ${url}`);
    const plain = memoryBucket(url, bucket.storage);
    return Promise.resolve({ ...wrapped(plain), put: refuse, remove: refuse });
  };
  const catalog = await openCatalog(db, { create: true });
  // The vault closes it, if there comes to be one: recovering shall fail in some of these.
  let opened: Vault | null = null;
  stack.defer(() => (opened ?? catalog).close());
  const { catalog: _, opener: __, password: ___, ...rest } = parts(catalog, opener);
  const result = await recoverCatalog({
    catalog,
    urls: chosen.map(({ url }) => url),
    opener,
    password: () => Promise.resolve(options.password ?? PASSWORD),
    parts: rest,
  });
  const writing = (url: string): Promise<ReturnType<typeof memoryBucket>> => {
    const bucket = chosen.find((candidate) => candidate.url === url);
    return bucket === undefined ? opener(url) : Promise.resolve(memoryBucket(url, bucket.storage));
  };
  const vault = await openVaultFrom(parts(catalog, writing));
  opened = vault;
  const disposal = stack.move();
  return { result, vault, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}

function wrapped(bucket: ReturnType<typeof memoryBucket>): ReturnType<typeof memoryBucket> {
  return {
    label: bucket.label,
    put: (...args) => bucket.put(...args),
    get: (...args) => bucket.get(...args),
    remove: (...args) => bucket.remove(...args),
    list: (...args) => bucket.list(...args),
    close: () => bucket.close(),
  };
}

describe('A lost catalog is rebuilt from the buckets and a password', () => {
  test('with every file, its versions in order, and nothing else', async () => {
    await using made = await testVault();
    const contents = [
      randomBytes(0),
      randomBytes(5),
      randomBytes(3 * CHUNK_SIZE + 1),
      randomBytes(CHUNK_SIZE),
    ];
    for (const [i, bytes] of contents.entries()) await putBytes(made.vault, bytes, { name: `file ${i % 3}` });
    await putBytes(made.vault, randomBytes(10), { name: 'removed' });
    await made.vault.remove(['removed']);
    const before = await all(made.vault.list({ all: true }));
    await using recovered = await recover(made);
    expect(recovered.result).toMatchObject({
      vaultId: made.vault.id,
      complete: 4,
      degraded: [],
      lost: [],
      known: 0,
    });
    expect(await all(recovered.vault.list({ all: true }))).toEqual(before);
    for (const [i, bytes] of contents.entries()) {
      const { hash } = before[before.length - 1 - i] ?? { hash: '' };
      expect(await getBytes(recovered.vault, hash)).toEqual(bytes);
    }
  });

  test('and then put, rm and sweep go on as before', async () => {
    await using made = await testVault();
    const bytes = randomBytes(4 * CHUNK_SIZE);
    const { hash } = await putBytes(made.vault, bytes, { name: 'a' });
    await using recovered = await recover(made);
    const again = await putBytes(recovered.vault, bytes, { name: 'a' });
    expect(again).toMatchObject({ unchanged: true, hash, chunksStored: 0 });
    await putBytes(recovered.vault, bytes, { name: 'b' });
    await recovered.vault.remove(['a', 'b']);
    expect(await recovered.vault.sweep({ strayGraceMs: 0 })).toMatchObject({ strays: 0, objectsOwed: 0 });
    expect(made.objects('chunks/')).toEqual([]);
    expect(made.objects('manifests/')).toEqual([]);
  });

  test('with any m of the buckets missing too: all is readable, and reported as degraded', async () => {
    await using made = await testVault();
    const bytes = randomBytes(3 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    for (const only of [
      [0, 1],
      [0, 2],
      [1, 2],
    ]) {
      await using recovered = await recover(made, { only });
      expect(recovered.result.lost).toEqual([]);
      expect(recovered.result.degraded.map(({ name }) => name)).toEqual(['a']);
      expect(await getBytes(recovered.vault, 'a')).toEqual(bytes);
    }
  });

  test('with more of them missing, what is lost is named', async () => {
    await using made = await testVault({ buckets: 4 });
    await putBytes(made.vault, randomBytes(40 * CHUNK_SIZE), { name: 'large' });
    await using recovered = await recover(made, { only: [0, 1] });
    expect(recovered.result.lost.map(({ name }) => name)).toEqual(['large']);
    await expect(getBytes(recovered.vault, 'large')).rejects.toMatchObject({ code: 'damaged' });
  });

  test('also when tables are stored as chunks', async () => {
    await using made = await testVault();
    const bytes = Buffer.alloc(1_900 * CHUNK_SIZE + 5, 7);
    await putBytes(made.vault, bytes, { name: 'long' });
    await using recovered = await recover(made, { only: [1, 2] });
    expect(recovered.result.lost).toEqual([]);
    expect((await getBytes(recovered.vault, 'long')).equals(bytes)).toBe(true);
  });

  test('once more, it finds nothing new', async () => {
    await using place = await catalogPlace();
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    await using first = await recover(made, { db: place.location });
    expect(first.result).toMatchObject({ complete: 1, known: 0 });
    await putBytes(made.vault, randomBytes(10), { name: 'b' });
    await using second = await recover(made, { db: place.location });
    expect(second.result).toMatchObject({ complete: 1, known: 1 });
    expect((await all(second.vault.list())).map(({ name }) => name)).toEqual(['b', 'a']);
  });

  test('a manifest that is damaged in one bucket is read from another; in all, it is named', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, randomBytes(10), { name: 'a' });
    const name = `manifests/${hash}`;
    made.buckets[0]?.storage.set(name, Buffer.from('rubbish'));
    {
      await using recovered = await recover(made);
      expect(recovered.result.unreadableManifests).toEqual([]);
    }
    for (const { storage } of made.buckets) storage.set(name, Buffer.from('rubbish'));
    await using recovered = await recover(made);
    expect(recovered.result).toMatchObject({ unreadableManifests: [hash], complete: 0 });
  });

  test('not with a wrong password', async () => {
    await using made = await testVault();
    await expect(recover(made, { password: 'wrong' })).rejects.toMatchObject({ code: 'wrong-password' });
  });

  test('not from buckets of two vaults', async () => {
    await using made = await testVault();
    await using other = await testVault();
    const mixed: TestVault = {
      ...made,
      buckets: [made.buckets[0], other.buckets[1]].filter((b) => b !== undefined),
    };
    await expect(recover(mixed)).rejects.toMatchObject({ code: 'invalid-input' });
  });
});

const KEYSLOT_DAMAGE: readonly (readonly [string, (body: Uint8Array) => Uint8Array | null])[] = [
  ['gone', () => null],
  ['cut', (body) => body.subarray(0, 50)],
  ['much too long', (body) => Buffer.concat([body, Buffer.alloc(1024 * 1024, ' ')])],
  ['still a keyslot, with another salt', (body) => changedField(body, 'salt')],
  ['still a keyslot, with another wrapped key', (body) => changedField(body, 'key')],
];

/** The keyslot with one letter of a field changed. */
function changedField(body: Uint8Array, field: string): Uint8Array {
  const text = Buffer.from(body).toString();
  const changed = text.replace(
    new RegExp(`("${field}": *")(.)`),
    (_, start: string, letter: string) => start + (letter === '1' ? '2' : '1'),
  );
  expect(changed).not.toBe(text);
  return Buffer.from(changed);
}

describe('A keyslot that is damaged in one bucket, whichever, keeps nobody out', () => {
  test.each(KEYSLOT_DAMAGE)('%s', async (_, damage) => {
    await using made = await testVault();
    await putBytes(made.vault, Buffer.from('content'), { name: 'file' });
    for (const { storage } of made.buckets) {
      const [name, body] = [...storage].find(([candidate]) => candidate.startsWith('keyslots/')) ?? [];
      if (name === undefined || body === undefined) throw new Error('Every bucket has the keyslot.');
      const damaged = damage(body);
      if (damaged === null) storage.delete(name);
      else storage.set(name, damaged);
      await using recovered = await recover(made);
      expect((await getBytes(recovered.vault, 'file')).toString()).toBe('content');
      // The catalog has the right one, and repair gives it to the bucket.
      expect(await recovered.vault.repair()).toMatchObject({ outcome: 'whole', keyslotsStored: 1 });
      expect(Buffer.from(storage.get(name) ?? []).equals(body)).toBe(true);
    }
  });

  test('damaged in all of them, it is told so', async () => {
    await using made = await testVault();
    for (const { storage } of made.buckets) {
      for (const name of storage.keys())
        if (name.startsWith('keyslots/')) storage.set(name, Buffer.from('{'));
    }
    await expect(recover(made)).rejects.toMatchObject({ code: 'damaged' });
  });
});
