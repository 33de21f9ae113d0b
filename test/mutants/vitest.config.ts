import { matchesGlob, relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';
import { ROOMS, roomNamed } from './rooms.ts';
import type { Facts } from './rooms.ts';

/** Stryker runs vitest in processes of its own, which know the room by the environment. */
const facts: Facts = ROOMS[roomNamed(process.env['MUTANTS_ROOM'])];
const { tests, isolate = false } = facts;

function rank({ moduleId }: TestSpecification): number {
  return tests.findIndex((glob) => matchesGlob(relative(process.cwd(), moduleId), glob));
}

/** The order of the room: the first test that fails is the last that is run. */
class InOrder extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(files.toSorted((a, b) => rank(a) - rank(b)));
  }
}

export default defineConfig({
  test: {
    include: [...tests],
    sequence: { sequencer: InOrder },
    // Well above what any of these tests takes on a busy machine: a mutant that hangs is caught by the end of this time.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    isolate,
    setupFiles: ['test/support/every-test.ts'],
  },
});
