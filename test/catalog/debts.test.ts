/** Debts of manifests: the one kind of object that may be stored anew under the same name while an older debt is paid. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog, GarbageRow } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { freshPostgres } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { file, hex, owedObjects, store, VAULT } from './samples.ts';
import type { CatalogUnderTest } from './samples.ts';

const databases: readonly { readonly title: string; readonly make: () => Promise<CatalogUnderTest> }[] = [
  {
    title: 'SQLite',
    make: async () => {
      const folder = await temporaryFolder();
      return {
        open: () => openCatalog(folder.at('catalog.db'), { create: true }),
        cleanUp: async () => folder[Symbol.asyncDispose](),
      };
    },
  },
  {
    title: 'Postgres',
    make: async () => {
      const place = await freshPostgres();
      return { open: () => openCatalog(place.url, { create: true }), cleanUp: () => place.drop() };
    },
  },
];

describe.each(databases)('In $title', ({ make }) => {
  let place: CatalogUnderTest;
  let catalog: Catalog;
  beforeEach(async () => {
    place = await make();
    catalog = await place.open();
    await catalog.create(VAULT, []);
    await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('record') });
  });
  afterEach(async () => {
    await catalog.close();
    await place.cleanUp();
  });

  const allDebts = async (): Promise<GarbageRow[]> => Array.fromAsync(catalog.garbage());

  test('a manifest that is owed anew while an older debt is paid stays owed', async () => {
    const row = file();
    await store(catalog, row);
    await catalog.removeFiles([row.hash]);
    const older = await allDebts();
    const places = [{ index: 0, bucket: 1, generation: hex(16) }];
    await catalog.addGarbage([{ kind: 'manifest', id: row.hash, k: 0, m: 0, places }]);
    await catalog.settleGarbage(older.map((debt) => ({ row: debt, owed: [] })));
    expect(await owedObjects(catalog)).toHaveLength(1);
    await catalog.settleGarbage((await allDebts()).map((debt) => ({ row: debt, owed: [] })));
    expect(await owedObjects(catalog)).toEqual([]);
  });

  test('a manifest announced by a put that is buried while an older debt of it is paid stays owed', async () => {
    const row = file();
    await store(catalog, row);
    const generation = hex(16);
    await catalog.beginPut({ generation, owner: 'test' });
    await catalog.announceManifest(generation, row.hash);
    await catalog.removeFiles([row.hash]);
    const older = await allDebts();
    await catalog.buryPuts({ leaseMs: 0, isGone: () => true });
    await catalog.settleGarbage(older.map((debt) => ({ row: debt, owed: [] })));
    expect(await owedObjects(catalog)).toHaveLength(1);
  });

  test('a part of a manifest that is still owed stays so under its own debt', async () => {
    await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('record') });
    const row = file();
    await store(catalog, row);
    await catalog.removeFiles([row.hash]);
    const [debt] = await allDebts();
    await catalog.settleGarbage(debt === undefined ? [] : [{ row: debt, owed: debt.places.slice(1) }]);
    const [left] = await allDebts();
    expect(left).toEqual({ ...debt, places: debt?.places.slice(1) });
  });
});
