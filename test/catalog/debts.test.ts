/** Debts: of manifests, which may be stored anew under the same name while an older debt is paid; and none of what was found. */
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Catalog, GarbageRow } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { freshPostgres, runShared } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { chunk, chunkIds, file, hex, owedObjects, store, VAULT } from './samples.ts';
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

test('In Postgres a debt that somebody pays while one of its buckets is forgotten is not owed again', async () => {
  const place = await freshPostgres();
  const catalog = await openCatalog(place.url, { create: true, environment: {} });
  for (let i = 0; i < 2; i++) {
    await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('record') });
  }
  const places = [1, 2].map((bucket) => ({ index: 0, bucket, generation: hex(16) }));
  await catalog.addGarbage([{ kind: 'manifest', id: hex(64), k: 0, m: 0, places }]);
  const payer = new Client({ connectionString: inject('postgresUrl') });
  await payer.connect();
  await payer.query(`begin; delete from ${place.schema}.garbage`);
  const forgetting = catalog.removeBucket(1);
  const waiting = `select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and query like '%"${place.schema}"."garbage"%'`;
  await expect.poll(() => runShared(waiting)).toEqual([{ n: 1 }]);
  await payer.query('commit');
  await payer.end();
  await forgetting;
  expect(await Array.fromAsync(catalog.garbage())).toEqual([]);
  await catalog.close();
  await place.drop();
});

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

  describe('what a recovery has found', () => {
    const generation = hex(16);
    const [id, hash] = [hex(64), hex(64)];
    beforeEach(async () => {
      await catalog.beginPut({ generation, owner: 'gone', objects: 'found' });
      await catalog.recordChunks(generation, [chunk(id, hex(16))]);
      await catalog.announceManifest(generation, hash);
    });

    test('is forgotten and not owed when the recovery is discarded', async () => {
      await catalog.discardPut(generation);
      expect(await owedObjects(catalog)).toEqual([]);
      expect(await chunkIds(catalog)).toEqual([]);
    });

    test('is forgotten and not owed when the recovery is buried', async () => {
      const owners: string[] = [];
      await catalog.buryPuts({ leaseMs: 60_000, isGone: (owner) => owners.push(owner) > 0 });
      expect(owners).toEqual(['gone']);
      expect(await catalog.deadPuts()).toEqual([generation]);
      expect(await owedObjects(catalog)).toEqual([]);
      expect(await chunkIds(catalog)).toEqual([]);
    });

    test('is owed when a file that it has become is removed', async () => {
      await catalog.commitPut(generation, file({ hash }));
      await catalog.removeFiles([hash]);
      expect(await owedObjects(catalog)).toHaveLength(4);
    });

    test('is not owed because somebody else has recorded the chunk', async () => {
      const other = hex(16);
      await catalog.beginPut({ generation: other, owner: 'test', objects: 'found' });
      await catalog.recordChunks(other, [chunk(id, hex(16))]);
      expect(await owedObjects(catalog)).toEqual([]);
    });

    test('is told with the word of its owner alone', async () => {
      expect(await catalog.pendingPuts()).toEqual([{ generation, owner: 'gone' }]);
    });
  });
});
