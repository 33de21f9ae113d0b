import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Where to write the results for machines, if anywhere. */
const report = process.env['TEST_REPORT'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-build.ts', 'test/support/global-setup.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    // Much of the time is spent waiting for disks, servers and child processes, so also a small machine runs a few at once.
    maxWorkers: Math.max(2, availableParallelism()),
    watch: false,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
  },
});
