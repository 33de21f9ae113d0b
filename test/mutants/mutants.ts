/**
 * `npm run mutants -- room [file ...]`: changes the code of a room (see `rooms.ts`), or of some files of it, in one small
 * way after the other, and tells which changes none of its tests notices. Code that runs in worker threads and child
 * processes is not changed there: what only runs in them counts as unnoticed.
 *
 * `--sample 0.2` tries about a fifth of all changes, chosen by chance, and tells between which bounds the part that is noticed of all
 * lies (95 %); `--seed 2` tries others than `--seed 1`, which is tried unless told otherwise. `--at-once 1` leaves processors to others.
 *
 * Results are kept in `.mutants/`, and used again for code and tests that have not changed since.
 */
import { parseArgs } from 'node:util';
import { Stryker } from '@stryker-mutator/core';
import { ROOMS, roomNamed } from './rooms.ts';
import type { Facts } from './rooms.ts';
import { interval } from './sample.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    'at-once': { type: 'string', default: '2' },
  },
});
const [name, ...files] = positionals;
const room = roomNamed(name);
const facts: Facts = ROOMS[room];
const share = Number(values.sample ?? 1);
if (!(share > 0 && share <= 1)) throw new Error('A sample is a part of 1: --sample 0.2');
const isSample = share < 1;
const run = isSample ? `${room}-${share}-${values.seed}` : room;
Object.assign(process.env, { MUTANTS_ROOM: room, MUTANTS_SHARE: String(share), MUTANTS_SEED: values.seed });

const results = await new Stryker({
  mutate: files.length > 0 ? files : [...facts.mutate],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutants/vitest.config.ts', pool: facts.pool ?? 'threads', related: false },
  plugins: ['@stryker-mutator/vitest-runner', './test/mutants/sample.ts'],
  checkers: isSample ? ['sample'] : [],
  concurrency: Number(values['at-once']),
  // What only runs while a module is loaded would need all tests anew, for each change.
  ignoreStatic: true,
  // What hangs is ended by vitest, and what turns for ever by the number of its turns; this is for what neither ends.
  timeoutMS: 15_000,
  // Where nothing is noticed all tests are run, maybe while others keep the machine busy: that is not to be taken for hanging.
  timeoutFactor: 4,
  dryRunTimeoutMinutes: 20,
  ignorePatterns: ['dist', '.mutants'],
  // Tests run in a copy of everything. Nothing there needs the compiler, whose seventh version has no API for Stryker's use.
  tsconfigFile: 'none',
  tempDirName: '.mutants/tmp',
  incremental: true,
  incrementalFile: `.mutants/${run}.json`,
  reporters: ['clear-text', 'progress-append-only', 'html', 'json'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  jsonReporter: { fileName: `.mutants/${run}-report.json` },
  htmlReporter: { fileName: `.mutants/${run}.html` },
}).runMutationTest();

const count = (...statuses: readonly string[]): number =>
  results.filter(({ status }) => statuses.includes(status)).length;
const caught = count('Killed', 'Timeout');
const tried = caught + count('Survived', 'NoCoverage');
const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
const bounds = isSample ? ` (95 %: ${interval(caught, tried).map(percent).join(' to ')})` : '';
process.stdout.write(`${caught} of ${tried} caught: ${percent(caught / tried)}${bounds}\n`);
