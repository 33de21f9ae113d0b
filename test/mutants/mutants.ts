/**
 * `npm run mutants -- room [file ...]`: changes the code of a room (see `rooms.ts`), or of some files of it, in one small
 * way after the other, and tells which changes none of its tests notices. Code that runs in worker threads and child
 * processes is not changed there: what only runs in them counts as unnoticed.
 *
 * Results are kept in `.mutants/`, and used again for code and tests that have not changed since.
 */
import { Stryker } from '@stryker-mutator/core';
import { ROOMS, roomNamed } from './rooms.ts';
import type { Facts } from './rooms.ts';

const [name, ...files] = process.argv.slice(2);
const room = roomNamed(name);
const facts: Facts = ROOMS[room];
process.env['MUTANTS_ROOM'] = room;

await new Stryker({
  mutate: files.length > 0 ? files : [...facts.mutate],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutants/vitest.config.ts', pool: facts.pool ?? 'threads', related: false },
  concurrency: 2,
  // What only runs while a module is loaded would need all tests anew, for each change.
  ignoreStatic: true,
  // What hangs is ended by vitest, and what turns for ever by the number of its turns; this is for what neither ends.
  timeoutMS: 15_000,
  ignorePatterns: ['dist', '.mutants'],
  // Tests run in a copy of everything. Nothing there needs the compiler, whose seventh version has no API for Stryker's use.
  tsconfigFile: 'none',
  tempDirName: '.mutants/tmp',
  incremental: true,
  incrementalFile: `.mutants/${room}.json`,
  reporters: ['clear-text', 'progress-append-only', 'html', 'json'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  jsonReporter: { fileName: `.mutants/${room}-report.json` },
  htmlReporter: { fileName: `.mutants/${room}.html` },
}).runMutationTest();
