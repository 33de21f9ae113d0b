/** The robustness engine for a few seconds, with the same plan every time; `npm run soak` is the same for longer. */
import { expect, test } from 'vitest';
import { THOROUGH } from '../support/catalog-place.ts';
import { freshPostgres } from '../support/postgres.ts';
import { soak } from './engine.ts';
import { ServerPlaces } from './places.ts';

const quiet = (): void => undefined;

test(
  'whatever fails, files that were acknowledged read back exactly, and a sweep leaves nothing without an owner',
  { timeout: 180_000 },
  async () => {
    await using servers = ServerPlaces.start();
    const { finding, rounds } = await soak({
      seed: 5,
      durationMs: THOROUGH ? 15_000 : 6_000,
      servers,
      clients: 2,
      faults: ['kill', 'sleep', 'outage', 'rot', 'network', 'lost catalog', 'change'],
      makeDatabase: () => Promise.resolve(null),
      say: quiet,
    });
    expect(finding).toBeNull();
    expect(rounds).toBeGreaterThan(0);
  },
);

test(
  'many processes at work on overlapping content in one Postgres leave no file unreadable and no object without an owner',
  { timeout: 180_000 },
  async () => {
    const { finding, rounds } = await soak({
      seed: 6,
      durationMs: THOROUGH ? 15_000 : 6_000,
      servers: null,
      clients: 5,
      faults: ['kill', 'sleep'],
      makeDatabase: async () => (await freshPostgres()).url,
      say: quiet,
    });
    expect(finding).toBeNull();
    expect(rounds).toBeGreaterThan(0);
  },
);
