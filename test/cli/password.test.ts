import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { RunOptions, Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

const NONE = { VAULT_PASSWORD: undefined };

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('right'), `${PASSWORD}\n`, { mode: 0o600 });
  await writeFile(box.at('wrong'), 'something else\n', { mode: 0o600 });
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

describe('the password comes from', () => {
  test.each<[string, readonly string[], NonNullable<RunOptions['env']>]>([
    ['--password-file', ['--password-file', 'right'], NONE],
    ['--password-command', ['--password-command', 'cat right'], NONE],
    ['VAULT_PASSWORD', [], { VAULT_PASSWORD: PASSWORD }],
    ['VAULT_PASSWORD_FILE', [], { ...NONE, VAULT_PASSWORD_FILE: 'right' }],
    ['VAULT_PASSWORD_COMMAND', [], { ...NONE, VAULT_PASSWORD_COMMAND: 'cat right' }],
    ['an option before the environment', ['--password-file', 'right'], { VAULT_PASSWORD: 'something else' }],
    [
      'a command before the environment',
      ['--password-command', 'cat right'],
      { VAULT_PASSWORD_FILE: 'wrong' },
    ],
    ['VAULT_PASSWORD before a file', [], { VAULT_PASSWORD: PASSWORD, VAULT_PASSWORD_FILE: 'wrong' }],
    [
      'a file before a command',
      [],
      { ...NONE, VAULT_PASSWORD_FILE: 'right', VAULT_PASSWORD_COMMAND: 'cat wrong' },
    ],
    ['a file of Windows', ['--password-command', `printf '%s\\r\\n' '${PASSWORD}'`], NONE],
    ['a file without a line end', ['--password-command', `printf %s '${PASSWORD}'`], NONE],
  ])('%s', async (_, args, env) => {
    expect(await box.run(['ls', ...args], { env })).toMatchObject({ exit: 0, stderr: '' });
  });

  test('a pipe', async () => {
    const { exit } = await box.shell(
      'vault ls --password-file <(cat right) && cat right | vault ls --password-file /dev/stdin',
      {
        env: NONE,
      },
    );
    expect(exit).toBe(0);
  });
});

test('a wrong password ends with 12 and does nothing', async () => {
  await writeFile(box.at('a'), 'a');
  const { exit, stdout, stderr } = await box.run(['put', 'a', '--password-file', 'wrong']);
  expect({ exit, stdout }).toEqual({ exit: 12, stdout: '' });
  expect(stderr).toMatch(/^vault: The password does not open this vault\./);
  expect((await box.run(['ls'])).stdout).toBe('');
});

describe('ends with 2 and says why', () => {
  test.each<[string, readonly string[], NonNullable<RunOptions['env']>, RegExp]>([
    ['without any source', [], NONE, /no terminal to ask.*--password-file.*VAULT_PASSWORD_COMMAND/],
    ['with an empty variable', [], { VAULT_PASSWORD: '' }, /\(VAULT_PASSWORD is set, but empty\.\)/],
    ['with two options', ['--password-file', 'a', '--password-command', 'b'], {}, /not both/],
    [
      'without the file',
      ['--password-file', 'absent'],
      {},
      /--password-file "absent": there is no such file/,
    ],
    ['with an empty file', ['--password-file', '/dev/null'], {}, /What --password-file gives is empty\./],
    ['with an endless file', ['--password-file', '/dev/zero'], {}, /longer than 64 KiB/],
    ['with bytes that are no text', ['--password-command', String.raw`printf '\377'`], {}, /not UTF-8/],
    [
      'with a failing command',
      ['--password-command', 'echo s3cret; exit 7'],
      {},
      /--password-command failed: exit code 7/,
    ],
    ['with an endless command', ['--password-command', 'yes s3cret'], {}, /longer than 64 KiB/],
    ['with no command', ['--password-command', ''], {}, /^vault: --password-command needs a command/],
    [
      'with blanks for a command',
      [],
      { VAULT_PASSWORD: '', VAULT_PASSWORD_COMMAND: ' ' },
      /^vault: VAULT_PASSWORD_COMMAND needs a command/,
    ],
    ['with a silent command', ['--password-command', 'true'], {}, /What --password-command gives is empty/],
  ])('%s', async (_, args, env, message) => {
    const { exit, stdout, stderr } = await box.run(['ls', ...args], { env });
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('s3cret');
  });
});

