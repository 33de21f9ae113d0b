import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { freshPostgres, runShared } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import { file, store } from './samples.ts';

/** Ten pages of what a removal drops at a time. */
const CHUNKS = 20_000;

let place: FreshPostgres;
let catalog: Catalog;

beforeEach(async () => {
  place = await freshPostgres();
  catalog = await openCatalog(place.url, { create: true, environment: {} });
});
afterEach(async () => {
  await catalog.close();
  await place.drop();
});

test('to remove a file of many chunks, each reference is looked at a few times and not once for every page', async () => {
  const row = file();
  const generation = await store(catalog, row);
  await runShared(`
set local search_path to ${place.schema};
insert into chunks select sha256(i::text::bytea), 1, 0, 1000, '\\x00010000000000000001' from generate_series(1, ${CHUNKS}) i;
insert into refs select '\\x${generation}', id from chunks;
analyze refs, chunks`);

  expect(await catalog.removeFiles([row.hash])).toEqual([row.hash]);
  expect(await catalog.counts()).toMatchObject({ files: 0, chunks: 0, garbage: CHUNKS });
  // The server counts what a connection has done at the latest when it ends.
  await catalog.close();
  await expect.poll(entriesRead).toBeGreaterThan(CHUNKS / 2);
  expect(await entriesRead()).toBeLessThan(4 * CHUNKS);
  catalog = await openCatalog(place.url, { environment: {} });
});

/** Entries of the index of references that statements have read so far. */
async function entriesRead(): Promise<number> {
  const [counted] = await runShared(
    `select idx_tup_read as entries from pg_stat_user_indexes where schemaname = '${place.schema}' and indexrelname = 'refs_pk'`,
  );
  return Number(counted?.['entries']);
}
