/** A recovery that is repeated, beside what the catalog has already: nothing of what the buckets hold may be lost by it. */
import { describe, expect, test } from 'vitest';
import { memoryBucket } from '../../src/buckets/memory.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { VaultError } from '../../src/errors.ts';
import { openVaultFrom } from '../../src/vault/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { RecoverResult } from '../../src/vault/recover/recover.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { catalogPlace, sampled } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, parts, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(3);
const SHARED = random.bytes(CHUNK_SIZE);
const CONTENTS = new Map(
  ['a', 'b', 'c'].map((name) => [name, Buffer.concat([SHARED, random.bytes(2 * CHUNK_SIZE + 7)])]),
);

async function putAll({ vault }: TestVault): Promise<void> {
  for (const [name, bytes] of CONTENTS) await putBytes(vault, bytes, { name });
}

interface How {
  /** How many of the buckets are given; all unless said otherwise. */
  readonly buckets?: number;
  /** The process's word. */
  readonly self?: string;
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
}

function openerOf({ buckets }: TestVault) {
  return (url: string): Promise<ReturnType<typeof memoryBucket>> =>
    Promise.resolve(memoryBucket(url, buckets.find((bucket) => bucket.url === url)?.storage ?? new Map()));
}

const down = (): never => {
  throw new VaultError('unavailable', 'The test has taken the bucket away.');
};
const givePassword = (): Promise<string> => Promise.resolve(PASSWORD);

/** Recovers into the catalog at `db`, which may be there already. */
async function recoverInto(db: string, made: TestVault, how: How = {}): Promise<RecoverResult> {
  const { buckets = made.buckets.length, self = 'test-process', wrapCatalog = (catalog) => catalog } = how;
  const opened = await openCatalog(db, { create: true });
  try {
    const { catalog, opener, password: _, ...rest } = parts(wrapCatalog(opened), openerOf(made), { self });
    const urls = made.buckets.slice(0, buckets).map(({ url }) => url);
    return await recoverCatalog({ catalog, urls, opener, password: givePassword, parts: rest });
  } finally {
    await opened.close();
  }
}

async function openAt(db: string, made: TestVault): Promise<{ vault: Vault; catalog: Catalog }> {
  const catalog = await openCatalog(db);
  return { vault: await openVaultFrom(parts(catalog, openerOf(made))), catalog };
}

/** All files come back, and nothing was wrong with any. */
async function readAll(vault: Vault): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for await (const { hash, name } of vault.list({ all: true })) {
    const bytes = await getBytes(vault, hash, ({ message }) => {
      throw new Error(message);
    });
    contents.set(name, bytes);
  }
  return contents;
}

/** Lets the n-th call of a method end the process: nothing happens any more. */
function endingAt(method: keyof Catalog, nth: number): (catalog: Catalog) => Catalog {
  let calls = 0;
  let ended = false;
  return (catalog) =>
    new Proxy(catalog, {
      get(target, key): unknown {
        const member: unknown = Reflect.get(target, key);
        if (typeof member !== 'function' || key === 'close') return member;
        return (...args: unknown[]): unknown => {
          if (key === method) calls += 1;
          ended ||= key === method && calls === nth;
          if (ended) throw new VaultError('unavailable', 'The test has ended the process.');
          return Reflect.apply(member, target, args);
        };
      },
    });
}

describe('A recovery that was cut short', () => {
  const CUTS: readonly (readonly [keyof Catalog, number])[] = [
    ['beginPut', 2],
    ['recordChunks', 2],
    ['commitPut', 1],
    ['commitPut', 2],
    ['commitPut', 3],
  ];
  test.each(sampled(CUTS))(
    'at %s, call %i, lets nothing be removed until it has been repeated',
    async (method, nth) => {
      await using made = await testVault();
      await putAll(made);
      await using place = await catalogPlace();
      const db = place.location;
      const wrapCatalog = endingAt(method, nth);
      await expect(recoverInto(db, made, { self: 'gone', wrapCatalog })).rejects.toMatchObject({
        code: 'unavailable',
      });
      const before = made.objects();
      {
        const { vault } = await openAt(db, made);
        await expect(vault.sweep({ strayGraceMs: 0 })).rejects.toMatchObject({ code: 'unavailable' });
        await expect(vault.remove(['a'])).rejects.toMatchObject({ code: 'unavailable' });
        await vault.close();
      }
      expect(made.objects()).toEqual(before);
      await recoverInto(db, made);
      const { vault, catalog } = await openAt(db, made);
      await vault.sweep({ strayGraceMs: 0 });
      expect(await readAll(vault)).toEqual(CONTENTS);
      expect(await discrepancies(catalog, made.buckets)).toEqual([]);
      await vault.close();
    },
  );

  test('in the end lets files be removed also by those who have opened the vault before', async () => {
    await using made = await testVault();
    await putAll(made);
    await using place = await catalogPlace();
    const db = place.location;
    await expect(recoverInto(db, made, { wrapCatalog: endingAt('commitPut', 3) })).rejects.toThrow(
      VaultError,
    );
    const { vault } = await openAt(db, made);
    await recoverInto(db, made);
    expect(await vault.remove(['a'])).toMatchObject({ removed: [{ name: 'a' }] });
    await vault.close();
  });
});

