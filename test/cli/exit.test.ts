import { expect, test } from 'vitest';
import { exitCodeOf, worst } from '../../src/cli/exit.ts';
import { VaultError } from '../../src/errors.ts';
import { sandbox } from './run.ts';

test.each([
  ['invalid-input', 2],
  ['denied', 2],
  ['already-exists', 2],
  ['bucket-mismatch', 2],
  ['bucket-missing', 2],
  ['unsupported', 7],
  ['file-not-found', 4],
  ['unavailable', 5],
  ['source-changed', 5],
  ['storage-full', 5],
  ['stale', 5],
  ['damaged', 6],
  ['object-missing', 6],
  ['no-vault', 10],
  ['wrong-password', 12],
  ['interrupted', 130],
] as const)('%s ends with %d', (code, exit) => {
  expect(exitCodeOf(new VaultError(code, 'x'))).toBe(exit);
});

test('anything that is not a VaultError is a bug', () => {
  expect(exitCodeOf(new TypeError('x'))).toBe(1);
});

test('several ends make the worst of them', () => {
  expect(worst([])).toBe(0);
  expect(worst([0, 3, 0])).toBe(3);
  expect(worst([3, 4, 0])).toBe(4);
  expect(worst([4, 5])).toBe(5);
  expect(worst([5, 2])).toBe(2);
  expect(worst([12, 7, 2])).toBe(7);
  expect(worst([7, 6])).toBe(6);
  expect(worst([2, 6, 4])).toBe(6);
  expect(worst([6, 130])).toBe(130);
});

test('a command that stops before it is done, with nothing left to wait for, ends with 1 and not with 0', async () => {
  await using box = await sandbox();
  const never = `import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
fs.promises.open = () => new Promise(() => {});
fs.readFile = () => {};
syncBuiltinESMExports();`;
  const { exit, stdout, stderr } = await box.run(
    ['ls', '--password-file', 'x', '--db', 'postgres://h/d?sslrootcert=y'],
    {
      env: { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(never)}` },
    },
  );
  expect(stderr).toMatch(/^vault: The command stopped before it was done\.\n.*bug/);
  expect({ exit, stdout }).toEqual({ exit: 1, stdout: '' });
});
