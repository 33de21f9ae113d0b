import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Where to write the results for machines, if anywhere. */
const report = process.env['TEST_REPORT'];

/** What is run a second time with its catalogs in Postgres: what vault and command promise whatever the database. */
const ON_POSTGRES = [
  ...[
    'catalog-lies',
    'damaged-row',
    'faults',
    'recover',
    'removed-elsewhere',
    'removed-meanwhile',
    'sweep',
  ].map((suite) => `test/vault/${suite}.test.ts`),
  'test/cli/maps.test.ts',
  // The soak test kills there, too.
  ...(process.env['EVERY_CALL'] === undefined ? [] : ['test/cli/kill.test.ts']),
];

/** What replaces modules or what is global: each file in a process of its own. */
const APART = globSync('test/**/*.test.ts').filter((file) =>
  /vi\.(mock|stubGlobal|spyOn)\(/.test(readFileSync(file, 'utf8')),
);

const settings = {
  testTimeout: 180_000,
  hookTimeout: 180_000,
  pool: 'forks' as const,
  // A process that has loaded and compiled the modules runs the next file, too: to load them takes a second.
  isolate: false,
  // Much of the time is spent waiting for disks, servers and child processes: one more than there are processors.
  maxWorkers: availableParallelism() + 1,
  setupFiles: ['test/support/every-test.ts'],
  expect: { poll: { timeout: 60_000 } },
};

export default defineConfig({
  test: {
    // Both would inherit the global set-up, and each start a server of its own.
    projects: [
      { extends: false, test: { ...settings, name: 'apart', include: APART, isolate: true } },
      {
        extends: false,
        test: { ...settings, name: 'sqlite', include: ['test/**/*.test.ts'], exclude: APART },
      },
      {
        extends: false,
        test: { ...settings, name: 'postgres', include: ON_POSTGRES, env: { TEST_CATALOG: 'postgres' } },
      },
    ],
    globalSetup: ['test/support/global-build.ts', 'test/support/global-setup.ts'],
    watch: false,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
  },
});