describe('A recovery with buckets that an earlier one did not have', () => {
  test.each(sampled([1, 2, 3, 4]))('finds their shards, after one with %i of 5', async (first) => {
    await using made = await testVault({ buckets: 5, redundancy: { k: 2, m: 1 } });
    await putAll(made);
    await using place = await catalogPlace();
    const db = place.location;
    await recoverInto(db, made, { buckets: first });
    await recoverInto(db, made);
    const { vault, catalog } = await openAt(db, made);
    expect(await discrepancies(catalog, made.buckets)).toEqual([]);
    expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole', files: { whole: 3 } });
    expect(await readAll(vault)).toEqual(CONTENTS);
    await vault.close();
  });

  test('finds their shards also if they have been added and swept before', async () => {
    await using made = await testVault({ buckets: 5, redundancy: { k: 2, m: 1 } });
    await putAll(made);
    await using place = await catalogPlace();
    const db = place.location;
    await recoverInto(db, made, { buckets: 1 });
    const before = made.objects();
    {
      const { vault } = await openAt(db, made);
      for (const { url } of made.buckets.slice(1)) await vault.addBucket(url);
      await vault.sweep({ strayGraceMs: 0 });
      expect(made.objects()).toEqual(before);
      await vault.close();
    }
    await recoverInto(db, made);
    const { vault } = await openAt(db, made);
    expect(await readAll(vault)).toEqual(CONTENTS);
    await vault.close();
  });

  test('finds a file whose list of chunks could not be read before', async () => {
    await using made = await testVault({ buckets: 5, redundancy: { k: 2, m: 1 } });
    // More chunks than a table of one chunk can list.
    const content = Buffer.alloc(1900 * CHUNK_SIZE);
    for (let at = 0; at < content.length; at += CHUNK_SIZE) content.writeUInt32BE(at, at);
    await putBytes(made.vault, content, { name: 'large' });
    await using place = await catalogPlace();
    const db = place.location;
    expect(await recoverInto(db, made, { buckets: 1 })).toMatchObject({
      complete: 0,
      lost: [{ name: 'large' }],
    });
    const before = made.objects();
    {
      const { vault } = await openAt(db, made);
      await vault.sweep({ strayGraceMs: 0 });
      await vault.close();
    }
    expect(made.objects()).toEqual(before);
    expect(await recoverInto(db, made)).toMatchObject({ complete: 1, lost: [] });
    const { vault } = await openAt(db, made);
    expect((await readAll(vault)).get('large')?.equals(content)).toBe(true);
    await vault.close();
  });
});

describe('A recovery beside a catalog that is there', () => {
  test('does not bring back a file that was removed while a bucket was down', async () => {
    await using made = await testVault();
    await putAll(made);
    const [, , third] = made.buckets;
    if (third === undefined) throw new Error('There are three buckets.');
    third.wrap = (bucket) => ({ ...bucket, put: down, get: down, remove: down, list: down });
    const other = await made.reopen();
    const { objectsOwed } = await other.remove(['a']);
    expect(objectsOwed).toBeGreaterThan(0);
    third.wrap = (bucket) => bucket;

    await recoverInto(made.db, made);
    expect((await all(made.vault.list({ all: true }))).map(({ name }) => name)).toEqual(['c', 'b']);
    await made.vault.sweep();
    expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
  });

  test.each(['at once', 'later'] as const)(
    'does not bring back a file that is removed while it lists, whose objects go %s',
    async (when) => {
      await using made = await testVault();
      await putAll(made);
      const other = await made.reopen();
      let removal: Promise<unknown> | null = null;
      const remove = async (): Promise<void> => {
        if (when === 'later') {
          for (const bucket of made.buckets) bucket.wrap = (storage) => ({ ...storage, remove: down });
        }
        await other.remove(['a']);
      };
      // The manifests have been listed by now.
      const wrapCatalog = (catalog: Catalog): Catalog => ({
        ...catalog,
        knownManifests: async (hashes) => {
          await (removal ??= remove());
          return catalog.knownManifests(hashes);
        },
      });
      const recovered = await recoverInto(made.db, made, { wrapCatalog });
      expect(recovered).toMatchObject({ known: 2, complete: 0, lost: [], unreadableManifests: [] });
      for (const bucket of made.buckets) bucket.wrap = (storage) => storage;
      await made.vault.sweep();
      expect([...(await readAll(made.vault)).keys()].toSorted()).toEqual(['b', 'c']);
      expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
    },
  );

  test('changes nothing when nothing is missing', async () => {
    await using made = await testVault();
    await putAll(made);
    const before = await all(made.catalog.listChunks());
    await recoverInto(made.db, made);
    expect(await all(made.catalog.listChunks())).toEqual(before);
    expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
  });
});
