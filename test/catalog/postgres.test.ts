import { openCatalog } from '../../src/catalog/open.ts';
import { freshPostgres } from '../support/postgres.ts';
import { catalogConformance } from './conformance.ts';

catalogConformance('Postgres', async () => {
  const place = await freshPostgres();
  return {
    open: () => openCatalog(place.url, { create: true }),
    cleanUp: () => place.drop(),
  };
});
