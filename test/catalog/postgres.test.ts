import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import type { PostgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres } from '../support/postgres.ts';
import { concurrencyConformance } from './concurrency.ts';
import { catalogConformance } from './conformance.ts';
import { modelConformance } from './model.ts';
import type { CatalogUnderTest } from './samples.ts';

catalogConformance('Postgres', async () => {
  const place = await freshPostgres();
  return {
    open: () => openCatalog(place.url, { create: true }),
    cleanUp: () => place.drop(),
  };
});

// As CockroachDB does where it is not to know any other isolation.
describe('A Postgres that runs every transaction serializable', () => {
  let proxy: PostgresProxy;
  let under: CatalogUnderTest;
  let catalog: Catalog;
  let other: Catalog;

  beforeEach(async () => {
    const place = await freshPostgres();
    proxy = await postgresProxy(place.url);
    // As many bytes, for the message says how many they are.
    proxy.rewrite = (raw) =>
      Buffer.from(raw.toString('latin1').replace(/read committed(?=;)/, 'serializable  '), 'latin1');
    const url = `${proxy.url}&options=-c%20default_transaction_isolation=serializable`;
    under = {
      open: () => openCatalog(url, { create: true, environment: {} }),
      cleanUp: () => place.drop(),
    };
    catalog = await under.open();
    other = await under.open();
  });
  afterEach(async () => {
    await catalog.close();
    await other.close();
    await proxy.close();
    await under.cleanUp();
  });

  concurrencyConformance(() => ({ under, catalog, other }));
  modelConformance(() => ({ under, catalog, other }));
});