test.each([
  ['that others can change', 0o620, 'can be changed by other users'],
  ['that everybody can read', 0o604, 'can be read by every user'],
])('a file %s draws a warning and is used', async (_, mode, message) => {
  await writeFile(box.at('open'), `${PASSWORD}\n`);
  await chmod(box.at('open'), mode);
  const { exit, stderr } = await box.run(['ls', '--password-file', 'open'], { env: NONE });
  expect({ exit, stderr }).toEqual({
    exit: 0,
    stderr: `vault: warning: The password file "open" ${message}: chmod 600 it.\n`,
  });
  await chmod(box.at('open'), 0o640);
  expect(await box.run(['ls', '--password-file', 'open'], { env: NONE })).toMatchObject({
    exit: 0,
    stderr: '',
  });
});

describe('a password that is not UTF-8 is refused', () => {
  test.each([
    ['as a variable', "VAULT_PASSWORD=$'p\\xe4ss' vault ls", /^vault: VAULT_PASSWORD is not UTF-8/],
    [
      'as a new one',
      "VAULT_NEW_PASSWORD=$'p\\xe4ss' vault password",
      /^vault: VAULT_NEW_PASSWORD is not UTF-8/,
    ],
    ['in a file', "vault ls --password-file <(printf 'p\\344ss')", /not UTF-8/],
    ['of a command', 'vault ls --password-command "printf \'p\\344ss\'"', /not UTF-8/],
  ])('%s', async (_, line, message) => {
    const { exit, stderr } = await box.shell(line);
    expect(exit).toBe(2);
    expect(stderr).toMatch(message);
  });

  test('and one with a real U+FFFD is taken, where that can be told', async () => {
    await using other = await sandbox();
    const env = { VAULT_PASSWORD: 'p\uFFFDss' };
    const { exit } = await other.run(['init', '--bucket', 'one', '--db', 'x.db'], { env });
    expect(exit).toBe(existsSync('/proc/self/environ') ? 0 : 2);
  });
});

test('no program that is started sees a secret', async () => {
  const url = `postgres://user:s3cret@127.0.0.1:1/db`;
  const { stderr } = await box.run(['ls', '--db', box.db, '--password-command', 'env >&2; cat right'], {
    env: {
      VAULT_PASSWORD: 's3cret-1',
      VAULT_NEW_PASSWORD: 's3cret-2',
      PGPASSWORD: 's3cret-3',
      VAULT_DB: url,
    },
  });
  expect(stderr).toMatch(/^PATH=/m);
  expect(stderr).not.toContain('s3cret');
});

test('a command does not eat what is to be stored', async () => {
  const put = await box.run(['put', '-', '--name', 'data', '--password-command', 'cat; cat right'], {
    env: NONE,
    stdin: 'the data',
  });
  expect(put.exit).toBe(0);
  expect((await box.run(['get', 'data', '-o', '-'])).stdout).toBe('the data');
});

test('a stubborn command does not hold up an interruption, and ends with all that it has started', async () => {
  const { process: child, ended } = box.start(
    ['ls', '--password-command', "trap '' TERM; sleep 1000 & echo up >&2; sleep 1000; touch late; cat right"],
    {
      env: NONE,
    },
  );
  await once(child.stderr ?? child, 'data');
  child.kill('SIGINT');
  // Standard error is closed when nobody has it any more.
  expect(await ended).toMatchObject({ exit: 130, stderr: expect.stringContaining('Interrupted') });
  expect(await readdir(box.path)).not.toContain('late');
});

test('a stubborn command at a terminal ends with an interruption', async () => {
  const command = "trap '' TERM INT; echo $$ > pid; echo up >&2; while :; do sleep 0.1; done";
  const run = box.terminal(['ls', '--password-command', command], { env: NONE });
  await run.waitFor('up');
  run.type('\u0003');
  expect(await run.exit).toBe(130);
  const pid = (await readFile(box.at('pid'), 'utf8')).trim();
  await vi.waitFor(async () => {
    expect(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z')).toMatch(/\) [ZX]/);
  });
});

test('a command can ask at the terminal, also where standard input is something else', async () => {
  const command = 'read -r answer < /dev/tty; echo "$answer"';
  const run = box.terminalOf(`exec vault ls --password-command '${command}' < /dev/null`, { env: NONE });
  await run.waitFor('');
  run.type(`${PASSWORD}\r`);
  expect(await run.exit).toBe(0);
});

test('a vault is found before the password is asked for', async () => {
  const { exit } = await box.run(['ls', '--db', 'absent.db'], { env: NONE });
  expect(exit).toBe(10);
});
