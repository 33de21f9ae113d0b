/** A key that can only store, as a machine uses it: what is stored by pipes, commands and lists, and what is said when its file opens nothing. */
import { chmod, cp, lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readPassword } from '../../src/cli/arguments/password.ts';
import { drawKeyText } from '../../src/crypto/keys.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { RunOptions, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
/** The machine's own catalog, and its key file. */
const machine: RunOptions = {
  env: { VAULT_PASSWORD: undefined, VAULT_DB: 'put.db', VAULT_KEY_FILE: 'web.key' },
};

beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('d'));
  await writeFile(box.at('d/a'), 'a');
  await writeFile(box.at('d/b'), Buffer.alloc(20_000, 'b'));
  await writeFile(box.at('lock'), 'of its own', { mode: 0o600 });
  await box.run(['key', 'add', '--label', 'web', '--role', 'put', '--new-key-file', 'web.key']);
  await box.run(['recover', '--bucket', box.bucket(1)], machine);
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test('it stores what comes by a pipe, a command, a list of names or a folder, also locked or for a while', async () => {
  const { exit, stdout, stderr } = await box.shell(
    `set -e
printf 'rows of a dump' | vault put - --name pipe
vault put --from-command 'head -c 100000 /dev/zero' --name command
! vault put --from-command 'echo half; exit 4' --name broken 2>/dev/null
printf 'd/a\\nd/b\\n' | vault put --files-from -
vault put d
vault put d/b --name locked --lock --lock-password-file lock
vault put d/a --name expires --expires 1d`,
    machine,
  );
  expect({ exit, stderr, lines: stdout.split('\n').length }).toEqual({ exit: 0, stderr: '', lines: 8 });
  await box.run(['sync']);
  const listed = (await box.run(['ls', '--json'])).stdout.trim().split('\n');
  const files = new Map(listed.map((line) => JSON.parse(line)).map((file) => [file.name, file]));
  const stored = ['pipe', 'command', 'd/a', 'd/b', 'd', 'locked', 'expires'];
  expect(new Set(files.keys())).toEqual(new Set(stored));
  expect(files.get('locked')).toMatchObject({ locked: true, size: null, label: 'web' });
  expect(files.get('expires')?.expiresAt).toEqual(expect.any(String));
  const got = await box.shell(
    'vault cat web:pipe && vault cat web:locked --lock-password-file lock | tr -d b',
  );
  expect(got).toMatchObject({ exit: 0, stdout: 'rows of a dump' });
});

test('what would be removed of it is shown with its label, as ls shows it', async () => {
  await box.run(['put', 'd/a']);
  await box.run(['put', 'd/a', '--name', 'd/b'], machine);
  await box.run(['sync']);
  const names = (await box.run(['ls', 'web:d/*'])).stdout.match(/web:\S+$/gm) ?? [];
  expect(names.length).toBeGreaterThan(1);
  const removed = await box.run(['rm', '-n', 'web:d/*']);
  expect(removed.stdout.trim().split('\n').toSorted()).toEqual(names.toSorted());
  expect((await box.run(['rm', '-n', 'd/a'])).stdout).toBe('d/a\n');
  const { stdout } = await box.run(['prune', '-n', '--keep-last', '1']);
  expect(stdout.match(/ (web:)?d\/.$/gm)?.toSorted()).toEqual([' d/a', ' web:d/a', ' web:d/b', ' web:d/b']);
  await box.run(['rm', 'd/a']);
});

