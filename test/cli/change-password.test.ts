import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
  await box.run(['put', '-', '--name', 'a'], { stdin: 'content of a' });
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

test('a new password from a file opens the vault from then on, and the old one does not', async () => {
  await writeFile(box.at('new'), 'the new one, and longer\n', { mode: 0o600 });
  const changed = await box.run(['password', '--new-password-file', 'new']);
  expect(changed).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  expect((await box.run(['get', 'a', '-o', '-'])).exit).toBe(12);
  const got = await box.run(['get', 'a', '-o', '-'], { env: { VAULT_PASSWORD: 'the new one, and longer' } });
  expect(got).toMatchObject({ exit: 0, stdout: 'content of a' });
});

test('a wrong password changes nothing', async () => {
  const env = { VAULT_PASSWORD: 'wrong', VAULT_NEW_PASSWORD: 'the new one, and longer' };
  expect((await box.run(['password'], { env })).exit).toBe(12);
  expect((await box.run(['ls'])).exit).toBe(0);
});

test('without a new password and a terminal it names the options', async () => {
  const { exit, stderr } = await box.run(['password']);
  expect(exit).toBe(2);
  expect(stderr).toMatch(/^vault: A new password is needed.*--new-password-file.*VAULT_NEW_PASSWORD/);
  expect(stderr).not.toContain(PASSWORD);
});

test('in a terminal it is asked for twice', async () => {
  const run = box.terminal(['password']);
  await run.waitFor('New password:');
  run.type('the new one, and longer\r');
  await run.waitFor('The same again:');
  run.type('the new one, and longer\r');
  const exit = await run.exit;
  expect(exit).toBe(0);
  expect(run.raw).not.toContain('the new one, and longer');
  expect((await box.run(['ls'], { env: { VAULT_PASSWORD: 'the new one, and longer' } })).exit).toBe(0);
});