test('what is not whole of it, and what has expired, is shown with its label, too', async () => {
  await using other = await sandbox();
  await other.makeVault();
  const put = { env: { ...machine.env, VAULT_KEY_FILE: other.at('web.key') } };
  await other.run(['key', 'add', '--label', 'web', '--role', 'put', '--new-key-file', 'web.key']);
  await other.run(['recover', '--bucket', other.bucket(1)], put);
  const body = { stdin: 'x'.repeat(50_000) };
  await other.run(['put', '-', '--name', 'old', '--expires', '1s'], { ...put, ...body });
  await other.run(['put', '-', '--name', 'mine'], body);
  await other.run(['sync']);
  await rm(join(other.bucket(1), 'chunks'), { recursive: true });
  const { stdout } = await other.run(['verify']);
  expect(stdout.match(/degraded +\S+/g)?.toSorted()).toEqual([
    expect.stringMatching(/ mine$/),
    expect.stringMatching(/ web:old$/),
  ]);
  const [writer = null] =
    /(?<="writer":")[0-9a-f]{32}/.exec((await other.run(['ls', '--json', 'web:old'])).stdout) ?? [];
  const [line = ''] = (await other.run(['verify', '--json'])).stdout.split('\n');
  expect(JSON.parse(line)).toMatchObject({
    affected: expect.arrayContaining([expect.objectContaining({ name: 'old', writer, label: 'web' })]),
  });
  await expect
    .poll(async () => (await other.run(['sweep', '-n', '-v'])).stdout)
    .toMatch(/^hide web:old: expired$/m);
  const [step = ''] = (await other.run(['sweep', '-n', '--json'])).stdout.split('\n');
  expect(JSON.parse(step)).toMatchObject({ reason: 'expired', file: 'old', writer, label: 'web' });
});

test('its file is named where it opens nothing, and once it was removed nothing more is stored with it, however small', async () => {
  await box.run(['key', 'add', '--label', 'other', '--role', 'put', '--new-key-file', 'other.key']);
  await writeFile(box.at('wrong.key'), `${drawKeyText()}\n`, { mode: 0o600 });
  const wrong = await box.run(['put', 'd/a', '--key-file', 'wrong.key'], machine);
  expect(wrong).toMatchObject({ exit: 12, stdout: '' });
  expect(wrong.stderr).toMatch(/^vault: The key file "wrong\.key" does not open this vault: .*vault key ls/);
  const other = { env: { ...machine.env, VAULT_KEY_FILE: 'other.key', VAULT_DB: 'other.db' } };
  const again = ['recover', '--bucket', box.bucket(2)];
  await box.run(again, other);
  await box.run(['key', 'rm', 'other']);
  expect(await box.run(['put', 'd/a'], other)).toMatchObject({
    exit: 12,
    stdout: '',
    stderr: expect.stringMatching(/^vault: The key that opened the vault was removed meanwhile/),
  });
  expect(await box.run(again, other)).toMatchObject({
    exit: 12,
    stderr: expect.stringMatching(
      /^vault: The key file "other\.key" does not open this vault: its key was removed/,
    ),
  });
});

test('a removed key is told so also by a bucket that was put back to what it was before, as long as another one knows', async () => {
  const add = ['key', 'add', '--label', 'old', '--new-key-file', 'old.key'];
  for (const role of ['put', 'full']) {
    await box.run([...add, '--role', role]);
    await cp(box.bucket(1), box.at('kept'), { recursive: true });
    await box.run(['key', 'rm', 'old']);
    await rm(box.bucket(1), { recursive: true });
    await rename(box.at('kept'), box.bucket(1));
    const old = { env: { ...machine.env, VAULT_KEY_FILE: 'old.key', VAULT_DB: `old-${role}.db` } };
    for (const flags of [['-n'], []]) {
      expect(await box.run(['recover', '--bucket', box.bucket(1), ...flags], old)).toMatchObject({
        exit: 12,
        stdout: '',
        stderr: expect.stringMatching(
          /^vault: The key file "old\.key" does not open this vault: its key was removed/,
        ),
      });
    }
    await rm(box.at('old.key'));
    await box.run(['repair']);
  }
});

test('a bucket that could not say whether the key was removed is named when its machine begins', async () => {
  await rename(box.bucket(3), box.at('away'));
  const { exit, stderr } = await box.run(['recover', '--bucket', box.bucket(1)], machine);
  await rename(box.at('away'), box.bucket(3));
  expect({ exit, stderr }).toEqual({
    exit: 3,
    stderr: expect.stringContaining(`${box.bucket(3)} could not be used`),
  });
});

test('what needs a full key leaves nothing behind, and a schedule has the put alone', async () => {
  for (const verb of [['key', 'add'], ['password']]) {
    const refused = await box.run([...verb, '--new-key-file', 'new.key'], machine);
    expect(refused).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/^vault: This key can only store/),
    });
  }
  expect((await box.run(['bucket', 'add', 'new.bucket'], machine)).exit).toBe(2);
  for (const name of ['new.key', 'new.bucket']) await expect(lstat(box.at(name))).rejects.toThrow('ENOENT');
  const { stdout } = await box.run(['schedule', 'print', 'd', '--cron'], machine);
  expect(stdout.split('\n').filter((line) => /^\d/.test(line))).toEqual([
    expect.stringContaining(' --key-file '),
  ]);
});

/** What the command reads from a key file. */
async function read(keyFile: string): Promise<string> {
  return readPassword({
    options: { keyFile },
    environment: {},
    interactive: false,
    purpose: 'enter',
    signal: new AbortController().signal,
    terminal: { warn: () => undefined },
  });
}

test('what is not a key file says so, and what to do', async () => {
  await using folder = await temporaryFolder();
  const place = async (name: string, bytes: string | Uint8Array, mode = 0o600): Promise<string> => {
    await writeFile(folder.at(name), bytes);
    await chmod(folder.at(name), mode);
    return folder.at(name);
  };
  const key = drawKeyText();
  expect(await read(await place('right', `${key}\n`))).toBe(key);
  expect(await read(await place('windows', `${key}\r\n`))).toBe(key);
  expect(await read(await place('group', key, 0o640))).toBe(key);
  const refusals: readonly (readonly [string, string, RegExp])[] = [
    [
      folder.at('absent'),
      'invalid-input',
      /key file that --key-file names, ".*absent": there is no such file/,
    ],
    [folder.path, 'invalid-input', /it is a folder/],
    [await place('empty', ''), 'invalid-input', /not a key file: ".*empty" is empty\. .*--new-key-file/],
    [await place('binary', Buffer.alloc(40, 255)), 'invalid-input', /not a key file: .*--password-file/],
    [await place('long', key.repeat(2000)), 'invalid-input', /not a key file/],
    [await place('readable', key, 0o644), 'denied', /".*readable" can be read by every user: chmod 600/],
    [await place('writable', key, 0o620), 'denied', /can be changed by other users: chmod 600/],
  ];
  for (const [path, code, message] of refusals) {
    const error: unknown = await read(path).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(String(error)).not.toContain('vault_key_');
  }
});
